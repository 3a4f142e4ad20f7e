"""What an SMTP server says: replies and the extensions of EHLO, read from bytes without any I/O.

Owns the grammar of replies (RFC 5321 section 4.2) and of the extensions that matter towards SES: SIZE (RFC
1870), STARTTLS (RFC 3207), AUTH (RFC 4954), 8BITMIME (RFC 6152), PIPELINING (RFC 2920). Tolerates replies
without text and lines that end in a bare LF. Refuses codes that are none, codes that change within a reply, and
replies longer than `MAX_LINE` and `MAX_LINES` allow, so that a server cannot fill our memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 4096  # bytes; RFC 5321 section 4.5.3.1.5 says 512, real servers say more
MAX_LINES: Final = 128

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class MalformedReply(Exception):
    """The server does not speak SMTP."""


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply: the code, and the text of each line as ASCII with foreign bytes escaped."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines joined by blanks."""
        return " ".join(self.lines).strip()


class ReplyParser:
    """Turns bytes in any cut into whole replies."""

    __slots__ = ("_buffer", "_code", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether part of a reply has come."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> Iterator[UpstreamReply]:
        """Yield the replies that `data` completes; MalformedReply comes after those before it, and ends it all."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if reply := self._take(line):
                yield reply
        if len(self._buffer) > MAX_LINE:
            raise MalformedReply(f"a reply line of more than {MAX_LINE} bytes")

    def _take(self, line: bytes) -> UpstreamReply | None:
        match = _LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None or len(line) > MAX_LINE:
            raise MalformedReply(f"not an SMTP reply: {line[:80].decode('ascii', 'backslashreplace')}")
        code, separator, text = match.groups()
        if self._lines and code != self._code:
            raise MalformedReply(f"a reply that is both {int(self._code)} and {int(code)}")
        self._code = code
        self._lines.append((text or b"").decode("ascii", "backslashreplace"))
        if separator != b"-":
            return self._finish()
        if len(self._lines) >= MAX_LINES:
            raise MalformedReply(f"a reply of more than {MAX_LINES} lines")
        return None

    def _finish(self) -> UpstreamReply:
        lines, self._lines = tuple(self._lines), []
        return UpstreamReply(int(self._code), lines)


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server offers in its reply to EHLO.

    `size` is the largest message in bytes, 0 when the server names none, None when SIZE is not offered at all.
    """

    size: int | None = None
    auth: frozenset[str] = frozenset()
    starttls: bool = False
    eight_bit: bool = False
    pipelining: bool = False

    def too_small_for(self, size: int) -> bool:
        """Whether a message of `size` bytes is more than the server says it takes."""
        return bool(self.size) and size > (self.size or 0)


def parse_offers(reply: UpstreamReply) -> Offers:
    """The extensions in a reply to EHLO, whose first line is only the server's name."""
    words = [line.upper().replace("AUTH=", "AUTH ", 1).split() for line in reply.lines[1:]]
    known = {keyword: parameters for keyword, *parameters in filter(None, words)}
    return Offers(
        size=_size(known["SIZE"]) if "SIZE" in known else None,
        auth=frozenset(known.get("AUTH", ())),
        starttls="STARTTLS" in known,
        eight_bit="8BITMIME" in known,
        pipelining="PIPELINING" in known,
    )


def _size(parameters: list[str]) -> int:
    digits = parameters[0] if parameters else ""
    return int(digits) if digits.isdecimal() and len(digits) <= 20 else 0
