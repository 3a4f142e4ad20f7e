"""Messages that can be told from all others, and what can be read from them when they are seen again.

A message has a token, each of its recipients an address of its own that begins with the token, and its content names
the token and the digest of its body. So any copy shows by itself what it is, whether it is whole and whom it is for.
"""

from __future__ import annotations

import base64
import email.policy
import hashlib
import random
import re
from dataclasses import dataclass

BAD = "bad"  # what the address of a recipient that SES is to refuse has in it
DOMAIN = "customer.example"
BOUNCES = "mailer-daemon@example.com"  # the envelope sender of the relay's own mail

_TOKEN = re.compile(rb"^Message-ID: <([^@>]+)@faults\.example>\r?$", re.MULTILINE)
_DIGEST = re.compile(rb"^X-Digest: ([0-9a-f]{64})\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as a client sends it."""

    token: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes


def write(token: str, sender: str, recipients: int, size: int, chance: random.Random, *, bad: int = 0) -> Letter:
    """A message of about that many bytes; the last `bad` recipients are such as SES refuses."""
    body = base64.encodebytes(chance.randbytes(max(1, size * 3 // 4))).replace(b"\n", b"\r\n")
    head = (
        f"From: {sender}\r\nMessage-ID: <{token}@faults.example>\r\nSubject: {token}\r\n"
        f"X-Digest: {hashlib.sha256(body).hexdigest()}\r\n\r\n"
    )
    names = [f"{token}.{number}{f'.{BAD}' * (number >= recipients - bad)}@{DOMAIN}" for number in range(recipients)]
    return Letter(token, sender, tuple(names), head.encode() + body)


def is_ours(address: str) -> bool:
    """Whether it is a recipient of such a message, and not that of a bounce."""
    return address.endswith(f"@{DOMAIN}")


def is_whole(content: bytes, recipients: tuple[str, ...]) -> bool:
    """Whether a copy has the body that was sent, and is for recipients of that very message."""
    head, _, body = content.partition(b"\r\n\r\n")
    token, digest = _TOKEN.search(head), _DIGEST.search(head)
    if token is None or digest is None:
        return False
    ours = all(recipient.partition(".")[0] == token[1].decode() for recipient in recipients)
    return ours and hashlib.sha256(body).hexdigest() == digest[1].decode()


def told_failed(content: bytes) -> list[str]:
    """The recipients that a bounce reports as failed (RFC 3464 section 2.3); none when it is no such report."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    return [
        str(block["Final-Recipient"]).partition(";")[2].strip()
        for part in message.walk()
        if part.get_content_type() == "message/delivery-status"
        for block in part.get_payload()
        if isinstance(block, email.message.Message) and str(block["Action"]).strip() == "failed"
    ]
