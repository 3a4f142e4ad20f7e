"""The mail that the relay itself writes: its header, its MIME parts, its line ends.

Guarantees that a letter is 7-bit, that its lines end with CRLF and have at most 998 octets (RFC 5322 section 2.1.1),
and that the same arguments make the same bytes. What others wrote (addresses, SES's words, a client's header fields)
stays text in it: it ends no line, begins no field and no MIME part.

Never writes 8-bit, nor folds a line of a header: what is too long for one is cut.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from itertools import count
from textwrap import wrap
from typing import Literal

from relay.address import split

_LINE_CHARS = 900  # leaves room for the name of a field and for an indent
_TEXT_CHARS = 76
_ODD = re.compile(r"[^ -~]+")
_TOKEN = re.compile(r"[A-Za-z0-9-]{1,60}")  # goes into a boundary, which has at most 70 (RFC 2046 section 5.1.1)
_PLAIN = re.compile(rb"(?:[\t -~]{0,998}+\r\n)*")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes: `author` is the envelope sender and the From of every letter, `hostname` the relay's own name.

    `postmaster` is who hears of trouble; None where nobody does.
    """

    author: str
    postmaster: str | None
    hostname: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter and its one recipient; its envelope sender is the author."""

    recipient: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME part: its media type, and its content as it is transferred, which ends with CRLF."""

    media: str
    content: bytes = field(repr=False)
    encoding: Literal["7bit", "quoted-printable"] = "7bit"

    def __bytes__(self) -> bytes:
        head = fields(("Content-Type", self.media), ("Content-Transfer-Encoding", self.encoding))
        return head + b"\r\n" + self.content


def write(
    letterhead: Letterhead,
    recipient: str,
    subject: str,
    automatic: Literal["auto-replied", "auto-generated"],
    when: datetime,
    token: str,
    part: Part,
) -> Letter:
    """Write a letter.

    Args:
        letterhead: Who writes.
        recipient: Whom to.
        subject: What about.
        automatic: Whether it answers somebody's mail, or none (RFC 3834 section 5).
        when: Its date (aware).
        token: For its Message-ID.
        part: What it says.

    Raises:
        ValueError: The token is not 1 to 60 letters, digits and hyphens: a fault of ours.
    """
    head = fields(
        ("From", f"Mail Delivery System <{letterhead.author}>"),
        ("To", f"<{recipient}>"),
        ("Subject", subject),
        ("Date", format_datetime(when)),
        ("Message-ID", f"<{_checked(token)}@{split(letterhead.author)[1]}>"),
        ("Auto-Submitted", automatic),
        ("MIME-Version", "1.0"),
    )
    return Letter(recipient, head + bytes(part))


def fields(*pairs: tuple[str, str]) -> bytes:
    """Write header fields, one line each, without an empty line after them."""
    return b"".join(f"{name}: {one_line(value)}\r\n".encode("ascii") for name, value in pairs)


def one_line(text: str) -> str:
    """Make one line of printable ASCII of a text, a blank for whatever else is in it, and cut what is too long."""
    return _ODD.sub(" ", text).strip()[:_LINE_CHARS]


def paragraph(text: str, indent: str = "") -> list[str]:
    """Break a text into lines for people to read; words, such as addresses and ARNs, stay whole."""
    lines = wrap(
        _ODD.sub(" ", text),
        _TEXT_CHARS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line[:_LINE_CHARS] for line in lines]


def text(lines: Iterable[str]) -> Part:
    """Make a part of lines of printable ASCII, such as `paragraph` returns."""
    return Part("text/plain; charset=us-ascii", "".join(f"{line}\r\n" for line in lines).encode("ascii"))


def quoted(media: str, content: bytes) -> Part:
    """Make a part of what somebody else wrote: as it is where it is plain, else as quoted-printable.

    Args:
        media: Its media type.
        content: Bytes whose only line ends are CRLF, with one at the end.
    """
    if _PLAIN.fullmatch(content):
        return Part(media, content)
    return Part(media, b2a_qp(content), "quoted-printable")


def multipart(media: str, parts: Sequence[Part], token: str) -> Part:
    """Put parts together, between boundaries that stand nowhere in them (RFC 2046 section 5.1.1).

    Args:
        media: The media type, without its boundary.
        parts: At least one.
        token: From which the boundary is made.

    Raises:
        ValueError: As `write`.
    """
    written = [bytes(part) for part in parts]
    boundary = _boundary(written, _checked(token))
    mark = b"--" + boundary.encode("ascii")
    # The CRLF before a boundary is the boundary's, so each part keeps the one at its own end.
    content = b"".join(mark + b"\r\n" + part + b"\r\n" for part in written) + mark + b"--\r\n"
    return Part(f'{media}; boundary="{boundary}"', content)


def _boundary(written: Sequence[bytes], token: str) -> str:
    """A token is hard to guess, but who guesses one must not win; `=_` is in no quoted-printable text (RFC 2045)."""
    candidates = (f"=_{token}.{number}" for number in count())
    return next(one for one in candidates if not any(one.encode("ascii") in part for part in written))


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{token!r} is no token of letters, digits and hyphens")
    return token
