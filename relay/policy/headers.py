"""Header surgery: from what a client sent to what SES gets.

Owns our header block, what is stripped, what replaces what, and the shape of a finished message: our block,
the kept fields, the body. Guarantees that nothing a client writes folds into, ends or forges our block, that
kept fields and body stay byte for byte (but for stray CR and LF, and blanks before a field's colon: SES does not
know such a field when it looks for From), and that the body is not copied.

Sources: SES developer guide, "Sending emails for the identity owner for SES sending authorization" (the ARN
headers; its example with an empty line after them makes the real headers body text), "Using configuration sets
in email", "Header fields"; RFC 5322; RFC 5321 section 4.4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

from relay.address import split
from relay.arn import IdentityArn
from relay.errors import Rejection
from relay.model import UNKNOWN_PEER, Buffer, Client, Identity
from relay.policy import stripping
from relay.policy.admission import ClientRule
from relay.policy.authorship import Author, Authority
from relay.policy.content import canonical
from relay.policy.fields import Section, read
from relay.policy.routing import Router
from relay.replies import NO_RULE_NULL, TOO_MANY_HOPS

_MESSAGE_ID_LOGGED = 998  # characters: a line of RFC 5322 section 2.1.1; a client may have written any number
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ODD = re.compile(r"[^A-Za-z0-9.:_-]")


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """The `message` section and what else bears on headers.

    `strip` holds lower-case names. `header_bytes` bounds the client's header section, `hops` its Received fields.
    """

    normalize: bool
    add_missing: bool
    strip: frozenset[str]
    received: Literal["minimal", "none", "full"]
    header_bytes: int
    hops: int
    hostname: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Clock and chance, passed in: the message's id, the time (aware), and a word for its Message-ID."""

    id: str
    when: datetime
    token: str


@dataclass(frozen=True, slots=True)
class Message:
    """A finished message, as SES gets it.

    `content` is our block, the kept fields and the body, in pieces. `header_from` are the mailboxes that SES
    will see, `message_id` is what begins the Message-ID that the client sent, or else the one that was added.
    """

    content: tuple[Buffer, ...] = field(repr=False)
    from_arn: str
    source_arn: str
    return_path_arn: str
    header_from: tuple[str, ...]
    message_id: str | None

    @property
    def size(self) -> int:
        """Bytes of the finished message."""
        return sum(map(len, self.content))


def finish(
    content: Buffer,
    sender: str,
    identity: Identity,
    router: Router,
    client_rule: ClientRule,
    client: Client,
    rules: HeaderRules,
    stamp: Stamp,
) -> Message:
    """Finish a message for SES.

    Args:
        content: What the client sent, un-dot-stuffed.
        sender: The envelope sender as the client gave it.
        identity: The rule that the sender was routed to.
        router: All rules, for `from_arn: header`.
        client_rule: The client's entry, which bounds the header From.
        client: The client, for Received.
        rules: The `message` section.
        stamp: Id, time and token.

    Raises:
        Rejection: STRAY_LINE_ENDINGS, HEADERS_TOO_BIG, HEADERS_MALFORMED, TOO_MANY_HOPS, BAD_FROM,
            HEADER_FROM_NOT_ALLOWED, or NO_RULE_NULL for a null sender that nothing replaces.
    """
    sender = identity.replace_sender or sender
    if not sender:
        raise Rejection(NO_RULE_NULL)
    content = canonical(content, normalize=rules.normalize)
    section = read(content, rules.header_bytes)
    if len(section.named("received")) > rules.hops:
        raise Rejection(TOO_MANY_HOPS)
    authority = Authority(identity, router, client_rule)
    author = authority.author(section, sender, add_missing=rules.add_missing)
    given = stripping.headers_given(section, identity.client_headers)
    kept = stripping.kept(section, author, authority, rules.strip, given)
    missing = _missing(section, author, sender, rules, stamp)
    ours = block(identity, author.arn, client, rules, stamp, given=given, missing=missing)
    return Message(
        content=(ours, *_rest(content, section, kept)),
        from_arn=str(author.arn),
        source_arn=str(identity.source_arn),
        return_path_arn=str(identity.return_path_arn),
        header_from=author.mailboxes,
        message_id=_message_id(section, missing),
    )


