"""What a client hears: 250 only for what is with SES or on disk, 5yz only when SES refuses all of it, and in time."""

from __future__ import annotations

import asyncio
import itertools
import smtplib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import listener
import pytest
from pace_parts import DELIVERED, THROTTLED, UNREACHABLE, run
from queue_scene import (
    ANN,
    BAD_CONTENT,
    BAD_RECIPIENT,
    CLIENT,
    CONTENT,
    IDENTITY_REFUSED,
    SHOP,
    Scene,
    identities,
    mail,
)

from relay import replies
from relay.delivery.acceptance import STUCK_S, Acceptance, DirectFirst, SpoolFirst, Taken, WithoutSpool
from relay.delivery.leases import LEASE_S
from relay.model import Delivered, Outcome, Parcel, Reply
from relay.spool.interface import Mail, Posting, Spooled, Standing, State
from relay.spool.trouble import Kind

[IDENTITY] = identities("example.com")
HOLD_S = 5.0
KINDS = ("delivered", "failed", "bad recipient", "deferred", "running")
TROUBLES = {Kind.FULL: replies.SPOOL_FULL, Kind.FAILING: replies.SPOOL_FAILING, Kind.UNTRUSTED: replies.SPOOL_FAILING}


class Ses:
    """Its answer depends on the domain of the first recipient, and it forgets nothing that it took."""

    def __init__(self, slow_s: float) -> None:
        self.slow_s = slow_s
        self.got: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def send(self, parcel: Parcel) -> Outcome:
        """One attempt."""
        kind = parcel.recipients[0].rpartition("@")[2].partition(".")[0].replace("-", " ")
        await asyncio.sleep(self.slow_s if kind == "running" else 0.1)
        outcome = self._answer(kind, parcel)
        if isinstance(outcome, Delivered):
            self.got += parcel.recipients
        return outcome

    def _answer(self, kind: str, parcel: Parcel) -> Outcome:
        if kind == "failed":
            return BAD_CONTENT
        if kind == "bad recipient":
            return BAD_RECIPIENT if len(parcel.recipients) > 1 else DELIVERED
        if kind == "broken":
            raise RuntimeError("never seen before")
        if kind == "deferred" and self._loop.time() - self._began < 2 * HOLD_S:
            return UNREACHABLE
        return Delivered(f"ses-{parcel.id}")

    async def close(self) -> None:
        """Nothing to let go of."""


def people(*kinds: str) -> list[str]:
    """So many recipients that each kind has a parcel of its own."""
    return [
        f"r{place}-{number}@{kind.replace(' ', '-')}.example"
        for place, kind in enumerate(kinds)
        for number in range(50)
    ]  # fmt: skip


class Desk:
    """A scene with a way of acceptance; what is handed on is waited for at the end."""

    def __init__(self, way: type[DirectFirst | SpoolFirst] = DirectFirst, slow_s: float = 20.0) -> None:
        self.scene = Scene(letterhead=None)
        self.queue = self.scene.queue()
        self.way = way(self.queue)
        self.ses = Ses(slow_s)
        self.scene.ses = self.ses  # type: ignore[assignment]  # another one
        self.courier = self.scene.courier = self.scene.another_courier()
        self.scene.runner._courier = self.courier
        self.handed_on: list[asyncio.Task[Any]] = []

    def hand_on(self, work: Coroutine[None, None, Any]) -> asyncio.Task[Any]:
        """As the server does."""
        self.handed_on.append(asyncio.ensure_future(work))
        return self.handed_on[-1]

    async def take(self, one: Mail) -> Taken:
        """What the client hears."""
        return await self.way.take(one, IDENTITY, (one.content,), self.courier, self.hand_on)

    def start(self, *kinds: str) -> tuple[Mail, asyncio.Task[Taken]]:
        """A client that waits."""
        one = mail(SHOP, *people(*kinds), arrived=self.scene.wall())
        return one, asyncio.ensure_future(self.take(one))


# Direct first


def answer(kinds: tuple[str, ...], one: Mail) -> Reply:
    """What the contract says."""
    if set(kinds) == {"delivered"}:
        return replies.accepted(f"ses-{one.id}" + (".1" if len(kinds) > 1 else ""))
    return BAD_CONTENT.reply if set(kinds) == {"failed"} else replies.queued(one.id)


