"""Bounces: what a sender is told about mail that the relay said yes to and could not deliver, or not yet.

Owns the delivery status notification (RFC 3464 in a multipart/report, RFC 6522): plain English for people, fields for
programs, and the header section of the original, never its body. Silent where a bounce would do harm: on mail from
<> or from the relay itself, which could go round for ever (RFC 5321 section 6.1), and on recipients for whom
the client asked for silence (RFC 3461 section 4.1). Amazon SES takes no null sender, so a bounce comes from an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Final

from relay.address import routing_key
from relay.errors import Reply
from relay.model import Buffer
from relay.policy.content import canonical
from relay.policy.letters import Letter, Letterhead, Part, fields, multipart, one_line, paragraph, quoted, text, write

HEADER_BYTES: Final = 32 * 1024

_INDENT: Final = "    "
_ENHANCED: Final = re.compile(r"[245](?:\.\d{1,3}){2}")
# Whole fields up to the first line that is none, which may be body; above them what mbox files have (RFC 4155).
_HEADER: Final = re.compile(
    rb"(?:>?From [^\r\n]*+\r\n)*"
    rb"((?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*)+)",
)


class Fate(StrEnum):
    """What became of the mail.

    FAILED: SES refused it for good. EXPIRED: its lifetime is over. UNCERTAIN: SES had it, and the answer was lost too
    often; it may have been delivered. DELAYED: it is still being tried.
    """

    FAILED = "failed"
    EXPIRED = "expired"
    UNCERTAIN = "uncertain"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to some recipients of one mail.

    Args:
        mail: The mail's id.
        parcel: The id of the parcel that holds these recipients.
        arrived: When the relay took it (all times are aware).
        sender: Its envelope sender, "" for <>.
        recipients: Those that this is about.
        silent: Recipients that asked for NOTIFY=NEVER.
        fate: What became of it.
        reply: The last answer, with SES's own words.
        attempted: When it was last tried.
        until: DELAYED: until when it will be tried.
        original: The message as the client sent it.
    """

    mail: str
    parcel: str
    arrived: datetime
    sender: str
    recipients: tuple[str, ...]
    silent: frozenset[str]
    fate: Fate
    reply: Reply
    attempted: datetime
    until: datetime | None
    original: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Story:
    """How a fate is told. `status` is the code of RFC 3463, unless the reply's own is of the class `borrowed`."""

    subject: str
    who: str
    why: str
    advice: str
    status: str
    borrowed: str = ""
    action: str = "failed"


_STORIES: Final[Mapping[Fate, _Story]] = {
    Fate.FAILED: _Story(
        subject="Undelivered mail",
        who="Your mail could not be delivered to:",
        why="Amazon SES refused it for good. Its answer:",
        advice="It will not be tried again. If you can mend what the answer names, do, and send the mail again.",
        status="5.0.0",
        borrowed="5",
    ),
    Fate.EXPIRED: _Story(
        subject="Undelivered mail, given up after many attempts",
        who="Your mail could not be delivered in time to:",
        why="It was tried again and again, and has been given up. The last answer:",
        advice="It will not be tried again. If it is still of use, send it again later.",
        status="5.4.7",
    ),
    # Class 4 and 4.4.2, a transaction that a bad connection did not let end: the mail is in order and the address may
    # well be good, so nobody should strike it off a list, which is what class 5 asks for (RFC 3463 sections 2 and 3.5).
    Fate.UNCERTAIN: _Story(
        subject="Mail that may or may not have been delivered",
        who="Your mail may or may not have been delivered to:",
        why="It was handed to Amazon SES, but the answer was lost, each time that it was tried. What was noted last:",
        advice=(
            "It will not be tried again. Do not assume that it has arrived, nor that it has not: ask the recipients "
            "before you send it again, or they may get it twice."
        ),
        status="4.4.2",
    ),
    Fate.DELAYED: _Story(
        subject="Delayed mail, nothing needs to be done",
        who="Your mail has not been delivered yet to:",
        why="It is waiting and will be tried again. The last answer:",
        advice="Nothing needs to be done, and please do not send it again. You will be told if it is given up.",
        status="4.4.7",
        borrowed="4",
        action="delayed",
    ),
}


