"""What becomes of a spooled parcel after an attempt: gone, tried again and when, split, or given up.

Guarantees: it is given up only when SES refuses the message itself for good, when its lifetime is over, or when the
answer was lost three times. Trouble that concerns the relay or the identity rather than the message never counts
against it: what was throttled or met an outage comes back soon and keeps its place in the schedule; what never had
its turn keeps its place in the queue; an identity that SES refuses is tried again at the pace of its probes. After a
lost answer at most two more attempts follow that may send the message once more: ten minutes later, and an hour after
that, so that an hour in which all answers are lost kills nothing.

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
LOST_APART_S: Final = 600.0  # at the least, whoever asks for more
LOST_WAITS_S: Final = (LOST_APART_S, 3600.0)  # after the first lost answer, and the second
LOST_MOST: Final = len(LOST_WAITS_S) + 1

# SES refuses the identity, or the relay is unwell towards SES: its mail is held, one message asks again and again
CONFIGURATION: Final = frozenset({Cause.IDENTITY, Cause.CREDENTIALS, Cause.CONFIGURATION_SET, Cause.PAUSED})
PROBES: Final = Pauses(after=3, first_s=300, longest_s=300)

_NOT_ITS_FAULT: Final = frozenset({Cause.THROTTLED, Cause.QUOTA, Cause.NETWORK, Cause.TLS, Cause.CREDENTIALS})
_UNWELL: Final = frozenset({Cause.UNAVAILABLE, Cause.NOT_SES})
UNWELL_S: Final = 300.0  # longest wait after a 5xx of SES or a proxy's, which may be an outage or this message's own
# A list of addresses, cut with dots where it is long; by SMTP the log's note of the stage follows
_FAILED_THE_CHECK: Final = re.compile(r"(?im)failed the check in region [^:]*: *(.+?)(?: \([a-z]+\))?$")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`retry`: waits between attempts, the last repeats; all in seconds; `delay_warning`: None for none."""

    retry: tuple[float, ...]
    lifetime: float
    delay_warning: float | None = None

    @property
    def longest_s(self) -> float:
        """The longest that anything waits for its next attempt: what is due later was due by another clock."""
        return max(*self.retry, PROBES.longest_s, *LOST_WAITS_S) * (1 + SPREAD)


@dataclass(frozen=True, slots=True)
class History:
    """A parcel at the end of an attempt: `attempts` with this one, of which `lost` were lost before."""

    since: float
    sender: str
    recipients: tuple[str, ...]
    attempts: int
    lost: int = 0


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
    if isinstance(outcome, Delivered) or not _was_tried(outcome) or outcome.cause not in CONFIGURATION:
        return False
    return not refuses_recipients(outcome, sender, recipients)


def refuses_recipients(outcome: Outcome, sender: str, recipients: tuple[str, ...]) -> bool:
    """Whether SES has refused a recipient; in the sandbox with the words that it has for identities, and the names."""
    if isinstance(outcome, Delivered):
        return False
    if outcome.cause is Cause.RECIPIENT:
        return isinstance(outcome, Failed)
    found = _FAILED_THE_CHECK.search(outcome.detail) if outcome.cause is Cause.IDENTITY else None
    named = set(_named(found[1])) if found else set()
    return bool(named) and named <= {recipient.lower() for recipient in recipients} - {sender.lower()}


def is_late(since: float, now: float, schedule: Schedule, *, warned: bool) -> bool:
    """Whether the sender is to be told that the mail waits."""
    return schedule.delay_warning is not None and not warned and now - since >= schedule.delay_warning


def _named(listed: str) -> list[str]:
    """The addresses of a list of SES's, but for the last one where it may be cut."""
    names = [name.strip(" <>\"'").lower() for name in listed.split(",")]
    return names[:-1] if len(names) > 1 and names[-1].endswith("...") else names


def _later(
    history: History, outcome: Deferred | Failed, now: float, schedule: Schedule, chance: float
) -> Again | GiveUp:
    lost = history.lost + _is_lost(outcome)
    ends = history.since + schedule.lifetime
    if lost >= LOST_MOST or (now >= ends and _was_tried(outcome)):
        return GiveUp(Fate.UNCERTAIN if lost else Fate.EXPIRED)
    if not _was_tried(outcome):
        return Again(min(history.since, now), history.attempts - 1, lost)  # before all that came later
    held = refuses_identity(outcome, history.sender, history.recipients)
    due = min(now + _wait(history, outcome, schedule, chance, held=held), ends)
    counts = not held and outcome.cause not in _NOT_ITS_FAULT
    earliest = now + LOST_APART_S if _is_lost(outcome) else now
    return Again(max(due, earliest), history.attempts - (not counts), lost)


def _wait(
    history: History, outcome: Deferred | Failed, schedule: Schedule, chance: float, *, held: bool
) -> float:  # fmt: skip
    spread = 1 - SPREAD + 2 * SPREAD * chance
    if _is_lost(outcome):
        return LOST_WAITS_S[min(history.lost, len(LOST_WAITS_S) - 1)] * (1 + SPREAD * chance)
    if held:
        return PROBES.first_s * spread
    if outcome.cause in _NOT_ITS_FAULT:
        return schedule.retry[0] * spread
    wait = schedule.retry[min(history.attempts, len(schedule.retry)) - 1]
    return (min(wait, UNWELL_S) if outcome.cause in _UNWELL else wait) * spread


def _is_lost(outcome: Deferred | Failed) -> bool:
    return outcome.cause is Cause.LOST_ANSWER


def _was_tried(outcome: Deferred | Failed) -> bool:
    return isinstance(outcome, Failed) or outcome.tried
