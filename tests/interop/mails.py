"""Messages that old and new applications send, and what the relay may do to them: put four lines above.

All are complete, so that the relay adds no header, and end with CRLF, as content always does on the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import EmailMessage

RECIPIENTS = ("ann@customer.example", "bob@customer.example")


@dataclass(frozen=True, slots=True)
class Route:
    """A sender, and how its mail goes to SES."""

    sender: str
    interface: str
    region: str

    @property
    def arn(self) -> str:
        """The identity that the sender's mail goes as."""
        return f"arn:aws:ses:{self.region}:123456789012:identity/{self.sender.partition('@')[2]}"


BY_API = Route("app@example.com", "v1", "us-east-1")
BY_SMTP = Route("app@example.net", "smtp", "eu-west-1")
ROUTES = (BY_API, BY_SMTP)


def below_the_block(raw: bytes, route: Route) -> bytes:
    """The message without the relay's block, which must be exactly the three ARNs and a Received line."""
    names = ("X-SES-SOURCE-ARN", "X-SES-FROM-ARN", "X-SES-RETURN-PATH-ARN")
    arns = "".join(f"{name}: {route.arn}\r\n" for name in names)
    block = re.match(re.escape(arns).encode() + rb"Received: by [!-~]+ with ESMTP id [!-~]+; [ -~]+\r\n", raw)
    assert block, raw[:500]
    return raw[block.end() :]


def mails(sender: str) -> dict[str, bytes]:
    """Complete messages by name; the name is the Subject as well."""
    return {
        "plain": _mail(sender, "plain", b"Hello.\r\n\r\nGood bye.\r\n"),
        "eight bit": _mail(sender, "eight bit", "Grüße, 你好\r\n".encode() + bytes(range(0xA0, 0x100)) + b"\r\n"),
        "dots": _mail(sender, "dots", b".\r\n..\r\n...\r\n.a\r\n .\r\n.\r\n.\r\n\r\n.\r\n"),
        "many dots": _mail(sender, "many dots", b".\r\n" * 300_000),  # hits the borders of blocks at every alignment
        "blanks": _mail(sender, "blanks", b"\r\n\r\n \r\n\t\r\ntrailing blanks  \t\r\n\r\n\r\n"),
        "long lines": _mail(sender, "long lines", b"x" * 5000 + b"\r\n" + b".y " * 1666 + b".\r\n"),
        "big": _mail(sender, "big", b"".join(b"%06d %s\r\n" % (n, b"=" * 68) for n in range(2600))),
        "folded": _mail(sender, "folded", b"x\r\n", b"X-Folded: one\r\n two\r\n\t three\r\nX-Empty:\r\n"),
        "attachment": _with_attachment(sender),
    }


def _mail(sender: str, name: str, body: bytes, more: bytes = b"") -> bytes:
    headers = (
        f"From: App <{sender}>\r\nTo: ann@customer.example\r\nSubject: {name}\r\n"
        f"Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{name.replace(' ', '-')}@app.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    )
    return headers.encode("ascii") + more + b"\r\n" + body


def _with_attachment(sender: str) -> bytes:
    """As the standard library's email package composes it."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Ünal <{sender}>", "ann@customer.example", "attachment"
    mail["Date"], mail["Message-ID"] = "Fri, 20 Nov 2026 12:00:00 +0000", "<attachment@app.example>"
    mail.set_content("Bitte sehr, wie gewünscht.\n")
    mail.add_attachment(bytes(range(256)) * 100, maintype="application", subtype="octet-stream", filename="a.bin")
    return mail.as_bytes().replace(b"\n", b"\r\n")
