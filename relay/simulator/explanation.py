"""A decision, and the chain of checks that leads to it.

Every check says what was looked at, what came of it, why, and on whose word SES does so. Of several refusals the
one that SES would answer is the first in `Rank`; the order itself is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Literal

from relay.simulator.facts import Fact
from relay.simulator.refusals import REJECTED, Refused
from relay.simulator.words import Arns, Interface, Submission

Verdict = Literal["passed", "failed", "skipped"]

_MARKS: Final[Mapping[Verdict, str]] = {"passed": "ok", "failed": "NO", "skipped": "--"}


class Rank(IntEnum):
    """What is answered first when several things are wrong."""

    FORM = 0
    ARN = 1
    PAUSED = 2
    CONFIGURATION_SET = 3
    DENIED = 4
    NOT_VERIFIED = 5
    LIMIT = 6


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing. `verified` is False where nobody has shown that SES does exactly so."""

    what: str
    verdict: Verdict
    why: str
    source: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one message; `answer` is "accepted" or the refusal as its interface spells it.

    `verified`: for a refusal whether the check is that it comes from, else whether all checks are.
    """

    at: datetime
    interface: Interface
    region: str
    principal: str
    sender: str
    recipients: tuple[str, ...]
    answer: str
    verified: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of all checks; `verified` as in Decision, `arns` those in force."""

    checks: tuple[Check, ...]
    refused: Refused | None
    verified: bool
    arns: Arns


def decision(submission: Submission, recipients: tuple[str, ...], judgement: Judgement, now: datetime) -> Decision:
    """A judgement, with what it is about."""
    caller = submission.caller
    return Decision(
        at=now,
        interface=submission.interface,
        region=caller.region,
        principal=caller.principal,
        sender=submission.sender or "",
        recipients=recipients,
        answer=judgement.refused.on(submission.interface) if judgement.refused else "accepted",
        verified=judgement.verified,
        checks=judgement.checks,
    )


def told(decision: Decision) -> list[str]:
    """A decision in lines for a person: the answer, each check, and the sources below, by number."""
    numbers: dict[str, int] = {}
    lines = [f"SES, simulated, to {decision.principal} in {decision.region}: {decision.answer}"]
    for check in decision.checks:
        number = numbers.setdefault(check.source, len(numbers) + 1)
        mark = _MARKS[check.verdict] + ("" if check.verified else "?")
        lines.append(f"  {mark:4}{check.what}: {check.why} [{number}]")
    lines += [f"  [{number}] {source}" for source, number in numbers.items()]
    if not all(check.verified for check in decision.checks):
        lines.append("  ? nobody has shown that SES does exactly so")
    return lines


class Chain:
    """Checks as they are made, on one interface and in one region."""

    def __init__(self, interface: Interface, region: str) -> None:
        self.interface = interface
        self.region = region
        self._checks: list[Check] = []
        self._refusals: list[tuple[Rank, Refused, bool]] = []
        self._not_verified: dict[str, bool] = {}

    def passed(self, what: str, why: str, fact: Fact) -> None:
        """All is well with it."""
        self._note(what, "passed", why, fact)

    def skipped(self, what: str, why: str, fact: Fact) -> None:
        """It is not looked at; whether SES would is what the fact is about."""
        self._note(what, "skipped", why, fact)

    def failed(self, what: str, why: str, fact: Fact, rank: Rank, refused: Refused) -> None:
        """It refuses the message, unless something of an earlier rank does."""
        self._note(what, "failed", why, fact)
        self._refusals.append((rank, refused, fact.verified(self.interface)))

    def not_verified(self, what: str, why: str, fact: Fact, shown: str) -> None:
        """An address failed; all that failed are named in one answer."""
        self._note(what, "failed", why, fact)
        self._not_verified[shown] = self._not_verified.get(shown, True) and fact.verified(self.interface)

    def _note(self, what: str, verdict: Verdict, why: str, fact: Fact) -> None:
        self._checks.append(Check(what, verdict, why, fact.source, fact.verified(self.interface)))

    def judgement(self, arns: Arns) -> Judgement:
        """The end of the chain."""
        refusals = list(self._refusals)
        if self._not_verified:
            refused = Refused(REJECTED, _words(self.region, list(self._not_verified)))
            refusals.append((Rank.NOT_VERIFIED, refused, all(self._not_verified.values())))
        if refusals:
            _, refused, verified = min(refusals, key=lambda one: one[0])
            return Judgement(tuple(self._checks), refused, verified, arns)
        return Judgement(tuple(self._checks), None, all(check.verified for check in self._checks), arns)


def _words(region: str, shown: list[str]) -> str:
    """SES developer guide, "Amazon SES email sending errors"."""
    return (
        "Email address is not verified. The following identities failed the check in region "
        f"{region.upper()}: {', '.join(shown)}"
    )
