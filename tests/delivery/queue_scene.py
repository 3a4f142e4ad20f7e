"""What tests of the queue are made of: a queue in exact time, an SES that answers as told, a wall clock that jumps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import listener
from listener import HEADERS, client_rule
from memory_spool import MemorySpool
from pace_parts import DELIVERED, Log, Upstream, clock

from relay.delivery.acceptance import Queue
from relay.delivery.courier import Courier
from relay.delivery.gates import GateRules, Gates
from relay.delivery.leases import LEASE_S, Lease, Leases
from relay.delivery.queue_runner import QueueRunner
from relay.delivery.settlement import Settlement, Terms
from relay.delivery.spool_watch import SpoolWatch
from relay.model import Cause, Client, Deferred, Envelope, Failed, Identity, Outcome, Parcel, Reply
from relay.policy.admission import Admission
from relay.policy.letters import Letterhead
from relay.policy.retrying import Schedule
from relay.policy.routing import Router
from relay.policy.rulebook import RuleBook
from relay.spool.interface import Mail, Part, Posting, Query, Spooled

CLIENT = Client("s-1", "192.0.2.7", "local")
SHOP, ANN, BOB = "shop@example.com", "ann@customer.example", "bob@customer.example"
AUTHOR, POSTMASTER = "mailer-daemon@example.com", "ops@example.com"
LETTERHEAD = Letterhead(AUTHOR, POSTMASTER, "relay.test")
SCHEDULE = Schedule((60.0, 300.0, 3600.0), 432_000.0)
CONTENT = b"From: shop@example.com\r\nSubject: x\r\n\r\nhello\r\n"
START = 1_000_000_000.0  # what the wall says when a scene begins
EVERYTHING = Query(limit=1_000_000)

IDENTITY_REFUSED = Deferred(Reply(451, "4.7.1", "refused"), Cause.IDENTITY, "AccessDenied: not authorized")
BAD_CONTENT = Failed(Reply(554, "5.6.1", "Illegal filename 'x.exe'"), Cause.CONTENT, "Illegal filename 'x.exe'")
BAD_RECIPIENT = Failed(Reply(553, "5.1.3", "Missing final '@domain'"), Cause.RECIPIENT, "Missing final '@domain'")

_ids = itertools.count(1)


def identities(*names: str, **changes: Any) -> list[Identity]:
    """An identity for each domain, with rules for its addresses."""
    return [listener.identity(f"@{name}", name, **changes) for name in names]


def book(*rules: Identity, dry_run: bool = False, clients: Sequence[str] = ("local",), **client: Any) -> RuleBook:
    """The rules of one moment."""
    router = Router(rules or identities("example.com"))
    admission = Admission([client_rule(name, **client) for name in clients])
    return RuleBook(admission, router, HEADERS, 1_000_000, 1000, dry_run=dry_run)


def mail(sender: str = SHOP, *recipients: str, arrived: float = START, **changes: Any) -> Mail:
    """One mail of a client; its content has a From that fits its sender."""
    content = CONTENT.replace(SHOP.encode(), sender.encode()) if sender else CONTENT
    made = Mail(f"{next(_ids):016x}", arrived, CLIENT, Envelope(sender, recipients or (ANN,)), content)
    return replace(made, **changes)


def of(client: str, sender: str = SHOP, **changes: Any) -> Mail:
    """One mail of the client of this name."""
    return mail(sender, client=replace(CLIENT, name=client), **changes)


class Scene:
    """A queue and all around it; `says` is SES's answer to each parcel at a time."""

    def __init__(
        self,
        says: Callable[[Parcel, float], Outcome] = lambda _, __: DELIVERED,
        *rules: Identity,
        latency: float = 0.1,
        rate: float = 1000.0,
        concurrency: int = 32,
        schedule: Schedule = SCHEDULE,
        letterhead: Letterhead | None = LETTERHEAD,
        sync_s: float = 0.0,
        chance: float = 0.5,
        spool: Any = None,
        clients: Sequence[str] = ("local",),
    ) -> None:
        self.log, self.ses = Log(), Upstream(says, latency)
        self.spool: MemorySpool = spool or MemorySpool(sync_s)
        self.clock = replace(clock(), chance=lambda: chance)
        self.jumped = 0.0
        self._began = self.clock.now()
        self.gates = Gates(self.log.journal, self.clock, GateRules(concurrency, max_rate=rate))
        self.courier = self.another_courier()
        self.leases = Leases(self.spool)
        self.settlement = Settlement(
            self.spool, self.log.journal, self.clock, self.wall, lambda: f"{next(_ids):016x}",
            Terms(schedule, letterhead, lambda address: address.rpartition("@")[2]),
        )  # fmt: skip
        self.runner = QueueRunner(
            self.spool, self.leases, self.settlement, self.courier, book(*rules, clients=clients), self.log.journal,
            self.clock, self.wall,
        )  # fmt: skip
        self.watch = SpoolWatch(
            self.spool, self.leases, self.settlement, self.log.journal, self.clock, self.wall,
            self.runner.give_back_old,
        )  # fmt: skip

    def another_courier(self) -> Courier:
        """One of another configuration, to the same SES."""
        transports: Any = {"api": self.ses, "smtp": self.ses}
        return Courier(transports, self.log.journal, self.clock, hold_s=5.0, gates=self.gates)

    def wall(self) -> float:
        """Seconds since 1970; `jumped` is what the clock was set by."""
        return START + self.clock.now() - self._began + self.jumped

    def queue(self) -> Queue:
        """What acceptance needs."""
        return Queue(
            self.spool, self.leases, self.settlement, self.log.journal, self.wall, self.runner.wake, self.runner.heard
        )

    async def post(self, *mails: Mail, lane: str | None = None, **part: Any) -> list[Spooled]:
        """Put mails into the spool, due when they came, in the lane of their sender's domain."""
        stored: list[Spooled] = []
        for one in mails:
            name = one.envelope.sender.rpartition("@")[2] if lane is None else lane
            fields: dict[str, Any] = {"due": one.arrived, "lane": name} | part
            made = Part(one.envelope.recipients, **fields)
            stored += await self.spool.put(Posting(one, (made,)))
        return stored

    async def leased(self, one: Mail | None = None, **part: Any) -> Lease:
        """A parcel in hand, as after its first attempt has begun."""
        until = self.wall() + LEASE_S
        [parcel] = await self.post(one or mail(arrived=self.wall()), **part)
        [parcel] = await self.spool.claim(parcel.part.lane, self.wall(), until, 1)
        lease = self.leases.take(parcel, until)
        assert lease is not None
        return lease

    async def parcels(self, **query: Any) -> Sequence[Spooled]:
        """What is in the spool."""
        return await self.spool.inspect(replace(EVERYTHING, **query))

    @asynccontextmanager
    async def running(self, *, watched: bool = False) -> AsyncIterator[None]:
        """The queue delivers; `watched`: and is looked after."""
        tasks = [asyncio.create_task(self.runner.run())]
        tasks += [asyncio.create_task(self.watch.run())] if watched else []
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.runner.stop(0)

    async def passes(self, seconds: float) -> None:
        """Let time go by."""
        await asyncio.sleep(seconds)

    def sent(self) -> list[str]:
        """Parcels in the order in which they came to SES."""
        return self.ses.names

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the log says of one kind."""
        return [event for event in self.log.events if event["event"] == name]


async def gone(scene: Scene, within_s: float = 600.0) -> None:
    """Wait until nothing is queued any more."""
    async with asyncio.timeout(within_s):
        while await scene.spool.agenda():
            await scene.passes(0.5)


def no_leaks(scene: Scene) -> None:
    """Whatever happened, nothing is counted that is not there."""
    runner = scene.runner
    assert (len(scene.leases), runner._tasks, runner._in_air, len(runner._lines)) == (0, set(), {}, 0)
    assert not len(runner._claims)
    assert not runner._lines._at_gate.total()
    assert runner._room._taken == 0