@pytest.mark.parametrize(
    "kinds", [*itertools.product(KINDS), *itertools.product(KINDS, repeat=2), KINDS, KINDS[::-1]], ids=" + ".join
)
def test_whatever_comes_of_its_parcels(kinds: tuple[str, ...]) -> None:
    """The reply is the contract's, it comes within the hold, and nobody's mail is lost or sent twice."""

    async def story() -> None:
        desk = Desk()
        scene = desk.scene
        one, client = desk.start(*kinds)
        taken = await client
        assert scene.clock.now() - scene._began <= HOLD_S + 0.01
        assert taken.reply == answer(kinds, one)
        assert taken.queued is taken.reply.text.startswith("Ok queued")

        async with scene.running(watched=True):
            await scene.passes(300)
        dead = {to for parcel in await scene.parcels() for to in parcel.part.recipients}
        failed = {to for to in people(*kinds) if to.endswith("@failed.example")}
        assert Counter(desk.ses.got) == Counter(to for to in people(*kinds) if to not in failed)
        assert dead == (failed if taken.queued else set())
        assert {parcel.state for parcel in await scene.parcels()} <= {State.DEAD}
        assert len(scene.leases) == 0
        assert all(task.done() for task in desk.handed_on)

    run(story())


def test_an_attempt_of_hours_is_not_made_twice() -> None:
    """Its lease is renewed for as long as it takes."""

    async def story() -> None:
        desk = Desk(slow_s=5 * LEASE_S)
        _, client = desk.start("running")
        async with desk.scene.running(watched=True):
            await client
            await desk.scene.passes(6 * LEASE_S)

        assert Counter(desk.ses.got) == Counter(people("running"))
        assert await desk.scene.parcels() == ()

    run(story())


@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.parametrize("kinds", [("deferred",), ("running",), ("delivered", "deferred"), ("bad recipient",)])
def test_what_neither_ses_nor_the_disk_takes_stays_with_the_client(kinds: tuple[str, ...], kind: Kind) -> None:
    """Never 250, never 5yz; but whoever waited until SES had it after all hears that."""

    async def story() -> None:
        desk = Desk(slow_s=30.0)
        desk.scene.spool.ill = kind
        one, client = desk.start(*kinds)
        taken = await client

        assert taken.reply == (replies.accepted(f"ses-{one.id}") if kinds == ("running",) else TROUBLES[kind])
        assert not taken.queued
        assert desk.scene.events("spool_trouble") or taken.reply.positive
        assert await desk.scene.parcels() == ()
        assert (desk.handed_on, len(desk.scene.leases)) == ([], 0)

    run(story())


@pytest.mark.parametrize(("kinds", "code"), [(("delivered", "delivered"), 250), (("failed",), 554)])
def test_what_needs_no_disk_does_not_ask_for_it(kinds: tuple[str, ...], code: int) -> None:
    async def story() -> None:
        desk = Desk()
        desk.scene.spool.ill = Kind.FAILING
        _, client = desk.start(*kinds)

        assert (await client).reply.code == code
        assert desk.scene.spool.writes == []

    run(story())


def test_with_no_hold_one_attempt_begins_and_the_client_waits_for_the_disk_only() -> None:
    async def story() -> None:
        desk = Desk()
        desk.courier._hold_s = 0.0
        one, client = desk.start("delivered")
        assert (await client).reply == replies.queued(one.id)
        assert desk.scene.clock.now() == desk.scene._began
        await asyncio.gather(*desk.handed_on)

        assert len(desk.ses.got) == 50
        assert await desk.scene.parcels() == ()

    run(story())


def test_a_fault_of_ours_costs_no_mail() -> None:
    """A transport that breaks its word: the mail is kept, and the others of its parcels go on."""

    async def story() -> None:
        desk = Desk()
        one, client = desk.start("broken", "delivered")

        assert (await client).reply == replies.queued(one.id)
        await asyncio.gather(*desk.handed_on)
        [parcel] = await desk.scene.parcels(state=State.QUEUED)
        assert parcel.part.recipients == tuple(people("broken", "delivered")[:50])
        assert not parcel.leased
        assert len(desk.scene.events("internal_error")) == 1
        assert Counter(desk.ses.got) == Counter(people("broken", "delivered")[50:])

    run(story())


def test_an_end_that_cannot_be_written_down_is_told_and_keeps_no_lease() -> None:
    async def story() -> None:
        desk = Desk()
        desk.scene.settlement.conclude = None  # type: ignore[method-assign, assignment]  # a fault of ours
        _, client = desk.start("deferred")
        await client
        await asyncio.gather(*desk.handed_on)

        assert len(desk.scene.events("internal_error")) == 1
        assert len(desk.scene.leases) == 0

    run(story())


