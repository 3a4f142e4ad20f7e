"""The queue in trouble: operators, odd answers, a sick disk, a clock that jumps, the end; nothing goes twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from pace_parts import DELIVERED, LOST, UNREACHABLE, run
from queue_scene import (
    ANN,
    BAD_CONTENT,
    BAD_RECIPIENT,
    BOB,
    POSTMASTER,
    SHOP,
    START,
    Scene,
    gone,
    mail,
    no_leaks,
)

from relay.delivery.leases import LEASE_S
from relay.model import Outcome, Parcel
from relay.replies import MESSAGE_DAMAGED
from relay.spool.interface import Action, Query, State
from relay.spool.trouble import Kind

# Operators


@pytest.mark.parametrize("action", [Action.DROP, Action.HOLD])
def test_what_an_operator_takes_away_while_it_waits_is_not_sent(action: Action) -> None:
    async def scene() -> None:
        post = Scene(rate=1.0, concurrency=1)
        stored = await post.post(*(mail() for _ in range(8)))
        async with post.running():
            await post.passes(1.5)
            taken = [one.id for one in stored if one.id not in post.sent()]
            assert await post.spool.alter(Query(ids=tuple(taken)), action, post.wall()) == len(taken)
            await post.passes(30)

        assert not set(taken) & set(post.sent())
        assert len(await post.parcels(state=State.HELD)) == (len(taken) if action is Action.HOLD else 0)
        no_leaks(post)

    run(scene())


# Contents


def test_a_message_that_is_damaged_is_told_once_and_sent_when_it_is_put_back() -> None:
    async def scene() -> None:
        post = Scene()
        [bad] = await post.post(mail())
        [good] = await post.post(mail())
        post.spool.damaged = {bad.mail}
        async with post.running():
            await post.passes(3600)
            letters = [one for one in post.events("notice") if one["about"] == bad.mail]
            tries = [one for one in post.events("delivery") if one["id"] == bad.id]
            assert (good.id in post.sent(), bad.id in post.sent()) == (True, False)
            assert [one["recipient"] for one in letters] == [POSTMASTER]
            assert [one["level"] for one in post.events("content_damaged")] == ["error"]
            assert len(tries) > 2
            assert {one["reply"] for one in tries} == {str(MESSAGE_DAMAGED)}
            post.spool.damaged.clear()
            await gone(post, within_s=2 * 3600)

        assert bad.id in post.sent()
        no_leaks(post)

    run(scene())


# Answers


def test_each_answer_has_its_end() -> None:
    """Delivered, given up, split, tried again."""

    async def scene() -> None:
        answers: dict[str, Outcome] = {"a@x.example": BAD_CONTENT, "b@x.example": UNREACHABLE, "c@x.example": LOST}

        def says(parcel: Parcel, _: float) -> Outcome:
            if BOB in parcel.recipients:
                return BAD_RECIPIENT
            return answers.get(parcel.recipients[0], DELIVERED)

        post = Scene(says, letterhead=None)
        await post.post(*(mail(SHOP, to) for to in answers), mail(SHOP, ANN, BOB, "cy@x.example"))
        async with post.running():
            await post.passes(10)

        left = {one.part.recipients: one for one in await post.parcels()}
        assert {to: one.state for to, one in left.items()} == {
            ("a@x.example",): State.DEAD, ("b@x.example",): State.QUEUED, ("c@x.example",): State.QUEUED,
            (BOB,): State.DEAD,
        }  # fmt: skip
        assert left["c@x.example",].part.lost == 1
        assert 600 <= left["c@x.example",].part.due - START <= 800
        no_leaks(post)

    run(scene())


def test_a_transport_that_breaks_its_word_stops_nothing() -> None:
    async def scene() -> None:
        def says(parcel: Parcel, _: float) -> Outcome:
            if parcel.recipients == (BOB,):
                raise RuntimeError("never seen before")
            return DELIVERED

        post = Scene(says)
        await post.post(mail(SHOP, BOB), mail(SHOP, ANN))
        async with post.running():
            await post.passes(5)

        [left] = await post.parcels(state=State.QUEUED)
        assert (left.part.recipients, left.part.attempts) == ((BOB,), 1)
        assert len(post.events("internal_error")) == 1
        no_leaks(post)

    run(scene())


# The disk


def test_a_content_that_cannot_be_read_waits_for_the_disk() -> None:
    async def scene() -> None:
        post = Scene()
        await post.post(mail())
        async with post.running():
            post.spool.blind = Kind.FAILING
            await post.passes(30)
            post.spool.blind = None
            await gone(post)

        assert len(post.sent()) == 1
        no_leaks(post)

    run(scene())


def test_a_content_that_is_gone_is_not_asked_for_all_the_time() -> None:
    """A damaged file: the parcel is there and its content is not."""

    async def scene() -> None:
        post = Scene()
        await post.post(mail())
        post.spool._connection.execute("DELETE FROM contents")
        async with post.running():
            await post.passes(59)

        [parcel] = await post.parcels()
        assert (parcel.part.attempts, post.spool.writes.count("claim")) == (1, 1)

    run(scene())


@pytest.mark.parametrize("minutes", [1, 60])
def test_what_ses_has_taken_is_settled_when_the_disk_lets_it_and_not_sent_again(minutes: int) -> None:
    """The disk fails between SES's yes and our writing it down, for longer than a lease even."""

    async def scene() -> None:
        post = Scene(latency=1.0)
        await post.post(*(mail() for _ in range(5)))
        async with post.running(watched=True):
            await post.passes(0.5)
            post.spool.ill = Kind.FULL
            await post.passes(60 * minutes)
            assert len(await post.parcels()) == 5
            post.spool.ill = None
            await gone(post, within_s=60)

        assert sorted(Counter(post.sent()).values()) == [1] * 5
        no_leaks(post)

    run(scene())


