"""Line endings of message content: every line ends with CRLF (RFC 5322 section 2.1), or the message is refused.

A CR or LF that stands alone is a line end to some servers and not to others, which is how messages are smuggled.
So content leaves here with none: each becomes CRLF, or the message is refused. Content that has none is returned
as it came, without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import IncrementalNewlineDecoder

from relay.errors import Rejection
from relay.model import Buffer
from relay.replies import STRAY_LINE_ENDINGS

# Small enough to stay in the processor's cache, large enough to make the loop free.
_PIECE = 64 * 1024
_ALL_BUT_CR = bytes(byte for byte in range(256) if byte != 0x0D)


def canonical(content: Buffer, *, normalize: bool) -> Buffer:
    """Return content whose only CR and LF are CRLFs: the same object where that is so already.

    Raises:
        Rejection: STRAY_LINE_ENDINGS, when there are others and `normalize` is off.
    """
    if not has_stray(content):
        return content
    if not normalize:
        raise Rejection(STRAY_LINE_ENDINGS)
    return _normalized(content)


class StrayWatch:
    """Looks at content piece by piece for a CR or LF outside a CRLF.

    The standard library's newline decoder notes the kinds of line end that it meets, in one pass and in a
    quarter of the time that three calls of `count` take.
    """

    def __init__(self) -> None:
        self._decoder = IncrementalNewlineDecoder(None, translate=False)

    def sees(self, piece: Buffer) -> bool:
        """Whether there was one up to here; a CR at the end of a piece waits for the next."""
        for text in _pieces(piece):
            self._decoder.decode(text)
        return self._seen()

    def saw(self) -> bool:
        """Whether there was one at all, now that everything has been seen."""
        self._decoder.decode("", final=True)
        return self._seen()

    def _seen(self) -> bool:
        return self._decoder.newlines not in (None, "\r\n")


def has_stray(content: Buffer) -> bool:
    """Whether a CR or LF stands outside a CRLF."""
    watch = StrayWatch()
    watch.sees(content)
    return watch.saw()


def _normalized(content: Buffer) -> bytearray:
    decoder = IncrementalNewlineDecoder(None, translate=True)
    result = bytearray()
    for text in _pieces(content):
        result += _with_crlf(decoder.decode(text).encode("latin-1"))
    result += _with_crlf(decoder.decode("", final=True).encode("latin-1"))
    return result


def _with_crlf(lines: bytes) -> bytes | bytearray:
    """CRLF for each LF. `replace` takes some nanoseconds for each, which is much where there is little else."""
    others = len(lines.translate(None, b"\n"))
    spare = next((byte for byte in _ALL_BUT_CR if byte not in lines), None)
    if spare is None or others > len(lines) * 3 // 4:
        return lines.replace(b"\n", b"\r\n")
    # Two bytes for each, CR and LF or the spare one and itself; and then the spare ones go.
    pairs = bytearray(2 * len(lines))
    pairs[::2] = lines.translate(bytes(0x0D if byte == 0x0A else spare for byte in range(256)))
    pairs[1::2] = lines
    return pairs.translate(None, bytes([spare]))


def _pieces(content: Buffer) -> Iterator[str]:
    """The content as text of one character per byte, which is what the decoder takes."""
    view = memoryview(content)
    for start in range(0, len(view), _PIECE):
        yield str(view[start : start + _PIECE], "latin-1")
