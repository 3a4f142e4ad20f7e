"""Which addresses of a message SES checks, and under which ARN: pure.

Sources: SES API reference, SendRawEmail and SendEmail (parameters beat headers, one by one); SES developer guide,
"Sending emails for the identity owner" (three ARNs, the first header of a name counts) and "Amazon SES email sending
errors" (Sender and Return-Path are checked as well). There is no ARN for Sender.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relay.simulator import headers
from relay.simulator.facts import (
    FROM_ARN_ALONE,
    RETURN_PATH_FIELD,
    SENDER_FIELD,
    SEVERAL_FROM,
    SOURCE_ARN_ALONE,
    SOURCE_ARN_FOR_BOUNCES,
    Fact,
)
from relay.simulator.headers import Section
from relay.simulator.rules import check_address
from relay.simulator.words import Arns, Submission


@dataclass(frozen=True, slots=True)
class Claim:
    """One address that the message uses, as SES would print it, and the ARN that speaks for it.

    `fact` is why this ARN, and None where that needs no word.
    """

    use: str
    address: str
    shown: str
    arn: str | None
    fact: Fact | None = None


def claims(submission: Submission, section: Section, arns: Arns, *, source_is_enough: bool) -> Iterator[Claim]:
    """Every address that SES checks: envelope sender, bounce address, From, Sender, Return-Path.

    `source_is_enough`: whether the Source ARN also covers From where no From ARN is given. Raises Refused for an
    address that cannot be parsed.
    """
    bounces = arns.source if arns.return_path is None else arns.return_path
    assumed = SOURCE_ARN_FOR_BOUNCES if arns.return_path is None and arns.source is not None else None
    lonely = FROM_ARN_ALONE if arns.source is None and arns.from_ is not None else None
    if submission.sender is not None:
        if submission.interface != "v2":  # the v2 API has no envelope sender, only a bounce address
            yield _claim("envelope sender", submission.sender, arns.source, lonely)
        yield _claim("bounce address", submission.sender, bounces, assumed or (lonely if bounces is None else None))
    alone = SOURCE_ARN_ALONE if arns.from_ is None and arns.source is not None else None
    author = arns.source if alone and source_is_enough else arns.from_
    mailboxes = authors(submission, section)
    for name, address in mailboxes:
        fact = alone or (SEVERAL_FROM if len(mailboxes) > 1 else None)
        yield _claim("From", f"{name} <{address}>" if name else address, author, fact)
    for value in section.values("Sender"):
        yield _claim("Sender", value, None, SENDER_FIELD)
    for value in section.values("Return-Path"):
        yield _claim("Return-Path", value, bounces, assumed or (RETURN_PATH_FIELD if bounces is None else None))


def authors(submission: Submission, section: Section) -> tuple[tuple[str, str], ...]:
    """Display name and address of each mailbox in the From that recipients see."""
    visible = submission.visible_from or section.first("From") or ""
    return headers.mailboxes(visible) or (("", visible),)


def feedback(submission: Submission, section: Section) -> str:
    """The bounce address: the envelope sender, else Return-Path, else From (SES API reference, SendRawEmail)."""
    if submission.sender is not None:
        return submission.sender
    named = section.first("Return-Path")
    return authors(submission, section)[0][1] if named is None else check_address(named)


def _claim(use: str, shown: str, arn: str | None, fact: Fact | None = None) -> Claim:
    return Claim(use, check_address(shown), shown, arn, fact)