def test_the_queue_hears_whose_mail_ses_takes_and_whose_it_refuses() -> None:
    """So that what clients bring holds and releases as the queue's own mail does."""

    async def story() -> None:
        desk = Desk()
        heard: list[tuple[str, Outcome, str, str]] = []

        def hears(parcel: Parcel, outcome: Outcome, client: str, sender: str) -> None:
            heard.append((parcel.identity, outcome, client, sender))

        object.__setattr__(desk.queue, "heard", hears)
        await desk.start("delivered")[1]
        [(identity, outcome, *who)] = heard
        assert (identity, isinstance(outcome, Delivered), who) == ("example.com", True, [CLIENT.name, SHOP])

        desk.ses._answer = lambda _kind, _parcel: IDENTITY_REFUSED  # type: ignore[method-assign, assignment]  # from now on
        await desk.start("deferred")[1]
        await asyncio.gather(*desk.handed_on)
        assert heard[1:] == [("example.com", IDENTITY_REFUSED, CLIENT.name, SHOP)]

    run(story())


# The end


@pytest.mark.parametrize("in_force", [DirectFirst, SpoolFirst])
def test_who_waits_when_the_relay_ends_hears_queued_at_once(in_force: type[DirectFirst | SpoolFirst]) -> None:
    """Also who came before a reload that changed the way."""

    async def story() -> None:
        desk = Desk(slow_s=3600.0)
        desk.courier._hold_s = 600.0
        one, client = desk.start("running")
        await desk.scene.passes(1)
        assert not client.done()
        in_force(desk.queue).hurry()
        await desk.scene.passes(0.01)
        assert client.done()
        assert (await client).reply == replies.queued(one.id)
        late, last = desk.start("running")
        await desk.scene.passes(0.01)
        assert (await last).reply == replies.queued(late.id)
        for task in desk.handed_on:
            task.cancel()
        await asyncio.gather(*desk.handed_on)

        left = await desk.scene.parcels()
        assert [(parcel.mail, parcel.part.lost, parcel.leased) for parcel in left] == [
            (one.id, 1, False), (late.id, 1, False),
        ]  # fmt: skip
        assert len(desk.scene.leases) == 0

    run(story())


def test_the_end_does_not_wait_for_a_disk_that_fails() -> None:
    """What is cut short is written down if it can be, once."""

    async def story() -> None:
        desk = Desk(slow_s=3600.0)
        _, client = desk.start("running")
        await client
        desk.scene.spool.ill = Kind.FAILING
        for task in desk.handed_on:
            task.cancel()
        async with asyncio.timeout(1):
            await asyncio.gather(*desk.handed_on, return_exceptions=True)

        [parcel] = await desk.scene.parcels()
        assert parcel.leased

    run(story())


def test_who_is_cut_short_takes_its_attempts_along() -> None:
    """The drain is over, the client has heard nothing: nothing goes on behind its back."""

    async def story() -> None:
        desk = Desk()
        _, client = desk.start("running", "running")
        await desk.scene.passes(1)
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        await desk.scene.passes(60)

        assert client.cancelled()
        assert desk.ses.got == []
        assert await desk.scene.parcels() == ()
        assert desk.courier._under_way == 0

    run(story())


# The spool first, and none


def test_on_spool_nobody_waits_for_ses() -> None:
    async def story() -> None:
        desk = Desk(SpoolFirst)
        desk.queue.wake()
        one, client = desk.start("delivered", "failed", "running")
        assert await client == Taken(replies.queued(one.id), queued=True)
        assert desk.ses.got == []

        parcels = await desk.scene.parcels()
        everybody = people("delivered", "failed", "running")
        assert [parcel.part.recipients for parcel in parcels] == [
            tuple(everybody[start : start + 50]) for start in (0, 50, 100)
        ]
        assert {(parcel.part.attempts, parcel.leased, parcel.part.lane) for parcel in parcels} == {
            (0, False, "example.com")
        }
        async with desk.scene.running():
            await desk.scene.passes(60)
        assert Counter(desk.ses.got) == Counter(everybody[:50] + everybody[100:])

    run(story())


def test_without_a_spool_the_answer_is_that_of_ses() -> None:
    async def story() -> None:
        way, scene = WithoutSpool(), Scene(lambda _, __: THROTTLED)
        one = mail()
        taken = await way.take(one, IDENTITY, (CONTENT,), scene.courier, asyncio.ensure_future)
        way.hurry()

        assert (taken.reply, taken.outcome, taken.queued) == (THROTTLED.reply, THROTTLED, False)
        assert way.refusal() is None

    run(story())


# A real listener


