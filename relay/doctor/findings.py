"""Findings: what was looked at, how it is, why that matters and what mends it. Frozen, and no I/O.

Guarantees that whatever is not well says why it matters and what mends it. What could not be learnt is `unknown`,
never well and never bad: a permission that is missing is no trouble with mail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal["credentials", "region", "account", "smtp", "identity"]


class Verdict(StrEnum):
    """How something is; only `bad` makes the whole not well."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True, order=True)
class About:
    """What a finding is about: an entry of `credentials`, a region, an account in one, an SMTP login, an identity."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: About
    check: str
    verdict: Verdict
    what: str
    why: str = ""
    mend: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.OK and not (self.why and self.mend):
            raise ValueError(f"{self.check}: whatever is not well has a reason and a remedy")


def ok(about: About, check: str, what: str) -> Finding:
    """It is as it should be."""
    return Finding(about, check, Verdict.OK, what)


def unknown(about: About, check: str, what: str, why: str, mend: str) -> Finding:
    """It could not be learnt."""
    return Finding(about, check, Verdict.UNKNOWN, what, why, mend)


def warning(about: About, check: str, what: str, why: str, mend: str) -> Finding:
    """Mail goes, but not all of it, or not for long."""
    return Finding(about, check, Verdict.WARNING, what, why, mend)


def bad(about: About, check: str, what: str, why: str, mend: str) -> Finding:
    """Mail does not go, or none that matters."""
    return Finding(about, check, Verdict.BAD, what, why, mend)


def all_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.verdict is not Verdict.BAD for finding in findings)
