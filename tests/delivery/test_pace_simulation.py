"""Whole couriers before a simulated SES with a true quota: what becomes of the messages, and of their clients' time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from pace_parts import DELIVERED, THROTTLED, Log, Upstream, clock, parcel, run
from ses_quota import Ses, Stormy, Tolerant

from relay.delivery.courier import Courier
from relay.delivery.gates import GateRules, Gates
from relay.model import Cause, Deferred, Delivered, Outcome, Parcel

HOLD_S = 5.0


@dataclass
class Story:
    """One message: when it came, how long its client waited, and what it heard."""

    relay: int
    came: float
    waited: float
    outcome: Outcome


@dataclass
class Town:
    """Relays of one account; `rate` is the quota that they know, if any."""

    ses: Ses
    relays: int = 1
    rate: float | None = None
    stories: list[Story] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    rejections: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log, self.upstream = Log(), Upstream(self._says, latency=0.08)
        self.couriers = [self._courier() for _ in range(self.relays)]
        self._chance = random.Random(20261120)

    def _courier(self) -> Courier:
        gates = Gates(self.log.journal, clock(), GateRules(32, self.rate))
        return Courier({"api": self.upstream}, self.log.journal, clock(), hold_s=HOLD_S, gates=gates)

    def _says(self, each: Parcel, now: float) -> Outcome:
        if not self.ses.takes(len(each.recipients), now):
            self.rejections.append(now)
            return THROTTLED
        self.taken[each.id] += 1
        return DELIVERED

    async def submit(self, relay: int, recipients: int = 1) -> None:
        """One client with one message."""
        came, each = self.upstream.now, parcel(recipients)
        outcome = await self.couriers[relay].deliver(each)
        assert self.taken[each.id] == isinstance(outcome, Delivered)
        self.stories.append(Story(relay, came, self.upstream.now - came, outcome))

    async def load(self, per_s: float, seconds: float) -> None:
        """Clients come by chance, so many a second at each relay."""
        async with asyncio.TaskGroup() as clients:
            for relay in range(self.relays):
                clients.create_task(self._stream(clients, relay, per_s, seconds))

    async def _stream(self, clients: asyncio.TaskGroup, relay: int, per_s: float, seconds: float) -> None:
        until = self.upstream.now + seconds
        while self.upstream.now < until:
            await asyncio.sleep(self._chance.expovariate(per_s))
            clients.create_task(self.submit(relay))

    @property
    def rejected(self) -> int:
        """Calls that SES rejected."""
        return len(self.rejections)

    def delivered(self, begin: float = 0, end: float = 1e9) -> list[Story]:
        """Of the messages that came in this time."""
        return [each for each in self.stories if begin <= each.came < end and isinstance(each.outcome, Delivered)]

    def deferred(self) -> list[Story]:
        """Messages whose clients were told to come again."""
        return [each for each in self.stories if not isinstance(each.outcome, Delivered)]


def test_a_burst() -> None:
    """200 clients at once, 14 a second, 5 seconds: as many as can be are delivered, the others hear it at once."""

    async def scene() -> None:
        town = Town(Tolerant(14), rate=14)
        await asyncio.gather(*(town.submit(0) for _ in range(200)))

        assert len(town.delivered()) >= 0.95 * (5 * 14 + 7)
        assert town.rejected == 0
        assert sum(each.waited > 0 for each in town.deferred()) <= 1  # whose turn would have come as its time ends
        assert max(each.waited for each in town.stories) < HOLD_S + 0.1

    run(scene())


def test_a_burst_of_large_messages() -> None:
    """50 recipients each: one after the other, at the same rate of recipients, none of them refused by SES."""

    async def scene() -> None:
        town = Town(Tolerant(14), rate=14)
        await asyncio.gather(*(town.submit(0, 50) for _ in range(5)))

        assert len(town.delivered()) == 2
        assert town.rejected == 0

    run(scene())


def test_mail_below_the_quota_is_all_delivered_without_delay() -> None:
    """11 a second by chance, 14 permitted: nobody is deferred, nobody waits for long."""

    async def scene() -> None:
        town = Town(Tolerant(14), rate=14)
        await town.load(11, 120)

        assert not town.deferred()
        assert town.rejected == 0
        assert sum(each.waited for each in town.stories) / len(town.stories) < 0.5

    run(scene())


@pytest.mark.parametrize(("rate", "share", "rejected"), [(14.0, 0.97, 0), (None, 0.9, 20), (50.0, 0.9, 100)])
def test_mail_above_the_quota_uses_it_up(rate: float | None, share: float, rejected: int) -> None:
    """30 a second for 2 minutes: the quota's worth is delivered; known, learnt, or with a ceiling far above it."""

    async def scene() -> None:
        town = Town(Tolerant(14), rate=rate)
        await town.load(30, 120)

        assert len(town.delivered(20, 120)) > share * 14 * 100
        assert town.rejected <= rejected
        assert all(each.waited < HOLD_S + 0.1 for each in town.stories)
        assert {each.outcome.cause for each in town.deferred() if isinstance(each.outcome, Deferred)} <= {
            Cause.PACE, Cause.THROTTLED,
        }  # fmt: skip

    run(scene())


def test_a_storm_costs_what_it_must() -> None:
    """SES rejects everything for 20 seconds: few calls meanwhile, and everything is delivered 30 seconds later."""

    async def scene() -> None:
        ses = Stormy(14)
        ses.storm = (40, 60)
        town = Town(ses, rate=14)
        await town.load(10, 120)

        assert len(town.delivered(5, 35)) == len([each for each in town.stories if 5 <= each.came < 35])
        assert town.rejected < 60
        assert len(town.delivered(90, 120)) == len([each for each in town.stories if 90 <= each.came < 120])
        assert town.log.names.count("slowed") <= 2

    run(scene())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("relays", [1, 2, 10, 50])
def test_many_relays_on_one_account(relays: int, known: bool) -> None:
    """Together three times the quota of 60 a second arrives: it is used up, and each relay gets a share of it."""

    async def scene() -> None:
        town = Town(Tolerant(60), relays, 60 if known else None)
        await town.load(180 / relays, 60)
        late = town.delivered(20, 60)
        shares = Counter(each.relay for each in late)

        assert len(late) > 0.9 * 60 * 40
        assert len(shares) == relays
        assert max(shares.values()) < 8 * min(shares.values())
        assert sum(when > 20 for when in town.rejections) < 0.35 * 60 * 40
        assert all(count == 1 for count in town.taken.values())

    run(scene())