def say(port: int, *commands: str, content: bytes | None = None) -> list[str]:
    """What a client hears to its commands, and to its content if there is any."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo("client.example")
        heard = [client.docmd(command) for command in commands]
        heard += [client.data(content)] if content is not None else []
    return [f"{code} {text.decode()}" for code, text in heard]


class RealDesk:
    """A listener on loopback, and the parts behind it that a test may break."""

    def __init__(self, way: type[DirectFirst | SpoolFirst]) -> None:
        self.scene = Scene(letterhead=None)
        self.acceptance: Acceptance = way(self.scene.queue())
        self.ses = listener.ScriptedSes()

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[listener.Listener]:
        """Until the block ends."""
        async with listener.running(self.ses, acceptance=self.acceptance, **options) as relay:
            yield relay

    async def submit(self, relay: listener.Listener) -> str:
        """The answer to a whole message."""
        commands = f"MAIL FROM:<{SHOP}>", f"RCPT TO:<{ANN}>"
        return (await asyncio.to_thread(say, relay.port, *commands, content=CONTENT))[-1]


WAYS = pytest.mark.parametrize("way", [DirectFirst, SpoolFirst])


@WAYS
@pytest.mark.parametrize(
    ("standing", "reply"),
    [
        (Standing(trusted=True, trouble="1 MB is free", waiting_s=0.0, full=True), "452 4.3.1"),
        (Standing(trusted=True, trouble="EIO", waiting_s=0.0), "451 4.3.0"),
        (Standing(trusted=False, trouble="a sync failed", waiting_s=0.0), "451 4.3.0"),
        (Standing(trusted=False, trouble="a sync failed", waiting_s=0.0, full=True), "451 4.3.0"),
        (Standing(trusted=True, trouble=None, waiting_s=STUCK_S + 1), "451 4.3.0"),
        (Standing(trusted=True, trouble=None, waiting_s=STUCK_S - 1), "250 2.1.0"),
    ],
)
async def test_a_spool_that_is_not_well_is_told_at_mail(
    way: type[DirectFirst | SpoolFirst], standing: Standing, reply: str
) -> None:
    """Before the message has been sent for nothing; and when it is well again, no restart is needed."""
    desk = RealDesk(way)
    desk.scene.spool.standing = standing
    async with desk.open() as relay:
        [heard] = await asyncio.to_thread(say, relay.port, f"MAIL FROM:<{SHOP}>")
        assert heard.startswith(reply)
        desk.scene.spool.standing = Standing(trusted=True, trouble=None, waiting_s=0.0)
        assert (await desk.submit(relay)).startswith("250 2.0.0 Ok ")


@WAYS
@pytest.mark.parametrize(("kind", "reply"), [(Kind.FULL, "452 4.3.1"), (Kind.FAILING, "451 4.3.0")])
async def test_a_disk_that_fails_at_the_last_moment_is_told_after_the_message(
    way: type[DirectFirst | SpoolFirst], kind: Kind, reply: str
) -> None:
    desk = RealDesk(way)
    desk.ses.outcomes.extend([listener.CREDENTIALS] * 2)
    async with desk.open() as relay:
        desk.scene.spool.ill = kind
        assert (await desk.submit(relay)).startswith(reply)
        assert relay.intake.refusal() is None
        desk.scene.spool.ill = None
        assert (await desk.submit(relay)).startswith("250 2.0.0 Ok queued as ")


@WAYS
async def test_250_comes_after_the_commit_and_never_before(way: type[DirectFirst | SpoolFirst]) -> None:
    """While the disk works on it the client hears nothing."""
    desk = RealDesk(way)
    desk.ses.outcomes.append(listener.CREDENTIALS)
    begun, synced, put = asyncio.Event(), asyncio.Event(), desk.scene.spool.put

    async def slow(posting: Posting) -> tuple[Spooled, ...]:
        begun.set()
        await synced.wait()
        return await put(posting)

    desk.scene.spool.put = slow  # type: ignore[method-assign]  # a slow disk
    async with desk.open() as relay:
        client = asyncio.ensure_future(desk.submit(relay))
        await begun.wait()
        [still] = await asyncio.to_thread(say, relay.port, "NOOP")  # the relay has had all the time that it needs
        assert (still, client.done(), relay.events("message")) == ("250 2.0.0 Ok", False, [])
        synced.set()
        heard = await client
        [parcel] = await desk.scene.parcels()

    assert heard == f"250 {replies.queued(parcel.mail).enhanced} {replies.queued(parcel.mail).text}"


async def test_a_client_that_has_gone_stops_neither_the_attempt_nor_the_commit() -> None:
    desk = RealDesk(DirectFirst)
    desk.ses.gate = asyncio.Event()
    desk.ses.outcomes.append(listener.CREDENTIALS)
    async with desk.open() as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        lines = f"EHLO c\r\nMAIL FROM:<{SHOP}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode() + CONTENT + b".\r\n"
        writer.write(lines)
        await desk.ses.has_got(1)
        writer.close()
        await writer.wait_closed()
        desk.ses.gate.set()

    [parcel] = await desk.scene.parcels()
    assert parcel.part.recipients == (ANN,)
    assert relay.events("message")[0]["outcome"] == "queued"
