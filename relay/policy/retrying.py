"""What becomes of a spooled parcel after an attempt: gone, tried again and when, split, or given up.

Guarantees: it is given up only when SES refuses the message itself for good, when its lifetime is over, or when the
answer was lost three times. Trouble that concerns the relay or the identity rather than the message never counts
against it: what was throttled, met an outage or never had its turn comes back soon and keeps its place in the
schedule; an identity that SES refuses is tried again at the pace of its probes. After a lost answer at most two more
attempts follow that may send the message once more, at least ten minutes apart.

Pure: time in seconds since 1970 and chance, uniform in 0 to 1, are handed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from relay.model import Cause, Deferred, Delivered, Failed, Outcome
from relay.policy.bounces import Fate
from relay.policy.suspension import Pauses

SPREAD: Final = 0.2
LOST_APART_S: Final = 600.0
LOST_MOST: Final = 3
UNTRIED_S: Final = 5.0

# SES refuses the identity, or the relay is unwell towards SES: its mail is held, one message asks again and again
CONFIGURATION: Final = frozenset({Cause.IDENTITY, Cause.CREDENTIALS, Cause.CONFIGURATION_SET, Cause.PAUSED})
PROBES: Final = Pauses(after=1, first_s=300, longest_s=300)

_NOT_ITS_FAULT: Final = frozenset({Cause.THROTTLED, Cause.QUOTA, Cause.NETWORK, Cause.CREDENTIALS})
_FAILED_THE_CHECK: Final = re.compile(r"failed the check in region [^:]*: *(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`retry`: waits between attempts, the last repeats; all in seconds; `delay_warning`: None for none."""

    retry: tuple[float, ...]
    lifetime: float
    delay_warning: float | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A parcel at the end of an attempt: `attempts` with this one, of which `lost` were lost before."""

    since: float
    sender: str
    recipients: tuple[str, ...]
    attempts: int
    lost: int = 0
    warned: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """It is due then; `split`: each recipient by itself."""

    due: float
    attempts: int
    lost: int
    split: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It is dead."""

    fate: Fate


def decide(history: History, outcome: Outcome, now: float, schedule: Schedule, chance: float) -> Again | GiveUp | None:
    """What follows from an outcome; None: it is delivered and gone."""
    if isinstance(outcome, Delivered):
        return None
    if refuses_recipients(outcome, history.sender, history.recipients) and len(history.recipients) > 1:
        return Again(now, history.attempts - 1, history.lost, split=True)
    if refuses_identity(outcome, history.sender, history.recipients) or isinstance(outcome, Deferred):
        return _later(history, outcome, now, schedule, chance)
    return GiveUp(Fate.UNCERTAIN if history.lost else Fate.FAILED)


def refuses_identity(outcome: Outcome, sender: str, recipients: tuple[str, ...]) -> bool:
    """Whether SES has refused the identity, or the relay as such, and not this message or its recipients."""
    if isinstance(outcome, Delivered) or outcome.cause not in CONFIGURATION:
        return False
    return not refuses_recipients(outcome, sender, recipients)


def refuses_recipients(outcome: Outcome, sender: str, recipients: tuple[str, ...]) -> bool:
    """Whether SES has refused a recipient; in the sandbox with the words that it has for identities, and the names."""
    if isinstance(outcome, Delivered):
        return False
    if outcome.cause is Cause.RECIPIENT:
        return isinstance(outcome, Failed)
    found = _FAILED_THE_CHECK.search(outcome.detail) if outcome.cause is Cause.IDENTITY else None
    named = {name.strip(" .<>\"'").lower() for name in found[1].split(",")} if found else set()
    return bool(named) and named <= {recipient.lower() for recipient in recipients} - {sender.lower()}


def is_late(since: float, now: float, schedule: Schedule, *, warned: bool) -> bool:
    """Whether the sender is to be told that the mail waits."""
    return schedule.delay_warning is not None and not warned and now - since >= schedule.delay_warning


def first_wait(outcome: Deferred, schedule: Schedule, chance: float) -> float:
    """Seconds until a message is tried again that a client's own attempt did not deliver."""
    return _wait(History(0, "", (), attempts=1), outcome, schedule, chance)


def _later(
    history: History, outcome: Deferred | Failed, now: float, schedule: Schedule, chance: float
) -> Again | GiveUp:
    lost = history.lost + (outcome.cause is Cause.LOST_ANSWER)
    ends = history.since + schedule.lifetime
    if lost >= LOST_MOST or (now >= ends and _was_tried(outcome)):
        return GiveUp(Fate.UNCERTAIN if lost else Fate.EXPIRED)
    due = now + _wait(history, outcome, schedule, chance)
    earliest = now + LOST_APART_S if lost > history.lost else now
    counts = _was_tried(outcome) and outcome.cause not in _NOT_ITS_FAULT
    return Again(max(min(due, ends), earliest), history.attempts - (not counts), lost)


def _wait(history: History, outcome: Deferred | Failed, schedule: Schedule, chance: float) -> float:
    spread = 1 - SPREAD + 2 * SPREAD * chance
    if not _was_tried(outcome):
        return UNTRIED_S * spread
    if outcome.cause is Cause.LOST_ANSWER:
        return LOST_APART_S * (1 + SPREAD * chance)
    if refuses_identity(outcome, history.sender, history.recipients):
        return PROBES.first_s * spread
    if outcome.cause in _NOT_ITS_FAULT:
        return schedule.retry[0] * spread
    return schedule.retry[min(history.attempts, len(schedule.retry)) - 1] * spread


def _was_tried(outcome: Deferred | Failed) -> bool:
    return isinstance(outcome, Failed) or outcome.tried
