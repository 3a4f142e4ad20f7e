"""The courier: attempts within the hold, nothing after it, and nothing lost on reload."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import listener
import pytest

from relay.delivery.courier import Clock, Courier
from relay.model import Cause, Deferred, Delivered, Parcel, Reply
from relay.observe.log import Journal, open_log
from relay.observe.metrics import Metrics

PARCEL = Parcel("id", "i", "us-west-2", "api", "default", "a@b.example", ("c@d.example",), (b"x",), "arn")
LOST = Deferred(Reply(451, "4.4.2", "lost"), Cause.LOST_ANSWER, "lost")


@dataclass
class FakeClock:
    """Time that passes only by pausing."""

    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


def courier(ses: listener.ScriptedSes, clock: FakeClock, *, hold_s: float = 5.0, concurrency: int = 2) -> Courier:
    journal = Journal(open_log("json", "error"), Metrics("test"))
    return Courier(
        {"api": ses}, journal, Clock(clock.now, clock.pause, lambda: 0.5), hold_s=hold_s, concurrency=concurrency
    )


async def test_throttling_is_tried_again_with_pauses_that_double() -> None:
    clock, ses = FakeClock(), listener.ScriptedSes(deque([listener.THROTTLED] * 3))
    assert await courier(ses, clock).deliver(PARCEL) == listener.DELIVERED
    assert clock.pauses == [0.25, 0.5, 1.0]


async def test_no_attempt_starts_after_the_hold() -> None:
    clock, ses = FakeClock(), listener.ScriptedSes(deque([listener.THROTTLED] * 100))
    assert await courier(ses, clock, hold_s=5.0).deliver(PARCEL) == listener.THROTTLED
    assert clock.seconds < 5.0
    assert len(ses.parcels) == 5


@pytest.mark.parametrize("outcome", [LOST, listener.CREDENTIALS, listener.REFUSED])
async def test_what_may_have_been_sent_or_cannot_help_is_not_tried_again(outcome: Deferred) -> None:
    ses = listener.ScriptedSes(deque([outcome]))
    assert await courier(ses, FakeClock()).deliver(PARCEL) == outcome
    assert len(ses.parcels) == 1


async def test_closing_waits_for_what_is_under_way() -> None:
    ses = listener.ScriptedSes(gate=asyncio.Event())
    old = courier(ses, FakeClock())
    sending = asyncio.ensure_future(old.deliver(PARCEL))
    await ses.has_got(1)
    closing = asyncio.ensure_future(old.close())
    await asyncio.sleep(0)
    assert not ses.closed
    assert ses.gate is not None
    ses.gate.set()
    assert await sending == Delivered("0100-ses-id")
    await closing
    assert ses.closed


async def test_regions_do_not_wait_for_each_other() -> None:
    """A region whose calls all hang leaves the other regions their own lanes."""
    ses = listener.ScriptedSes(gate=asyncio.Event())
    one = courier(ses, FakeClock(), hold_s=0.01, concurrency=1)
    stuck = asyncio.ensure_future(one.deliver(PARCEL))
    await ses.has_got(1)
    other = Parcel("o", "i", "eu-west-1", "api", "default", "a@b.example", ("c@d.example",), (b"x",), "arn")
    going = asyncio.ensure_future(one.deliver(other))
    await ses.has_got(2)
    refused = await one.deliver(PARCEL)
    assert isinstance(refused, Deferred)
    assert refused.cause == Cause.PACE
    assert ses.gate is not None
    ses.gate.set()
    await asyncio.gather(stuck, going)
