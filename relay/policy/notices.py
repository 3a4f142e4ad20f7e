"""Notices to the postmaster: what only an operator can mend, and mail that died and may not be bounced.

Owns what they say, and that there is no end of them: mail from the author to nobody but the postmaster, which is
what a notice is, gives no notice when it dies. Without a postmaster there are none; dead letters are kept anyhow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from relay.policy.bounces import Fate, Report, same, unanswerable
from relay.policy.letters import Letter, Letterhead, one_line, paragraph, text, write

_INDENT: Final = "    "
_FATES: Final[Mapping[Fate, str]] = {
    Fate.FAILED: "Amazon SES refused it for good.",
    Fate.EXPIRED: "It could not be delivered within its lifetime.",
    Fate.UNCERTAIN: "The answer of Amazon SES was lost each time that it was tried. It may have been delivered.",
}


def dead_letter_notice(report: Report, letterhead: Letterhead, when: datetime, token: str) -> Letter | None:
    """Tell the postmaster of mail that died without a bounce, because it came from <> or from the relay itself.

    None without a postmaster, for mail that is not dead or whose sender is told by a bounce, and for mail that the
    author wrote to the postmaster only.

    Args:
        report: What happened.
        letterhead: Who writes, and to which postmaster.
        when: The date of the notice (aware).
        token: Makes its Message-ID: 1 to 60 letters, digits and hyphens.

    Raises:
        ValueError: The token is none: a fault of ours.
    """
    dead = report.fate in _FATES
    if not (letterhead.postmaster and dead and unanswerable(report, letterhead)) or _is_notice(report, letterhead):
        return None
    subject = f"Dead letter {report.parcel} from {report.sender or '<>'}"
    return trouble_notice(subject, _dead_letter(report), letterhead, when, token)


def trouble_notice(
    subject: str, lines: Sequence[str], letterhead: Letterhead, when: datetime, token: str
) -> Letter | None:
    """Tell the postmaster of trouble; None without one.

    Args:
        subject: The trouble in a few words.
        lines: Each is a paragraph and is broken where it is long; one that begins with blanks is indented by them.
        letterhead: Who writes, and to which postmaster.
        when: The date of the notice (aware).
        token: Makes its Message-ID: 1 to 60 letters, digits and hyphens.

    Raises:
        ValueError: The token is none: a fault of ours.
    """
    if not letterhead.postmaster:
        return None
    told = [f"This is the mail relay {letterhead.hostname}.", "", *lines]
    part = text(line for one in told for line in _broken(one))
    return write(letterhead, letterhead.postmaster, subject, "auto-generated", when, token, part)


def _is_notice(report: Report, letterhead: Letterhead) -> bool:
    ours = bool(report.sender) and same(report.sender, letterhead.author)
    return ours and all(same(one, letterhead.postmaster or "") for one in report.recipients)


def _dead_letter(report: Report) -> list[str]:
    return [
        "This mail was given up. Its sender cannot be told, because a bounce of it could be a bounce of a bounce.",
        "",
        f"{_INDENT}sender: {one_line(report.sender) or '<>'}",
        *(f"{_INDENT}recipient: {one_line(one)}" for one in report.recipients),
        f"{_INDENT}arrived: {format_datetime(report.arrived)}",
        f"{_INDENT}last tried: {format_datetime(report.attempted)}",
        "",
        f"{_FATES[report.fate]} The last answer:",
        "",
        f"{_INDENT}{one_line(str(report.reply))}",
        "",
        "It is kept as a dead letter for a while:",
        "",
        *(f"{_INDENT}ses-relay queue {action} {report.parcel}" for action in ("show", "retry", "drop")),
    ]


def _broken(line: str) -> list[str]:
    """The lines of a paragraph, at least an empty one."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    return paragraph(line.strip(), indent) or [""]
