"""What SES must get for a content, written down anew from the contract: our block, what is kept, the body.

For the listener of the fuzz target alone: `received: none`, missing headers added, the clock and the token of
tests/listener.py. Shares nothing with relay.policy.
"""

import re

DATE = b"Date: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
STRIPPED = (b"bcc", b"return-path", b"sender")

_LINE_END = re.compile(rb"\r\n|\r|\n")
_MBOX = re.compile(rb"(?:>?From [^\r\n]*\r\n)+(?=[!-9;-~]+[ \t]*:)")
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")


class NotAMessage(Exception):
    """This content may not be accepted, and why."""


def block() -> bytes:
    """The headers that come first, always."""
    arn = b"arn:aws:ses:us-west-2:123456789012:identity/example.com"
    return b"".join(b"X-SES-%b-ARN: %b\r\n" % (name, arn) for name in (b"SOURCE", b"FROM", b"RETURN-PATH"))


def content_of(wire: bytes) -> tuple[bytes, bytes] | None:
    """What follows DATA, cut at CRLF.CRLF: the content with its dots unstuffed, and the rest; None without an end."""
    *lines, rest = wire.split(b"\r\n")
    if b"." not in lines:
        return None
    end = lines.index(b".")
    content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    return content, b"\r\n".join([*lines[end + 1 :], rest])


def has_stray(content: bytes) -> bool:
    """Whether a CR or LF stands outside a CRLF."""
    return bool(set(b"\r\n") & set(content.replace(b"\r\n", b"")))


def finished(content: bytes, sender: str) -> set[bytes]:
    """The messages that may come of a content: one, or two where `Sender` depends on who is in From.

    Raises:
        NotAMessage: It had to be refused.
    """
    content = _LINE_END.sub(b"\r\n", content)
    if mbox := _MBOX.match(content):
        content = content[mbox.end() :]
    if not _NAME.match(content):
        return {_with_body(block() + _missing([], sender), content)}
    head = content.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n")
    fields = _fields(head + b"\r\n")
    names = [name for name, _ in fields]
    if names.count(b"from") > 1:
        raise NotAMessage("two From fields")
    several = any(b"," in field for name, field in fields if name == b"from")
    start, body = block() + _missing(names, sender), content[len(head) + 2 :]
    return {
        start + b"".join(field for name, field in fields if not _goes(name, keep_sender=keep)) + body
        for keep in ({False, True} if several else {False})
    }


def _goes(name: bytes, *, keep_sender: bool) -> bool:
    return name.startswith(b"x-ses-") or (name in STRIPPED and not (keep_sender and name == b"sender"))


def _missing(names: list[bytes], sender: str) -> bytes:
    added = b"" if b"from" in names else b"From: %b\r\n" % sender.encode()
    added += b"" if b"date" in names else DATE
    domain = sender.rpartition("@")[2].encode()
    return added + (b"" if b"message-id" in names else b"Message-ID: <token@%b>\r\n" % domain)


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Each field by its lower-case name, with the lines folded onto it."""
    fields: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\r\n")[:-1]:
        name = _NAME.match(line)
        if b"\0" in line:
            raise NotAMessage("a NUL in the header section")
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] = fields[-1][0], fields[-1][1] + line + b"\r\n"
        elif name:
            fields.append((name[1].lower(), line + b"\r\n"))
        else:
            raise NotAMessage(f"no header field: {line!r}")
    return fields


def _with_body(start: bytes, body: bytes) -> bytes:
    return start + (b"" if body.startswith(b"\r\n") or not body else b"\r\n") + body
