"""Whose mail is held because SES refuses it: identities, and single senders of single clients within them.

Guarantees that one message holds nothing: three of one client and sender do, and an identity as a whole is held when
three different ones are refused in a row; whoever was refused before others of the identity got through is refused
for itself, and counts no more. While held one message asks again at a time, and the first that SES takes ends it.
Remembers a bounded number; whoever was refused the longest ago is forgotten first.

Pure: seconds of a steady clock and chance, uniform in 0 to 1, are handed in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Final

from relay.model import Deferred, Parcel
from relay.policy.lanes import identity_of, is_below, words_of
from relay.policy.retrying import PROBES
from relay.policy.suspension import Suspension

MOST: Final = 10_000  # that are remembered


@dataclass(slots=True)
class _Hold:
    """`taken`: how many messages of the identity SES had taken when it first refused this; `refused_at`: at last."""

    taken: int
    refused_at: float = -inf
    suspension: Suspension = field(default_factory=lambda: Suspension(PROBES))

    @property
    def is_held(self) -> bool:
        return self.suspension.reason is not None


class Holds:
    """By the words of lanes: an identity's, and that of a client and sender below it."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}  # whose last refusal is the longest ago first
        self._taken: Counter[str] = Counter()  # by identity

    def begin(self, lane: str, parcel: Parcel) -> None:
        """A parcel of this lane goes to its gate."""
        for hold in self._of(lane):
            hold.suspension.begin(parcel)

    def is_off(self, lane: str, parcel: Parcel) -> bool:
        """Whether it has come to be held meanwhile, and the parcel is not the one that asks."""
        return any(hold.is_held and not hold.suspension.is_probe(parcel) for hold in self._of(lane))

    def refused(self, lane: str, parcel: Parcel, reason: Deferred, now: float, chance: float) -> list[str]:
        """SES refuses a parcel's identity or sender; the words that are held from now on."""
        self._remember(lane, now)
        held = []
        for word in words_of(lane):
            hold = self._holds[word]
            before = hold.is_held
            if word != lane and not before and self._is_refused_for_itself(lane):
                continue
            what = _mail_of(parcel) if word == lane else lane
            if hold.suspension.trouble(parcel, reason, now, chance, what) and not before:
                held.append(word)
        return held

    def _remember(self, lane: str, now: float) -> None:
        identity = identity_of(lane)
        for word in words_of(lane):
            hold = self._holds.pop(word) if word in self._holds else _Hold(self._taken[identity])
            self._holds[word], hold.refused_at = hold, now
        while len(self._holds) > MOST:
            del self._holds[next(iter(self._holds))]

    def _is_refused_for_itself(self, lane: str) -> bool:
        """Whether SES has taken other mail of the identity since it first refused this."""
        return self._holds[lane].taken < self._taken[identity_of(lane)]

    def taken(self, lane: str) -> list[str]:
        """SES has taken a message; the words that are held no longer."""
        released = [word for word in words_of(lane) if self.is_held_itself(word)]
        for word in words_of(lane):
            self._holds.pop(word, None)
        self._taken[identity_of(lane)] += 1
        return released

    def hasten(self, lane: str, now: float) -> None:
        """Somebody thinks that SES takes mail of this lane again: a message of it, and of each below, may ask at once.

        Of those below since what was refused before its sender was held may still stand in the lane of its identity.
        """
        for word, hold in self._holds.items():
            if is_below(word, lane) or word in words_of(lane):
                hold.suspension.hasten(now)

    def unknown(self, lane: str, parcel: Parcel) -> None:
        """An attempt says nothing about it: another parcel may ask."""
        for hold in self._of(lane):
            hold.suspension.unknown(parcel)

    def clear(self) -> list[str]:
        """Hold nothing any more; the words that were held."""
        held = [word for word, hold in self._holds.items() if hold.is_held]
        self._holds.clear()
        return held

    def is_held(self, lane: str) -> bool:
        """Whether mail of this lane waits for one parcel to get through."""
        return any(hold.is_held for hold in self._of(lane))

    def is_held_itself(self, lane: str) -> bool:
        """Whether this very lane is held, whatever is with the one above."""
        return lane in self._holds and self._holds[lane].is_held

    def waits_apart(self, lane: str) -> bool:
        """Whether mail of a client and sender is to keep out of the way of others of the identity.

        While the identity is held that begins with the first refusal: who was not refused yet is to ask.
        """
        return self.is_held_itself(lane) or (lane in self._holds and self.is_held(lane))

    def refused_at(self, lane: str) -> float:
        """When SES refused mail of this lane the last time; who was refused the longest ago, or never, is to ask."""
        return self._holds[lane].refused_at if lane in self._holds else -inf

    def opens_at(self, lane: str) -> float:
        """When the next parcel of this lane may go; infinite while one asks."""
        return max((hold.suspension.opens_at for hold in self._of(lane) if hold.is_held), default=-inf)

    def next_opening(self, now: float) -> float:
        """When the next of those that are held may ask again, of those that may not yet."""
        opening = (hold.suspension.opens_at for hold in self._holds.values() if hold.is_held)
        return min((opens_at for opens_at in opening if opens_at > now), default=inf)

    def _of(self, lane: str) -> list[_Hold]:
        return [self._holds[word] for word in words_of(lane) if word in self._holds]


def _mail_of(parcel: Parcel) -> str:
    """The message that it is a part of: several parcels of one are one."""
    return parcel.id.partition(".")[0]
