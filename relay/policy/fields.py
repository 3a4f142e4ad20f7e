"""The header section of a message, cut into its fields without changing a byte (RFC 5322 section 2.2).

Owns where the section begins and ends. Expects content whose only line ends are CRLF (`relay.policy.content`).
Guarantees that the fields side by side are the section, that each has a name of printable ASCII, and that the
body is never searched: only the first `limit` bytes are looked at, once, in linear time.

Refuses a section that readers could understand differently: a line that is neither a field nor folded onto one,
a name with other characters, a NUL. Content that does not begin with a field has no section, all of it is body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from relay.errors import Rejection
from relay.model import Buffer
from relay.replies import HEADERS_MALFORMED, HEADERS_TOO_BIG

# Blanks before the colon are obsolete (section 4.5) and seen; the name that counts is the one without them.
_NAME = rb"([!-9;-~]++)[ \t]*+:"
_FIELD_BEGINS = re.compile(_NAME)
_FIELD = re.compile(_NAME + rb"([^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*)")
# What mail clients of old and mbox files put above the header (RFC 4155); `>From ` where it was quoted since.
_MBOX_LINES = re.compile(rb"(?:>?From [^\r\n]*+\r\n)+")


class Field(NamedTuple):
    """Where one field stands in its section: from `start` to `end`, its value from `value` on."""

    name: str  # lower case
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class Section:
    """The fields of a message; `raw` is b"" or ends with CRLF, the empty line that may follow is not in it.

    `body` is where the rest of the content begins: at that empty line, or, where there is no section, at 0.
    """

    raw: bytes = field(repr=False)
    fields: tuple[Field, ...]
    body: int

    def named(self, name: str) -> tuple[Field, ...]:
        """Every field called `name` (lower case), in order."""
        return tuple(one for one in self.fields if one.name == name)

    def value(self, one: Field) -> bytes:
        """The value of a field as it stands after the colon, folds and the CRLF at its end included."""
        return self.raw[one.value : one.end]

    def written(self, one: Field) -> bytes:
        """A field as it goes on: byte for byte, but for the blanks before its colon, where some readers see no field.

        Section 4.5 permits them to be read and section 2.2 none to be written.
        """
        name, rest = one.start + len(one.name), one.value - 1
        if name == rest:
            return self.raw[one.start : one.end]
        return self.raw[one.start : name] + self.raw[rest : one.end]


def read(content: Buffer, limit: int) -> Section:
    """Read the header section; a line of mbox above it is left out.

    Args:
        content: The whole message, whose only line ends are CRLF.
        limit: The most bytes that the section may have.

    Raises:
        Rejection: HEADERS_TOO_BIG or HEADERS_MALFORMED.
    """
    head = bytes(memoryview(content)[: limit + 4])
    start = _start(head)
    if start is None:
        return Section(b"", (), 0)
    end = head.find(b"\r\n\r\n", start)
    if end >= 0:
        raw, body = head[start : end + 2], end + 2
    else:
        raw, body = _terminated(head[start:]), len(content)
    if len(raw) > limit or body > len(head):
        raise Rejection(HEADERS_TOO_BIG)
    return Section(raw, tuple(_fields(raw)), body)


def _start(head: bytes) -> int | None:
    """Where the first field begins; None where there is none. A text may begin with `From `: then that stays."""
    if _FIELD_BEGINS.match(head):
        return 0
    mbox = _MBOX_LINES.match(head)
    return mbox.end() if mbox and _FIELD_BEGINS.match(head, mbox.end()) else None


def _terminated(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def _fields(raw: bytes) -> Iterator[Field]:
    if b"\0" in raw:
        raise Rejection(HEADERS_MALFORMED)
    at = 0
    while at < len(raw):
        match = _FIELD.match(raw, at)
        if match is None:
            raise Rejection(HEADERS_MALFORMED)
        yield Field(match[1].decode("ascii").lower(), at, match.start(2), match.end())
        at = match.end()