# The clock


@pytest.mark.parametrize("jump", [86_400.0, LEASE_S + 1])
def test_a_clock_that_is_set_forward_sends_nothing_twice(jump: float) -> None:
    """All leases end at once while the attempts go on, and while what they have brought is written down."""

    async def scene() -> None:
        post = Scene(latency=7.3, sync_s=0.02)
        await post.post(*(mail() for _ in range(80)))
        async with post.running(watched=True):
            for _ in range(6):
                await post.passes(2.4)
                post.jumped += jump
            await gone(post)

        assert len(post.sent()) == len(set(post.sent())) == 80
        no_leaks(post)

    run(scene())


# The end


def test_what_is_in_flight_may_end_and_what_waits_is_given_back() -> None:
    async def scene() -> None:
        post = Scene(latency=2.0, rate=1.0, concurrency=2)
        await post.post(*(mail() for _ in range(9)))
        runner = asyncio.create_task(post.runner.run())
        await post.passes(1.5)
        begun = len(post.sent())
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await post.runner.stop(5.0)

        left = await post.parcels()
        assert len(post.sent()) == begun
        assert len(left) == 9 - begun
        assert {(one.leased, one.part.attempts, one.part.lost) for one in left} == {(False, 0, 0)}
        no_leaks(post)

    run(scene())


def test_what_does_not_end_in_time_may_have_been_delivered() -> None:
    async def scene() -> None:
        post = Scene(latency=60.0)
        await post.post(mail())
        async with post.running():
            await post.passes(1)
        [parcel] = await post.parcels()

        assert (parcel.leased, parcel.part.lost, parcel.part.attempts) == (False, 1, 1)
        assert parcel.part.due >= START + 600
        no_leaks(post)

    run(scene())


def test_what_waits_for_room_in_memory_was_not_sent() -> None:
    """Its turn has come, but SES has seen nothing of it."""

    async def scene() -> None:
        post = Scene()
        await post.runner._room.take(10**9)
        await post.post(mail())
        async with post.running():
            await post.passes(1)
        [parcel] = await post.parcels()

        assert (parcel.leased, parcel.part.lost, parcel.part.attempts) == (False, 0, 0)

    run(scene())


def test_a_disk_that_fails_does_not_keep_the_relay_from_ending() -> None:
    async def scene() -> None:
        post = Scene(latency=1.0, rate=1.0)
        await post.post(*(mail() for _ in range(20)))
        runner = asyncio.create_task(post.runner.run())
        await post.passes(1.5)
        post.spool.ill = Kind.FAILING
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        async with asyncio.timeout(4.0):
            await post.runner.stop(3.0)

        assert post.runner._tasks == set()

    run(scene())


def test_after_the_end_nothing_begins() -> None:
    async def scene() -> None:
        post = Scene()
        await post.runner.stop(0)
        await post.post(mail())
        async with post.running():
            await post.passes(10)

        assert post.sent() == []

    run(scene())
