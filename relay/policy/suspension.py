"""When a way to SES is left alone because nothing gets through: a pause, then one probe at a time.

Owns the count of troubles in a row and the length of the pauses. Guarantees that one message's trouble suspends
nothing, that while suspended nothing is tried but one probe after each pause, and that only a probe's answer ends
it. Says which sender's probe failed last, so that others may ask before it does again. What counts as trouble and
who waits is decided elsewhere.

Pure: time in seconds and chance, uniform in 0 to 1, are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from relay.model import Deferred, Parcel

SPREAD: Final = 0.2  # of a pause, so that relays that lost SES at one moment do not all come back at one


@dataclass(frozen=True, slots=True)
class Pauses:
    """How many different messages in a row must meet trouble, and the pauses that follow, each twice the last."""

    after: int
    first_s: float
    longest_s: float


OUTAGE: Final = Pauses(after=3, first_s=1, longest_s=60)
# The quota counts the last 24 hours (SES developer guide, "Managing your Amazon SES sending limits"), so that
# some of it comes back all the time
DAILY_QUOTA: Final = Pauses(after=1, first_s=300, longest_s=300)


class Suspension:
    """The state of one way to SES; `reason` is what a parcel meets that cannot wait, None when all is well."""

    __slots__ = ("_asked_last", "_pause_s", "_pauses", "_probe", "_troubled", "_until", "reason")

    def __init__(self, pauses: Pauses) -> None:
        self.reason: Deferred | None = None
        self._pauses = pauses
        self._troubled: set[str] = set()
        self._pause_s = 0.0
        self._until = -inf
        self._probe: Parcel | None = None
        self._asked_last: str | None = None

    @property
    def opens_at(self) -> float:
        """When the next parcel may go; infinite while a probe is under way."""
        return inf if self._probe is not None else self._until

    @property
    def probing(self) -> bool:
        """Whether a probe is under way, whose end nobody knows."""
        return self._probe is not None

    def is_probe(self, parcel: Parcel) -> bool:
        """Whether it is the one that is to find out."""
        return parcel is self._probe

    def asked_last(self, parcel: Parcel) -> bool:
        """Whether its sender's message was the last to meet the trouble: it may be that message's, not the way's."""
        return self.reason is not None and parcel.sender == self._asked_last

    def hasten(self, now: float) -> None:
        """The next probe need not wait any longer; one that is under way is waited for."""
        self._until = min(self._until, now)

    def begin(self, parcel: Parcel) -> None:
        """A parcel goes, since `opens_at` has come."""
        if self.reason is not None:
            self._probe = parcel

    def trouble(self, parcel: Parcel, reason: Deferred, now: float, chance: float, what: str | None = None) -> bool:
        """An attempt met `reason`; whether that has suspended the way, or suspended it for longer.

        Different messages count, or else whatever `what` tells apart.
        """
        if self.reason is None:
            self._troubled.add(what or parcel.id)
            if len(self._troubled) < self._pauses.after:
                return False
        elif parcel is not self._probe:
            return False  # had gone before the pause began
        self._pause_s = min(2 * self._pause_s or self._pauses.first_s, self._pauses.longest_s)
        self._until = now + self._pause_s * (1 - SPREAD + 2 * SPREAD * chance)
        self.reason, self._probe, self._asked_last = reason, None, parcel.sender
        return True

    def answered(self, parcel: Parcel) -> bool:
        """An attempt got through; whether that has ended a suspension."""
        if self.reason is None:
            self._troubled.clear()
            return False
        if parcel is not self._probe:
            return False
        self.__init__(self._pauses)  # type: ignore[misc]  # as new
        return True

    def unknown(self, parcel: Parcel) -> None:
        """An attempt ended and says nothing about the way: another parcel may be the probe."""
        if parcel is self._probe:
            self._probe = None