def bounce(report: Report, letterhead: Letterhead, when: datetime, token: str) -> Letter | None:
    """Write to the sender; None when nobody may be told.

    Args:
        report: What happened.
        letterhead: Who writes.
        when: The date of the bounce (aware).
        token: Makes its Message-ID and its boundary: 1 to 60 letters, digits and hyphens, hard to guess.

    Raises:
        ValueError: The token is none: a fault of ours.
    """
    recipients = tuple(one for one in report.recipients if one not in report.silent)
    if not recipients or unanswerable(report, letterhead):
        return None
    parts = (_explanation(report, letterhead, recipients), _status(report, letterhead, recipients), *_header(report))
    whole = multipart("multipart/report; report-type=delivery-status", parts, token)
    return write(letterhead, report.sender, _STORIES[report.fate].subject, "auto-replied", when, token, whole)


def unanswerable(report: Report, letterhead: Letterhead) -> bool:
    """Whether the mail came from <> or from the author of bounces, so that a bounce might be one of a bounce."""
    return not report.sender or same(report.sender, letterhead.author)


def same(one: str, other: str) -> bool:
    """Whether two addresses are one mailbox."""
    return routing_key(one) == routing_key(other)


def _explanation(report: Report, letterhead: Letterhead, recipients: Sequence[str]) -> Part:
    story = _STORIES[report.fate]
    until = _until(report)
    advice = f"It will be tried until {until}. {story.advice}" if until else story.advice
    ids = f"It arrived on {format_datetime(report.arrived)} and was last tried on {format_datetime(report.attempted)}. "
    ids += f"The relay knows it as {report.parcel}."
    ask = f" If you need help, write to {letterhead.postmaster} and give this id." if letterhead.postmaster else ""
    return text([
        *paragraph(f"This is the mail relay {letterhead.hostname}. {story.who}"), "",
        *(_INDENT + one_line(one) for one in recipients), "",
        *paragraph(story.why), "",
        *paragraph(str(report.reply), _INDENT), "",
        *paragraph(advice), "",
        *paragraph(ids + ask),
    ])  # fmt: skip


def _status(report: Report, letterhead: Letterhead, recipients: Sequence[str]) -> Part:
    """The fields for programs (RFC 3464 section 2): about the mail, then about each recipient."""
    story = _STORIES[report.fate]
    until = _until(report)
    mail = fields(
        ("Reporting-MTA", f"dns; {letterhead.hostname}"),
        ("Arrival-Date", format_datetime(report.arrived)),
    )
    each = fields(
        ("Action", story.action),
        ("Status", _code(story, report.reply)),
        ("Diagnostic-Code", f"smtp; {report.reply}"),
        ("Last-Attempt-Date", format_datetime(report.attempted)),
        *([("Will-Retry-Until", until)] if until else []),
    )
    groups = (fields(("Final-Recipient", f"rfc822; {one}")) + each for one in recipients)
    return Part("message/delivery-status", b"\r\n".join((mail, *groups)))


def _until(report: Report) -> str | None:
    """Until when it will be tried: mail that is given up has no such time (RFC 3464 section 2.3.9)."""
    return format_datetime(report.until) if report.until and report.fate is Fate.DELAYED else None


def _code(story: _Story, reply: Reply) -> str:
    borrows = _ENHANCED.fullmatch(reply.enhanced) and reply.enhanced[0] == story.borrowed
    return reply.enhanced if borrows else story.status


def _header(report: Report) -> Iterator[Part]:
    """The fields of the original, where it has any, from its first HEADER_BYTES."""
    head = bytes(canonical(bytes(memoryview(report.original)[:HEADER_BYTES]), normalize=True))
    if len(report.original) <= HEADER_BYTES and not head.endswith(b"\r\n"):
        head += b"\r\n"
    match = _HEADER.match(head)
    if match:
        yield quoted("text/rfc822-headers", match[1])
