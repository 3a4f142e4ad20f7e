"""Whatever happens to a queue, by SES's record: nothing is lost, and nothing is sent again that SES has said yes to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from pace_parts import DELIVERED, LOST, QUOTA, THROTTLED, UNAVAILABLE, UNREACHABLE, run
from queue_scene import BAD_CONTENT, BAD_RECIPIENT, CLIENT, IDENTITY_REFUSED, SCHEDULE, Scene, book, identities, mail

from relay.delivery.acceptance import DirectFirst
from relay.model import Outcome, Parcel
from relay.spool.interface import Action, Query, State
from relay.spool.trouble import Kind

DAY = 86_400.0
NAMES = ("a.example", "b.example", "c.example")
CLIENTS = ("shop", "news")
SENDERS = [f"{local}@{name}" for name in NAMES for local in "xyz"]
ANSWERS: dict[Outcome | None, int] = {
    DELIVERED: 50, THROTTLED: 10, UNREACHABLE: 10, UNAVAILABLE: 10, LOST: 10, BAD_CONTENT: 2, BAD_RECIPIENT: 10,
    IDENTITY_REFUSED: 3, QUOTA: 2, None: 3,
}  # fmt: skip


class Record:
    """What SES has said to whom; None: it broke off, in words that nobody has heard before."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.well = False
        self.refused: set[str] = set()  # senders, by the policy of the moment
        self.yes: Counter[str] = Counter()
        self.perhaps: Counter[str] = Counter()
        self.never: set[str] = set()

    def says(self, parcel: Parcel, _: float) -> Outcome:
        """One answer."""
        [outcome] = [DELIVERED] if self.well else self._chance.choices(list(ANSWERS), list(ANSWERS.values()))
        if parcel.sender in self.refused and not self.well:
            return IDENTITY_REFUSED
        if outcome is None:
            raise RuntimeError("never seen before")
        to = set(parcel.recipients)
        if outcome == DELIVERED:
            self.yes.update(to)
        elif outcome == LOST:
            self.perhaps.update(to)
        elif outcome == BAD_CONTENT or (outcome == BAD_RECIPIENT and len(to) == 1):
            self.never |= to
        return outcome


class Life:
    """Hours of a queue, in which everything goes wrong that can."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.record = Record(self.chance)
        schedule = replace(SCHEDULE, lifetime=1000 * DAY)
        self.scene = Scene(
            self.record.says, *identities(*NAMES), rate=20.0, latency=3.0, schedule=schedule, letterhead=None,
            sync_s=0.02, clients=CLIENTS,
        )  # fmt: skip
        self.direct = DirectFirst(self.scene.queue())
        self.refused: set[str] = set()  # of whom a client has heard that they are its own affair
        self.dropped: set[str] = set()
        self.clients: list[asyncio.Task[None]] = []
        self.handed_on: list[asyncio.Future[None]] = []
        self._numbers = iter(range(1_000_000))

    def recipients(self) -> list[str]:
        return [f"r{next(self._numbers)}@customer.example" for _ in range(self.chance.choice([1, 1, 2, 3]))]

    async def bring(self) -> None:
        """A client brings a message, and waits for its answer."""
        sender, scene = self.chance.choice(SENDERS), self.scene
        client = replace(CLIENT, name=self.chance.choice(CLIENTS))
        one = mail(sender, *self.recipients(), arrived=scene.wall(), client=client)
        [identity] = [rule for rule in identities(*NAMES) if sender.endswith(f"@{rule.name}")]

        def hand_on(work: Awaitable[None]) -> None:
            self.handed_on.append(asyncio.ensure_future(work))

        taken = await self.direct.take(one, identity, (one.content,), scene.courier, hand_on)
        if not taken.reply.positive:
            self.refused.update(one.envelope.recipients)

    async def client(self) -> None:
        self.clients += [asyncio.ensure_future(self.bring()) for _ in range(self.chance.randrange(20))]

    async def jump(self) -> None:
        self.scene.jumped += self.chance.choice([-DAY, -3600.0, 3600.0, DAY, 1000.0])

    async def refuse(self) -> None:
        self.record.refused = set(self.chance.sample(SENDERS, self.chance.randrange(len(SENDERS))))

    async def ill(self) -> None:
        self.scene.spool.ill = self.chance.choice([Kind.FULL, Kind.FAILING, None, None])

    async def blind(self) -> None:
        self.scene.spool.blind = self.chance.choice([Kind.FAILING, None, None])

    async def reload(self) -> None:
        rules = identities(*self.chance.choice([NAMES, NAMES[:2], NAMES[1:]]), configuration_set=None)
        self.scene.runner.change(book(*rules, clients=CLIENTS), self.scene.another_courier())

    async def hold(self) -> None:
        for action in (Action.HOLD, Action.RELEASE):
            sender = f"@{self.chance.choice(NAMES)}"
            await self.try_to(action, Query(state=None, sender=sender, limit=10))

    async def retry(self) -> None:
        await self.try_to(Action.RETRY, Query(state=State.QUEUED, limit=5))

    async def try_to(self, action: Action, query: Query) -> None:
        if self.scene.spool.ill is None:
            await self.scene.spool.alter(query, action, self.scene.wall())

    async def live(self, hours: float) -> None:
        """Everything goes wrong, and then nothing does any more."""
        deeds: list[Callable[[], Awaitable[None]]] = [
            self.client, self.client, self.client, self.jump, self.refuse, self.ill, self.blind, self.reload,
            self.hold, self.retry,
        ]  # fmt: skip
        ends = self.scene.clock.now() + hours * 3600
        while self.scene.clock.now() < ends:
            await self.chance.choice(deeds)()
            await self.scene.passes(self.chance.expovariate(1 / 40))
        self.record.well, self.scene.spool.ill, self.scene.spool.blind = True, None, None
        self.scene.runner.change(book(*identities(*NAMES), clients=CLIENTS), self.scene.courier)
        await self.try_to(Action.RELEASE, Query(state=State.HELD))
        await asyncio.gather(*self.clients)
        for _ in range(200):
            if not await self.scene.spool.agenda():
                return
            await self.scene.passes(200)
        raise AssertionError(f"never empty: {await self.scene.parcels(state=State.QUEUED)}")


@pytest.mark.parametrize("seed", range(8))
def test_everybody_is_delivered_or_dead_or_was_refused_and_nobody_twice(seed: int) -> None:
    """Repeats come from lost answers alone, at most two each; what SES refuses for good is dead, and known as such."""

    async def story() -> None:
        life = Life(seed)
        async with life.scene.running(watched=True):
            await life.live(hours=1.5)
            await asyncio.gather(*life.handed_on)
        record, scene = life.record, life.scene
        dead = {to for one in await scene.parcels(state=State.DEAD) for to in one.part.recipients}
        everybody = {f"r{number}@customer.example" for number in range(next(life._numbers))}

        assert len(everybody) > 100
        assert scene.events("held")
        assert not [to for to in everybody if not record.yes[to] and to not in dead | life.refused]
        assert not [to for to in everybody - life.refused if record.yes[to] > 1]
        assert not [to for to in everybody - life.refused if record.perhaps[to] > 3]
        assert not [to for to in dead if record.yes[to]]
        assert not [to for to in dead if to not in record.never and record.perhaps[to] < 3]
        assert (len(scene.leases), len(scene.runner._claims), scene.runner._lines._at_gate.total()) == (0, 0, 0)
        assert {one.state for one in await scene.parcels()} <= {State.DEAD}

    run(story())
