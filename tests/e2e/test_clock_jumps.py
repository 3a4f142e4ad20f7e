"""Somebody sets the clock by a day, forwards or backwards: no mail is lost, sent twice, or kept waiting for a day.

SES goes by the same clock, since it refuses signatures of another day, whoever is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from relay_process import Bench, RunningRelay, submit
from wall_clock import DAY_S, WallClock

from relay.policy.retrying import Schedule
from relay.simulator import Fault, Simulator
from relay.spool.interface import Query, Spooled
from relay.spool.opening import Opening
from relay.spool.sqlite import share_spool

SHOP = "shop@example.com"
RETRY_S = 3600.0
LONGEST_S = Schedule((RETRY_S,), DAY_S).longest_s
LATER = Fault(action="error")  # an answer that has each message tried again later
PATIENCE_S = 20.0


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """The relay's clock."""
    return WallClock(tmp_path)


@pytest.fixture
async def bench(clock: WallClock, tmp_path: Path) -> AsyncIterator[Bench]:
    """A local SES and relays by that clock."""
    async with Simulator(ca_file=tmp_path / "ca.pem", clock=clock.now) as ses:
        made = Bench(ses, tmp_path)
        made.environment |= clock.environment()
        try:
            yield made
        finally:
            await made.close()


class Mails:
    """What was handed in, what SES got, what waits."""

    def __init__(self, bench: Bench, spool: Path) -> None:
        self._bench, self._spool = bench, spool
        self._sent = 0

    async def start(self, acknowledge: str = "on_spool") -> RunningRelay:
        """A relay that tries again after an hour."""
        settings: dict[str, Any] = {
            "spool": {"path": str(self._spool), "min_free_bytes": "1KB"},
            "delivery": {"acknowledge": acknowledge, "hold_s": 1, "retry": [f"{RETRY_S:.0f}s"], "lifetime": "5d"},
        }
        return await self._bench.start(**settings)

    async def hand_in(self, relay: RunningRelay, count: int) -> None:
        """Messages that can be told apart; each is queued."""
        for _ in range(count):
            number, self._sent = self._sent, self._sent + 1
            content = f"From: {SHOP}\r\nSubject: mail {number}\r\n\r\nhello\r\n".encode()
            code, text = await submit(relay, SHOP, content)
            assert (code, text.split(" as ")[0]) == (250, "2.0.0 Ok queued")

    async def waiting(self) -> Sequence[Spooled]:
        """What is in the spool."""
        shared = share_spool(Opening(self._spool))
        try:
            return await shared.inspect(Query())
        finally:
            await shared.close()

    async def until(self, holds: Callable[[Sequence[Spooled]], bool]) -> None:
        """Wait for that of what is in the spool; fails when it does not come to be within seconds."""
        ends = time.monotonic() + PATIENCE_S
        while not holds(waiting := await self.waiting()):
            assert time.monotonic() < ends, waiting
            await asyncio.sleep(0.05)

    async def all_put_off(self) -> None:
        """Each was tried, and is due in an hour."""
        await self.until(lambda waiting: bool(waiting) and all(one.part.last and not one.leased for one in waiting))

    async def all_sent_once(self) -> None:
        """The spool is empty, and SES has each message, once."""
        await self.until(lambda waiting: not waiting)
        subjects = sorted(
            one.raw.partition(b"Subject: mail ")[2].partition(b"\r\n")[0] for one in self._bench.ses.received
        )
        assert subjects == sorted(str(number).encode() for number in range(self._sent))


@pytest.fixture
def mails(bench: Bench, tmp_path: Path) -> Mails:
    """Those of this test."""
    return Mails(bench, tmp_path / "spool.db")


def due_soon(clock: WallClock) -> Callable[[Sequence[Spooled]], bool]:
    """Nothing waits for longer than the longest wait between two attempts."""
    return lambda waiting: all(one.part.due <= clock.now().timestamp() + LONGEST_S for one in waiting)


def due_later(clock: WallClock) -> Callable[[Sequence[Spooled]], bool]:
    """Every lease ends in the future."""
    return lambda waiting: all(one.leased and one.part.due > clock.now().timestamp() for one in waiting)


async def test_the_relay_goes_by_that_clock(bench: Bench, clock: WallClock, mails: Mails) -> None:
    """Otherwise these tests prove nothing."""
    bench.ses.faults.add(LATER)
    clock.set(DAY_S)
    await mails.hand_in(await mails.start(), 1)
    await mails.all_put_off()
    [parcel] = await mails.waiting()
    assert parcel.arrived == pytest.approx(clock.now().timestamp(), abs=30)
    assert abs(parcel.arrived - time.time()) > DAY_S / 2


async def test_forwards_while_mail_waits(bench: Bench, clock: WallClock, mails: Mails) -> None:
    """What was due in an hour is due at once, and goes, once."""
    bench.ses.faults.add(LATER)
    relay = await mails.start()
    await mails.hand_in(relay, 5)
    await mails.all_put_off()

    bench.ses.faults.clear()
    clock.set(DAY_S)
    await mails.all_sent_once()


async def test_forwards_while_mail_is_on_its_way(bench: Bench, clock: WallClock, mails: Mails) -> None:
    """Leases seem to have ended, yet nobody takes up what is in hand."""
    bench.ses.faults.add(Fault(action="delay"))
    relay = await mails.start()
    await mails.hand_in(relay, 5)
    await bench.ses.faults.wait_held(5)

    clock.set(DAY_S)
    await mails.until(due_later(clock))  # the queue has looked: new leases, by the new clock
    bench.ses.faults.clear()
    await mails.all_sent_once()


async def test_backwards_while_mail_waits(bench: Bench, clock: WallClock, mails: Mails) -> None:
    """What was due in an hour would be due in 25; and new mail goes at once. Set right again, all goes."""
    bench.ses.faults.add(LATER)
    relay = await mails.start()
    await mails.hand_in(relay, 5)
    await mails.all_put_off()

    bench.ses.faults.clear()
    clock.set(-DAY_S)
    assert not due_soon(clock)(await mails.waiting())
    await mails.until(due_soon(clock))
    await mails.hand_in(relay, 1)
    await bench.ses.wait_for(1)
    clock.set(DAY_S)
    await mails.all_sent_once()


async def test_backwards_while_mail_is_on_its_way(bench: Bench, clock: WallClock, mails: Mails) -> None:
    """Its end counts as any other."""
    bench.ses.faults.add(Fault(action="delay"))
    relay = await mails.start("on_delivery")
    handed_in = asyncio.gather(*(mails.hand_in(relay, 1) for _ in range(3)))
    await bench.ses.faults.wait_held(3)
    clock.set(-DAY_S)
    await handed_in
    bench.ses.faults.clear()
    await mails.all_sent_once()


@pytest.mark.parametrize("offset", [DAY_S, -DAY_S])
async def test_between_two_relays(bench: Bench, clock: WallClock, mails: Mails, offset: float) -> None:
    """The clock is another when the next relay starts, as on a machine without a battery."""
    bench.ses.faults.add(LATER)
    relay = await mails.start()
    await mails.hand_in(relay, 5)
    await mails.all_put_off()
    relay.process.terminate()
    assert await relay.end() == 0

    bench.ses.faults.clear()
    clock.set(offset)
    relay = await mails.start()
    assert due_soon(clock)(await mails.waiting())
    await mails.hand_in(relay, 1)
    await bench.ses.wait_for(1)
    clock.set(DAY_S)
    await mails.all_sent_once()
