"""A finished message as it goes over the wire after DATA: dots doubled, ended by a dot (RFC 5321 section 4.5.2).

Owns the way from the pieces of a parcel to chunks of bounded size, right across every border of pieces and
chunks. Guarantees that nothing in the content can end the message early: a CR or LF outside of a CRLF, which
some servers take for a line end (outbound SMTP smuggling), stops the message before the final dot. The pieces
are never copied as a whole. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from relay.model import Buffer
from relay.policy.content import StrayWatch

CHUNK: Final = 256 * 1024  # bytes; large enough for C speed, small enough to share the event loop

_CRLF: Final = b"\r\n"
_END: Final = b".\r\n"


class StrayLineEnding(Exception):
    """The content has a CR or LF that is not part of a CRLF; it should have been normalised long before."""


def wire_form(content: Iterable[Buffer], size: int = CHUNK) -> Iterator[bytes]:
    """The chunks to write after 354; the last one, and only that, ends the message.

    A CRLF is added where the content does not end with one. Raises StrayLineEnding before the chunk that has it.
    """
    before, ready = _CRLF, b""  # a message starts like a line: its first dot is doubled as well
    watch = StrayWatch()
    for chunk in _chunks(content, size):
        if ready:
            yield ready
        if watch.sees(chunk):
            raise StrayLineEnding
        ready = _stuff(before, chunk)
        before = (before + chunk[-2:])[-2:]
    if watch.saw():
        raise StrayLineEnding
    yield ready + (_END if before == _CRLF else _CRLF + _END)


def has_eight_bit(content: Iterable[Buffer]) -> bool:
    """Whether any byte is beyond ASCII, which BODY=8BITMIME announces (RFC 6152)."""
    return not all(chunk.isascii() for chunk in _chunks(content, CHUNK))


def _chunks(content: Iterable[Buffer], size: int) -> Iterator[bytes]:
    """The same bytes in chunks of `size`, small neighbours joined."""
    parts: list[memoryview] = []
    room = size
    for piece in content:
        rest = memoryview(piece).cast("B")
        while rest:
            parts.append(rest[:room])
            rest = rest[room:]
            room -= len(parts[-1])
            if not room:
                yield b"".join(parts)
                parts, room = [], size
    if parts:
        yield b"".join(parts)


def _stuff(before: bytes, chunk: bytes) -> bytes:
    if b"." not in chunk:  # base64 has none, and looking for one byte costs nothing
        return chunk
    stuffed = chunk.replace(b"\r\n.", b"\r\n..") if b"\r\n." in chunk else chunk
    if before == _CRLF and chunk.startswith(b"."):
        return b"." + stuffed
    if before.endswith(b"\r") and chunk.startswith(b"\n."):
        return b"\n." + stuffed[1:]
    return stuffed
