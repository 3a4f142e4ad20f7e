"""The header section of a message, read with the standard library's parser.

Owns where the section ends (RFC 5322 section 2.1) and what SES takes out of it before delivery. Never looks at
the body, so the price of a message does not grow with its size.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses
from functools import lru_cache

Fields = tuple[tuple[str, str], ...]

_EMPTY_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_PARSER = BytesHeaderParser(policy=compat32)


def _end(raw: bytes) -> int:
    """Where the header section ends: after the line end of its last field."""
    match = _EMPTY_LINE.search(raw)
    if match is None:
        return len(raw)
    return raw.index(b"\n", match.start()) + 1 if match.start() else 0


@dataclass(frozen=True, slots=True)
class Section:
    """A header section: its fields in order, and by name in lower case."""

    fields: Fields
    named: Mapping[str, tuple[str, ...]]

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of the fields called `name`, in any case."""
        return self.named.get(name.lower(), ())

    def first(self, name: str) -> str | None:
        """The value of the first field called `name`, None if there is none."""
        return next(iter(self.values(name)), None)


def section(raw: bytes) -> Section:
    """The header section of a message."""
    fields = read(raw)
    named: dict[str, list[str]] = {}
    for name, value in fields:
        named.setdefault(name.lower(), []).append(value)
    return Section(fields, {name: tuple(values) for name, values in named.items()})


def read(raw: bytes) -> Fields:
    """The fields of the header section, unfolded and stripped, in order; 8-bit bytes as surrogate escapes."""
    message = _PARSER.parsebytes(raw[: _end(raw)])
    return tuple((name, _FOLD.sub("", str(value)).strip()) for name, value in message.raw_items())


@lru_cache(maxsize=4096)
def mailboxes(value: str) -> tuple[tuple[str, str], ...]:
    """The (display name, address) pairs of an address header; addresses may be ""."""
    return tuple(pair for pair in getaddresses([value]) if any(pair))


def delivered(raw: bytes, visible_from: str | None, visible_reply_to: str | None) -> bytes:
    """The message without the X-SES- fields; a v2 call's From and Reply-To take the place of the headers'."""
    end = _end(raw)
    section = _without(rb"x-ses-[^:\r\n]*", raw[:end])
    for name, value in ((b"Reply-To", visible_reply_to), (b"From", visible_from)):
        if value is not None:
            section = name + b": " + value.encode() + b"\r\n" + _without(name + rb"[ \t]*", section)
    return section + raw[end:]


def _without(name: bytes, section: bytes) -> bytes:
    """The header section less every field, folded lines and all, whose name matches the pattern."""
    line = rb"[^\n]*(?:\n|\Z)"
    field = rb"^" + name + rb":" + line + rb"(?:[ \t]" + line + rb")*"
    return re.sub(field, b"", section, flags=re.IGNORECASE | re.MULTILINE)
