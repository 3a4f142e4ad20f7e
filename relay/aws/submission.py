"""A parcel as the body of an API request: SendRawEmail of the Query API, or SendEmail of SESv2.

Owns what is put into a request: Source, Destinations and RawMessage, nothing else in v1, since the ARNs travel as
headers of the message; and in v2, whose `FromEmailAddress` would replace the visible From, the envelope sender as
`FeedbackForwardingEmailAddress` (SES API v1 and v2 references; SES developer guide, "Sending raw email").
Guarantees that Source and Destinations are always the envelope's, and that a message of any size costs one block
of memory: bodies come in blocks, the same ones each time they are asked for.
"""

from __future__ import annotations

import json
import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from relay.aws.endpoints import Operation
from relay.model import Buffer, Parcel

V1_BYTES: Final = 10_485_760  # finished message; SES: "Message length is more than 10485760 bytes long"
BLOCK: Final = 49_152  # bytes of message per block, a multiple of 3: 64 KiB of base64

_PLAIN: Final = re.compile(r"[\w.~@-]+", re.ASCII)  # most addresses need no more than their @ escaped


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of one request: `head`, the message in base64, `tail`."""

    operation: Operation
    content_type: str
    head: bytes
    tail: bytes
    content: tuple[Buffer, ...]

    def blocks(self) -> Iterator[bytes]:
        """The body, in order, in blocks of about 64 KiB; small messages in one."""
        encode = _form_base64 if self.operation == "SendRawEmail" else _base64
        if sum(map(len, self.content)) <= BLOCK:
            yield b"".join((self.head, encode(b"".join(self.content)), self.tail))
            return
        yield self.head
        for block in _multiples_of_3(self.content):
            yield encode(block)
        if self.tail:
            yield self.tail


def submit(parcel: Parcel) -> Submission:
    """By SESv2 what v1 cannot carry: big messages, and tenants; the rest by v1."""
    return _v2(parcel) if parcel.tenant or parcel.size > V1_BYTES else _v1(parcel)


def _v1(parcel: Parcel) -> Submission:
    fields = [f"Action=SendRawEmail&Version=2010-12-01&Source={_escape(parcel.sender)}"]
    fields += [f"Destinations.member.{n}={_escape(to)}" for n, to in enumerate(parcel.recipients, 1)]
    head = "&".join([*fields, "RawMessage.Data="]).encode("ascii")
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    return Submission("SendRawEmail", kind, head, b"", parcel.content)


def _v2(parcel: Parcel) -> Submission:
    fields: dict[str, object] = {
        "Destination": {"ToAddresses": parcel.recipients},
        "FeedbackForwardingEmailAddress": parcel.sender,
        "FeedbackForwardingEmailAddressIdentityArn": parcel.return_path_arn,
    }
    if parcel.tenant:
        fields["TenantName"] = parcel.tenant
    head = json.dumps(fields)[:-1] + ', "Content": {"Raw": {"Data": "'
    return Submission("SendEmail", "application/json", head.encode("ascii"), b'"}}}', parcel.content)


def _multiples_of_3(content: Sequence[Buffer]) -> Iterator[bytes]:
    """The content in blocks that base64 can encode one by one; only the last may be no multiple of 3."""
    rest = b""
    for piece in content:
        view = memoryview(piece)
        for start in range(0, len(view), BLOCK):
            block = b"".join((rest, view[start : start + BLOCK]))
            whole = len(block) // 3 * 3
            rest = block[whole:]
            yield block[:whole]
    if rest:
        yield rest


def _escape(address: str) -> str:
    return address.replace("@", "%40") if _PLAIN.fullmatch(address) else quote(address, safe="")


def _base64(block: bytes) -> bytes:
    return b2a_base64(block, newline=False)


def _form_base64(block: bytes) -> bytes:
    # Of the alphabet of base64 only these three mean something else in a form
    return _base64(block).replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
