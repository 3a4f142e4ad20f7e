"""What the postmaster is told of the spool's own ills: a damaged file, mails without their content.

Each says what happened, to which mails, where what is left lies and what can be done: a log line is easily missed, and
such mail is not bounced. Owns the words only; how letters look is in `notices` and `letters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_NAMED: Final = 20  # mails that a log line or a letter names
_INDENT: Final = "    "
_UNTRUSTED: Final = (
    "The file of the spool could not be trusted any more: it was damaged, or its disk has failed. What could be read "
    "of it is in a new file, with {parcels} in it, and the relay goes on."
)
_UNREADABLE: Final = (
    "Nothing could be read of the file of the spool. The relay goes on with an empty one. Whatever mail waited in the "
    "old one is lost; how much that is, nobody knows."
)
_LOST: Final = "Only some of what belongs to these mails was there. They are not delivered, and no sender is told:"
_LEFT: Final = (
    "What is left of them is in files beside the spool: sender and recipients in .json, the message in .eml, as far "
    "as they are known. It can be sent again from there by ses-relay send --from ... --to ... --file FILE:"
)
_WITHOUT_MAIL: Final = "In this folder are messages that belong to no mail of the new file, each as its client sent it:"
_DAMAGED_BY: Final = (
    "Look at the disk, which may damage more, and at what the kernel says of it. Remove these files when nobody needs "
    "them any more; the relay never does."
)
_MISSING: Final = (
    "When the relay started, the messages of these mails were not where they belong; all else about the mails is there:"
)
_PUT_BACK: Final = (
    "They wait in the queue and are tried as always. Put the files back into the folder below, from a backup or by "
    "mounting what should be there, and they are delivered. What is still without its message when its lifetime ends "
    "is given up, and its sender is told. ses-relay queue show ID tells whose mail it is."
)
_NO_DATABASE: Final = (
    "When the relay started, there were messages of a spool, but no database that says whose they are: it was removed, "
    "or is empty. The relay has begun a new one. The messages are put aside, each as its client sent it; where they "
    "were to go only their headers tell:"
)


@dataclass(frozen=True, slots=True)
class News:
    """A letter to the postmaster: its subject, and its paragraphs."""

    subject: str
    lines: tuple[str, ...]


def named(mails: Sequence[str]) -> tuple[list[str], int]:
    """The ids that are told, and how many there are besides."""
    return list(mails[:_NAMED]), max(len(mails) - _NAMED, 0)


def spool_mended(
    parcels: int, lost: Sequence[str], old: str, remains: str | None, aside: str | None = None, *, unreadable: bool
) -> News:
    """The file of the spool was replaced.

    Args:
        parcels: How many there are in the new file.
        lost: Mails that are not whole.
        old: Where the old file is now.
        remains: How the names of files begin that have what is left of lost mails.
        aside: The folder of contents that belong to no mail.
        unreadable: Whether nothing of the old file could be read.
    """
    lines = [_UNREADABLE if unreadable else _UNTRUSTED.format(parcels=_count(parcels, "parcel"))]
    if lost:
        lines += ["", _LOST, "", *_ids(lost)]
    if remains is not None:
        lines += ["", _LEFT, "", f"{_INDENT}{remains}-*"]
    if aside is not None:
        lines += ["", _WITHOUT_MAIL, "", f"{_INDENT}{aside}"]
    lines += ["", "The old file is kept:", "", f"{_INDENT}{old}", "", _DAMAGED_BY]
    what = "all its mail is lost" if unreadable else f"{_count(len(lost), 'mail')} lost" if lost else "it is mended"
    return News(f"The spool was damaged: {what}", tuple(lines))


def contents_missing(mails: Sequence[str], folder: str) -> News:
    """Mails are in the spool whose content is not in the folder."""
    lines = (_MISSING, "", *_ids(mails), "", _PUT_BACK, "", f"{_INDENT}{folder}")
    return News(f"{_count(len(mails), 'mail')} in the spool without content", lines)


def database_missing(aside: str) -> News:
    """Contents were found, and nothing that they belong to; they are put aside."""
    return News("The database of the spool was gone", (_NO_DATABASE, "", f"{_INDENT}{aside}"))


def _ids(mails: Sequence[str]) -> Iterator[str]:
    some, more = named(mails)
    yield from (f"{_INDENT}{mail}" for mail in some)
    if more:
        yield f"{_INDENT}and {more} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
