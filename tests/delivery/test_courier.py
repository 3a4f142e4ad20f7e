"""The courier: attempts within the hold, nothing after it, nothing lost on reload, and the pace of its gates."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import listener
import pytest
from pace_parts import DELIVERED, LOST, THROTTLED, UNREACHABLE, Log, Upstream, clock, parcel, run

from relay.delivery.courier import Courier
from relay.delivery.gates import GateRules, Gates
from relay.model import Cause, Deferred, Outcome, Parcel


class Post:
    """A courier, its gates and its SES, in exact time."""

    def __init__(self, says: Callable[[Parcel, float], Outcome], *, hold_s: float = 5.0, **rules: Any) -> None:
        self.log, self.ses = Log(), Upstream(says, latency=0.0)
        self.gates = Gates(self.log.journal, clock(), GateRules(**({"concurrency": 2, "max_rate": 1000} | rules)))
        self.courier = self.another(self.ses, hold_s)

    def another(self, ses: Upstream, hold_s: float = 5.0) -> Courier:
        """The courier of another configuration."""
        transports = {"api": ses, "smtp": ses}
        return Courier(transports, self.log.journal, clock(), hold_s=hold_s, gates=self.gates)  # type: ignore[arg-type]  # mypy wants literals

    def start(self, parcel: Parcel) -> asyncio.Task[Outcome]:
        """Deliver meanwhile."""
        return asyncio.ensure_future(self.courier.deliver(parcel))


def in_turn(*outcomes: Outcome) -> Callable[[Parcel, float], Outcome]:
    """These answers, then yes."""
    left = deque(outcomes)
    return lambda _, __: left.popleft() if left else DELIVERED


def test_throttling_is_tried_again_with_pauses_that_double() -> None:
    async def scene() -> None:
        post = Post(in_turn(*[THROTTLED] * 3))

        assert await post.courier.deliver(parcel()) == DELIVERED
        assert post.ses.times == [0, 0.25, 0.75, 1.75]
        assert post.log.names.count("attempt_deferred") == 3

    run(scene())


def test_no_attempt_starts_after_the_hold() -> None:
    async def scene() -> None:
        post = Post(lambda _, __: THROTTLED, hold_s=5.0)

        assert await post.courier.deliver(parcel()) == THROTTLED
        assert len(post.ses.began) == 5
        assert post.ses.now < 5

    run(scene())


def test_who_is_in_no_hurry_may_say_so() -> None:
    """Another hold than the clients': none, or no end, as for mail that nobody waits for."""

    async def scene() -> None:
        post = Post(lambda _, now: THROTTLED if now < 60 else DELIVERED)

        assert await post.courier.deliver(parcel(), hold_s=0) == THROTTLED
        assert len(post.ses.began) == 1
        assert await post.courier.deliver(parcel(), hold_s=inf) == DELIVERED

    run(scene())


@pytest.mark.parametrize("outcome", [LOST, listener.CREDENTIALS, listener.REFUSED])
def test_what_may_have_been_sent_or_cannot_help_is_not_tried_again(outcome: Outcome) -> None:
    async def scene() -> None:
        post = Post(in_turn(outcome))

        assert await post.courier.deliver(parcel()) == outcome
        assert len(post.ses.began) == 1

    run(scene())


def test_a_parcel_that_pauses_takes_up_no_place() -> None:
    """One place only: while the first pauses after a failure, the second goes."""

    async def scene() -> None:
        post = Post(in_turn(UNREACHABLE), concurrency=1)
        first, second = post.start(parcel(name="first")), post.start(parcel(name="second"))

        assert [await first, await second] == [DELIVERED, DELIVERED]
        assert post.ses.names == ["first", "second", "first"]

    run(scene())


def test_a_parcel_that_comes_back_goes_before_those_that_came_later() -> None:
    """At 4 a second the queue is long; who is tried again does not line up at its end."""

    async def scene() -> None:
        post = Post(in_turn(UNREACHABLE), max_rate=4, hold_s=5)
        tasks = [post.start(parcel(name=name)) for name in "abcdef"]
        await asyncio.gather(*tasks)

        assert post.ses.names == ["a", "b", "c", "a", "d", "e", "f"]

    run(scene())


def test_who_is_turned_away_at_the_gate_is_not_brought_there_again() -> None:
    """SES cannot be reached and the pause is longer than the hold: told once, at once."""

    async def scene() -> None:
        post = Post(lambda _, __: UNREACHABLE, hold_s=0.5)
        for _ in range(3):
            await post.courier.deliver(parcel())
        attempts = len(post.ses.began)
        outcome = await post.courier.deliver(parcel())

        assert isinstance(outcome, Deferred)
        assert outcome.cause is Cause.NETWORK
        assert outcome.reply == UNREACHABLE.reply
        assert len(post.ses.began) == attempts

    run(scene())


def test_closing_waits_for_what_is_under_way() -> None:
    async def scene() -> None:
        post = Post(in_turn())
        post.ses.latency = 3
        sending = post.start(parcel())
        await asyncio.sleep(1)
        closing = asyncio.ensure_future(post.courier.close())
        await asyncio.sleep(1)
        assert not post.ses.closed
        assert await sending == DELIVERED
        await closing
        assert post.ses.closed

    run(scene())


def test_a_reload_forgets_neither_pace_nor_places() -> None:
    """The courier of the new configuration begins where the old one is: slowed, and with one place left of two."""

    async def scene() -> None:
        post = Post(lambda each, _: THROTTLED if each.id == "unlucky" else DELIVERED, hold_s=0, max_rate=14)
        assert await post.courier.deliver(parcel(name="unlucky")) == THROTTLED
        slowed = post.gates.of(parcel()).rate
        await asyncio.sleep(1)
        post.ses.latency = 3
        old = post.start(parcel())
        await asyncio.sleep(0)
        new = post.another(Upstream(latency=3))
        one, two = (asyncio.ensure_future(new.deliver(parcel())) for _ in range(2))
        await asyncio.sleep(0.5)
        post.gates.change(GateRules(concurrency=2, max_rate=14))

        assert slowed == 7
        assert post.gates.of(parcel()).rate < 9
        assert [await task for task in (old, one, two)] == [DELIVERED] * 3
        assert post.ses.now == pytest.approx(1 + 3 + 3)

    run(scene())


def test_regions_do_not_wait_for_each_other() -> None:
    """A region whose calls all hang leaves the other regions their own places and pace."""

    async def scene() -> None:
        post = Post(in_turn(), concurrency=1, hold_s=0)
        post.ses.latency = 30
        stuck, refused = post.start(parcel()), post.start(parcel())
        going = post.start(parcel(region="eu-west-1"))
        outcome = await refused

        assert isinstance(outcome, Deferred)
        assert outcome.cause is Cause.PACE
        assert [await stuck, await going] == [DELIVERED, DELIVERED]
        assert post.ses.now == 30

    run(scene())
