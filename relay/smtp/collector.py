r"""Collects the content of one message after DATA, without I/O (RFC 5321 sections 4.1.1.4 and 4.5.2).

Owns the end of data and dot-unstuffing. Guarantees that any chunking gives the same content, that the work is
linear in what arrives, and that an oversized message is read to its true end while a few bytes are held.
Refuses to see an end in anything but CRLF.CRLF: `\n.\n` and its kin stay content, so that no other server's
idea of a message can be smuggled through this one.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
_LINE_DOT = b"\r\n."
_BEGINNINGS_OF_END = tuple(_END[:size] for size in (4, 3, 2, 1))


class Collector:
    """Takes chunks until the end of data.

    Read the attributes after `feed` has returned bytes: `content` is the un-dot-stuffed message with its final
    CRLF (empty when `oversize`), `oversize` says that it was longer than `limit` bytes. `received` counts the
    bytes from the wire so far, the end of data included and what follows it not.
    """

    __slots__ = ("_limit", "_undecided", "content", "oversize", "received")

    def __init__(self, limit: int) -> None:
        self.content = bytearray()
        self.oversize = False
        self.received = 0
        # The CRLF of the DATA command begins the first line: `.CRLF` at once is an empty message. It leads
        # `content` until the end, hence the two bytes more.
        self._undecided = b"\r\n"
        self._limit = limit + 2

    def feed(self, chunk: bytes) -> bytes | None:
        """Take the next bytes; None until the end of data is seen, then what came after it (perhaps b"")."""
        self.received += len(chunk)
        data = self._undecided + chunk
        dot = data.find(_LINE_DOT)
        if dot >= 0:
            end = data.find(_END, dot)
            if end >= 0:
                return self._finish(data, end)
        self._undecided = _undecided(data)
        if self._undecided:
            data = data[: -len(self._undecided)]
        self._keep(data, dotted=dot >= 0)
        return None

    def abandon(self) -> None:
        """Let go of what is held and hold nothing more, but still find the end: there is no room for it."""
        self.oversize = True
        self.content = bytearray()

    def _finish(self, data: bytes, end: int) -> bytes:
        self._keep(data[: end + 2], dotted=True)
        del self.content[:2]
        leftover = data[end + len(_END) :]
        self.received -= len(leftover)
        return leftover

    def _keep(self, data: bytes, *, dotted: bool) -> None:
        """Append whole or partial lines; a dot after CRLF goes, doubled or not (RFC 5321 section 4.5.2)."""
        if self.oversize:
            return
        if dotted:
            data = data.replace(_LINE_DOT, b"\r\n")
        if len(self.content) + len(data) > self._limit:
            self.oversize = True
            self.content = bytearray()
        else:
            self.content += data


def _undecided(data: bytes) -> bytes:
    """The longest end of `data` that the next bytes may turn into the end of data or a stuffed dot."""
    if data.endswith(_BEGINNINGS_OF_END):
        return next(start for start in _BEGINNINGS_OF_END if data.endswith(start))
    return b""