def block(
    identity: Identity,
    from_arn: IdentityArn,
    client: Client,
    rules: HeaderRules,
    stamp: Stamp,
    *,
    given: Collection[str] = (),
    missing: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Write our header block: CRLF lines, none empty, none folded, no empty line after it.

    Args:
        identity: Whose ARNs, configuration set, tags and tenant.
        from_arn: The ARN of the header From.
        client: Where the message came from, for `received: full`.
        rules: The host name and how much Received tells.
        stamp: Id and time for Received.
        given: Lower-case names of X-SES headers that the client may set and did: ours make way.
        missing: Names and values of the headers that the client forgot.

    Raises:
        ValueError: A value is empty or not one line of printable ASCII: a fault of ours, never the client's.
    """
    lines = [
        ("X-SES-SOURCE-ARN", str(identity.source_arn)),
        ("X-SES-FROM-ARN", str(from_arn)),
        ("X-SES-RETURN-PATH-ARN", str(identity.return_path_arn)),
        *((name, value) for name, value in _options(identity) if value and name.lower() not in given),
        *([] if rules.received == "none" else [("Received", _received(client, rules, stamp))]),
        *missing,
    ]
    return b"".join(_line(name, value) for name, value in lines)


def _options(identity: Identity) -> Iterator[tuple[str, str | None]]:
    yield "X-SES-CONFIGURATION-SET", identity.configuration_set
    yield "X-SES-MESSAGE-TAGS", ", ".join(f"{name}={value}" for name, value in identity.tags)
    yield "X-SES-TENANT", identity.tenant


def _received(client: Client, rules: HeaderRules, stamp: Stamp) -> str:
    """A trace line (RFC 5321 section 4.4); the full one tells recipients the names of inner hosts."""
    origin, protocol = "", "ESMTP"
    if rules.received == "full":
        tag = "IPv6:" if ":" in client.peer else ""
        placeless = client.peer in ("unix", UNKNOWN_PEER)
        peer = client.peer if placeless else f"[{tag}{_ODD.sub('?', client.peer)}]"
        origin = f"from {_ODD.sub('?', client.helo)[:255] or 'unknown'} ({peer}) "
        protocol += "S" * client.tls + "A" * (client.user is not None)  # RFC 3848
    return f"{origin}by {rules.hostname} with {protocol} id {stamp.id}; {format_datetime(stamp.when)}"


def _line(name: str, value: str) -> bytes:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{name} is no line of printable ASCII: {value!r}")
    return f"{name}: {value}\r\n".encode("ascii")


def _missing(section: Section, author: Author, sender: str, rules: HeaderRules, stamp: Stamp) -> list[tuple[str, str]]:
    """The headers that the relay adds (RFC 5322 section 3.6): From also where it replaces the client's."""
    missing = [("From", author.added)] if author.added else []
    if rules.add_missing and not section.named("date"):
        missing.append(("Date", format_datetime(stamp.when)))
    if rules.add_missing and not section.named("message-id"):
        missing.append(("Message-ID", f"<{stamp.token}@{split(sender)[1]}>"))
    return missing


def _message_id(section: Section, missing: Sequence[tuple[str, str]]) -> str | None:
    """The client's Message-ID, unfolded, or else the one that was added: SES replaces either, the log keeps it."""
    for written in section.named("message-id"):
        text = section.value(written).decode("ascii", "backslashreplace")
        return " ".join(text.split())[:_MESSAGE_ID_LOGGED] or None
    return dict(missing).get("Message-ID")


def _rest(content: Buffer, section: Section, kept: bytes) -> Iterator[Buffer]:
    """What follows our block: kept fields and body; an empty line first where all of the content is body."""
    if kept:
        yield kept
    body = memoryview(content)[section.body :]
    if body and bytes(body[:2]) != b"\r\n":
        yield b"\r\n"
    if body:
        yield body
