"""What the postmaster is told of the spool's own ills: a damaged file, mails without their content.

Each says what happened, to which mails, where what is left lies and what can be done: a log line is easily missed, and
such mail is not bounced. Owns the words only; how letters look is in `notices` and `letters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
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
_LOST: Final = (
    "Only some of what belongs to these mails was there. What is missing is not delivered, and no sender is told. Of a "
    "mail that has lost only some of its recipients the others are: its .json names them under `still in the queue`."
)
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
    "When the relay started, there was the folder of a spool, but no database: it was removed, or is empty. Whatever "
    "mail waited in it is lost; how much that was, nobody knows. The relay has begun a new one."
)
_REBUILT: Final = (
    "When the relay started, there was the folder of a spool, but no database: it was removed, or is empty. The relay "
    "has made a new one of what its log still had. What stood in the database alone is lost."
)
_OLD_LOG: Final = "The log of the old database is kept:"
_NO_LOG: Final = "When the relay started, the database of the spool was there, but not this file, which belongs to it:"
_WITHOUT_LOG: Final = (
    "The newest mail stands only there until the relay folds it into the database. If the file was removed, that mail "
    "is lost, and mail that was delivered since may be sent once more. If the database was restored from a backup, "
    "this is to be expected of all that changed since. If another program, such as sqlite3, had the database open "
    "while no relay ran, it has folded the file itself, and nothing is lost."
)
_DAMAGED_LOG: Final = (
    "When the relay started, the log of the spool, which holds the newest mail, was damaged in the midst of it. The "
    "relay has mended it, and gone on with all that is behind the damage. What was wrong beyond mending was treated "
    "like damage of the database, of which there is a letter of its own. The log as it was is kept:"
)
_REPAIRABLE: Final = "Somebody who knows SQLite may yet get mail out of it: do not remove it before."
_LEFT_WITHOUT: Final = (
    "These are messages that belong to no mail any more, each as its client sent it; where they were to go only their "
    "headers tell:"
)

_DAMAGED: Final = (
    "The message of this mail is not what was taken in, or is not there, and is not sent:",
    "",
    _INDENT + "{mail}",
    _INDENT + "{detail}",
    "",
    "It waits in the queue and is tried until {until}.",
    "If it is put back from a backup, it is delivered; else it is given up then, and its sender is told.",
    "ses-relay queue show {mail} tells whose it is. Look at the disk, too.",
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
    lines += ["", "The old file is kept:", "", f"{_INDENT}{old}", ""]
    lines += [_REPAIRABLE, "", _DAMAGED_BY] if unreadable else [_DAMAGED_BY]
    what = "all its mail is lost" if unreadable else f"{_count(len(lost), 'mail')} lost" if lost else "it is mended"
    return News(f"The spool was damaged: {what}", tuple(lines))


def contents_missing(mails: Sequence[str], folder: str) -> News:
    """Mails are in the spool whose content is not in the folder."""
    lines = (_MISSING, "", *_ids(mails), "", _PUT_BACK, "", f"{_INDENT}{folder}")
    return News(f"{_count(len(mails), 'mail')} in the spool without content", lines)


def database_missing(aside: str | None, old_log: str | None = None, *, rebuilt: bool = False) -> News:
    """The folder of a spool was found without its database; `aside` are contents, `old_log` is where its log is."""
    lines = [_REBUILT if rebuilt else _NO_DATABASE, *_at(_LEFT_WITHOUT, aside), *_at(_OLD_LOG, old_log)]
    lines += ["", _REPAIRABLE] if old_log and not rebuilt else []
    return News("The database of the spool was gone", tuple(lines))


def log_missing(log: str, aside: str | None) -> News:
    """The database was found without its log; contents that belong to nothing are put aside."""
    lines = (_NO_LOG, "", f"{_INDENT}{log}", "", _WITHOUT_LOG, *_at(_LEFT_WITHOUT, aside))
    return News("The log of the spool was gone", lines)


def log_damaged(kept: str) -> News:
    """The log was damaged, and is mended."""
    return News("The log of the spool was damaged", (_DAMAGED_LOG, "", f"{_INDENT}{kept}"))


def _at(words: str, path: str | None) -> list[str]:
    return [] if path is None else ["", words, "", f"{_INDENT}{path}"]


def content_damaged(mail: str, detail: str, until: datetime) -> News:
    """The message of one mail is not what was taken in; it is tried until then (aware)."""
    lines = [line.format(mail=mail, detail=detail, until=format_datetime(until)) for line in _DAMAGED]
    return News(f"The message of {mail} is damaged", tuple(lines))


def _ids(mails: Sequence[str]) -> Iterator[str]:
    some, more = named(mails)
    yield from (f"{_INDENT}{mail}" for mail in some)
    if more:
        yield f"{_INDENT}and {more} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
