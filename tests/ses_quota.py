"""A simulated SES with a true quota, and relays whose buckets do not know it: events in order of time, no clock.

Nobody outside knows how SES counts. `Tolerant` is what its documentation tells: a rate in recipients, short bursts
above it, and nothing is charged for what it rejects. `Strict` counts each second by itself.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.policy.pacing import Bucket


class Ses(Protocol):
    """Takes a parcel of so many recipients at this time, or not."""

    def takes(self, recipients: int, now: float) -> bool: ...


@dataclass
class Tolerant:
    """As many recipients as the last `burst_s` seconds have earned; a parcel goes if there is room for a part of it."""

    quota: float
    burst_s: float = 1.0
    _room: float = field(init=False)
    _when: float = 0.0

    def __post_init__(self) -> None:
        self._room = self.quota * self.burst_s

    def takes(self, recipients: int, now: float) -> bool:
        self._room = min(self._room + (now - self._when) * self.quota, self.quota * self.burst_s)
        self._when = now
        if self._room < min(recipients, 1) - 1e-9:
            return False
        self._room -= recipients
        return True


@dataclass
class Strict:
    """No more than the quota in any second of the clock, which no burst outlives."""

    quota: float
    _seconds: Counter[int] = field(default_factory=Counter)

    def takes(self, recipients: int, now: float) -> bool:
        if self._seconds[int(now)] + recipients > self.quota:
            return False
        self._seconds[int(now)] += recipients
        return True


class Stormy(Tolerant):
    """Rejects everything in a span of time."""

    storm = (0.0, 0.0)

    def takes(self, recipients: int, now: float) -> bool:
        return not self.storm[0] <= now < self.storm[1] and super().takes(recipients, now)


@dataclass
class Record:
    """What SES took and rejected: (time, relay, recipients) each."""

    taken: list[tuple[float, int, int]] = field(default_factory=list)
    rejected: list[tuple[float, int, int]] = field(default_factory=list)

    def rate(self, begin: float, end: float) -> float:
        """Recipients taken per second."""
        return sum(n for when, _, n in self.taken if begin <= when < end) / (end - begin)

    def rejections(self, begin: float, end: float) -> int:
        """Calls rejected."""
        return sum(begin <= when < end for when, _, _ in self.rejected)

    def shares(self, begin: float, end: float) -> list[int]:
        """Recipients taken from each relay that had any, the smallest first."""
        shares: Counter[int] = Counter()
        for when, relay, n in self.taken:
            if begin <= when < end:
                shares[relay] += n
        return sorted(shares.values())


class Play:
    """Relays that have more to send than they may, one account, one SES.

    `latency` seconds pass to SES and back, each way up to twice as long by chance.
    """

    def __init__(self, ses: Ses, buckets: Sequence[Bucket], *, recipients: int = 1, latency: float = 0.05) -> None:
        self._ses, self._buckets = ses, buckets
        self._recipients, self._latency = recipients, latency
        self._chance = random.Random(20261120)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._now = 0.0
        self.record = Record()
        for relay in range(len(buckets)):
            self._at(self._chance.random(), self._turn, relay)

    def until(self, end: float) -> Record:
        """Play on to this time."""
        while self._events and self._events[0][0] < end:
            self._now, _, act, about = heapq.heappop(self._events)
            act(*about)
        return self.record

    def _at(self, when: float, act: Callable[..., None], *about: Any) -> None:
        self._serial += 1
        heapq.heappush(self._events, (when, self._serial, act, about))

    def _trip(self) -> float:
        return self._now + self._latency * (1 + self._chance.random())

    def _turn(self, relay: int) -> None:
        bucket = self._buckets[relay]
        wait_s = bucket.wait_s(self._recipients, self._now)
        if not wait_s:
            bucket.take(self._recipients, self._now)
            self._at(self._trip(), self._arrive, relay)
        self._at(self._now + wait_s, self._turn, relay)

    def _arrive(self, relay: int) -> None:
        taken = self._ses.takes(self._recipients, self._now)
        (self.record.taken if taken else self.record.rejected).append((self._now, relay, self._recipients))
        self._at(self._trip(), self._learn, relay, taken)

    def _learn(self, relay: int, taken: bool) -> None:
        if taken:
            self._buckets[relay].delivered(self._recipients, self._now)
        else:
            self._buckets[relay].throttled(self._now)
