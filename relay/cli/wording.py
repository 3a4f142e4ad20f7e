"""How commands write spans of time, sizes, numbers of things and other people's words.

Guarantees that nothing of `printable` commands the terminal, and that times for programs are ISO 8601, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_SPANS: Final = ((86_400, "d"), (3600, "h"), (60, "m"))
_SIZES: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def printable(words: str) -> str:
    """Words of others on one line: what does not print, or would move the cursor, becomes a blank."""
    return "".join(letter if letter.isprintable() else " " for letter in words)


def moment(at: float) -> str:
    """A time, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def span(seconds: float) -> str:
    """How long, in the largest unit of which there are two or more; nothing is shorter than no time at all."""
    whole = max(0, int(seconds))
    length, unit = next((one for one in _SPANS if whole >= 2 * one[0]), (1, "s"))
    return f"{whole // length}{unit}"


def size(count: int) -> str:
    """Bytes, to two digits or more."""
    length, unit = next((one for one in _SIZES if count >= one[0]), (1, "B"))
    value = count / length
    return f"{value:.1f} {unit}" if length > 1 and value < 10 else f"{value:.0f} {unit}"


def counted(number: int, word: str) -> str:
    """So many of something."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
