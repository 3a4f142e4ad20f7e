"""The queue: what is due goes, in order and at its pace, and nothing twice; by SES's answers, in exact time."""

from __future__ import annotations

from collections import Counter

import pytest
from pace_parts import DELIVERED, QUOTA, UNREACHABLE, run
from queue_scene import (
    ANN,
    SHOP,
    START,
    Scene,
    book,
    gone,
    identities,
    mail,
    no_leaks,
)

from relay.delivery.queue_runner import POLL_S
from relay.model import Outcome, Parcel
from relay.spool.interface import State

HOUR = 3600.0


def test_what_is_due_goes_the_oldest_first() -> None:
    async def scene() -> None:
        post = Scene(concurrency=1)
        mails = [mail(arrived=START - age) for age in (1, 5, 3, 4, 2)]
        stored = {one.mail: one for one in await post.post(*mails)}
        async with post.running():
            await gone(post)

        assert [stored[name.split(".")[0]].arrived - START for name in post.sent()] == [-5, -4, -3, -2, -1]
        assert [one["outcome"] for one in post.events("delivery")] == ["delivered"] * 5
        no_leaks(post)

    run(scene())


def test_what_is_not_due_waits_for_its_time_and_no_longer() -> None:
    async def scene() -> None:
        post = Scene()
        await post.post(mail(), due=START + 90.5)
        async with post.running():
            await gone(post)

        assert post.ses.times == [90.5]

    run(scene())


def test_a_wake_is_heard_at_once_and_without_one_the_queue_is_looked_at_every_moment() -> None:
    """A queue command in another process cannot wake anybody."""

    async def scene() -> None:
        post = Scene()
        async with post.running():
            await post.passes(0.5)
            await post.post(mail())
            post.runner.wake()
            await post.passes(0.5)
            await post.post(mail())
            await gone(post)

        first, second = post.ses.times
        assert first == 0.5
        assert second <= 1.0 + POLL_S

    run(scene())


def test_a_backlog_of_one_identity_keeps_no_other_from_going() -> None:
    """Between two of any identity that has mail, none has two, whatever the lengths of their queues."""

    async def scene() -> None:
        names = ["a.example", "b.example", "c.example"]
        post = Scene(lambda _, __: DELIVERED, *identities(*names), rate=10, concurrency=1)
        for name, count in zip(names, (60, 10, 10), strict=True):
            await post.post(*(mail(f"x@{name}") for _ in range(count)))
        lanes = {one.id: one.part.lane for one in await post.parcels()}
        async with post.running():
            await gone(post)

        first = [lanes[name] for name in post.sent()[:30]]
        assert Counter(first) == dict.fromkeys(names, 10)
        no_leaks(post)

    run(scene())


@pytest.mark.parametrize("rate", [2.0, 50.0])
def test_a_backlog_goes_at_the_pace_neither_faster_nor_slower(rate: float) -> None:
    async def scene() -> None:
        post = Scene(rate=rate, latency=0.05)
        await post.post(*(mail() for _ in range(200)))
        async with post.running():
            await gone(post)

        seconds = post.ses.times[-1] - post.ses.times[0]
        assert 199 / rate - 1.5 <= seconds <= 199 / rate * 1.05 + 0.1
        assert len(set(post.sent())) == 200

    run(scene())


def test_mail_of_clients_passes_a_backlog() -> None:
    """At most a few of the queue wait at a gate."""

    async def scene() -> None:
        post = Scene(rate=10.0)
        await post.post(*(mail() for _ in range(300)))
        async with post.running():
            await post.passes(5)
            began = post.ses.now
            direct = Parcel("direct", "example.com", "us-west-2", "api", "default", SHOP, (ANN,), (b"x",), "arn")
            assert await post.courier.deliver(direct) == DELIVERED
            assert post.ses.now - began < 1

    run(scene())


def test_an_outage_burns_no_attempts_and_what_comes_after_it_goes_at_once() -> None:
    """An hour without SES: a probe a minute, and when it is back all is gone in the time of one pause and the pace."""

    async def scene() -> None:
        post = Scene(lambda _, now: UNREACHABLE if now < HOUR else DELIVERED, rate=100.0)
        await post.post(*(mail() for _ in range(200)))
        async with post.running(watched=True):
            await post.passes(HOUR - 1)
            attempts = len(post.ses.began)
            assert attempts < 32 + 60 * 1.3  # those that went together, and the probes
            assert max(one.part.attempts for one in await post.parcels()) <= 2
            await gone(post, within_s=120)

        assert len(post.ses.began) <= attempts + 200 + 2
        assert Counter(one["outcome"] for one in post.events("delivery"))["delivered"] == 200
        no_leaks(post)

    run(scene())


def test_a_gate_that_takes_nobody_is_not_run_against() -> None:
    """A pause that is longer than the patience of the queue: the backlog is not claimed and given back all the time."""

    async def scene() -> None:
        post = Scene(lambda _, __: QUOTA, chance=1.0)  # the quota's pause is six minutes then
        await post.post(*(mail() for _ in range(500)))
        async with post.running():
            await post.passes(59)

        assert len(post.sent()) <= 32
        assert post.spool.writes.count("reschedule") < 32 + 100
        assert min(one.part.attempts for one in await post.parcels()) == 0
        no_leaks(post)

    run(scene())


def test_what_never_had_its_turn_goes_before_what_came_later() -> None:
    async def scene() -> None:
        post = Scene(lambda _, now: QUOTA if now < 300 else DELIVERED, chance=1.0, concurrency=1)
        await post.post(*(mail(arrived=START - 100 + number) for number in range(100)))
        async with post.running(watched=True):
            await gone(post)

        tried, *order = [int(name.split(".")[0], 16) for name in post.sent()]
        assert min(order) == tried
        assert [one for one in order if one != tried] == [one for one in sorted(order) if one != tried]

    run(scene())


# Rules


def test_mail_without_a_rule_waits_and_goes_under_the_rules_that_come() -> None:
    async def scene() -> None:
        post = Scene(lambda _, __: DELIVERED, *identities("other.example"))
        await post.post(mail())
        async with post.running():
            await post.passes(1)
            [parcel] = await post.parcels()
            assert parcel.part.last is not None
            assert parcel.part.last.cause == "rules"
            post.runner.change(book(*identities("example.com")), post.another_courier())
            await gone(post)

        assert post.sent() == [parcel.id]
        no_leaks(post)

    run(scene())


def test_what_waits_in_line_goes_under_the_rules_of_the_moment() -> None:
    """Also what waits at its gate already: never as an identity that its sender no longer has."""

    async def scene() -> None:
        was, now = identities("example.com"), identities("example.com", configuration_set="new")
        seen: list[bytes] = []

        def says(parcel: Parcel, _: float) -> Outcome:
            seen.append(b"".join(map(bytes, parcel.content)))
            return DELIVERED

        post = Scene(says, *was, rate=1.0, concurrency=1)
        await post.post(*(mail() for _ in range(12)))
        async with post.running():
            await post.passes(2.5)
            before = len(seen)
            post.runner.change(book(*now), post.another_courier())
            await gone(post)

        assert len(seen) == 12
        assert all(b"X-SES-CONFIGURATION-SET: new" not in one for one in seen[:before])
        assert all(b"X-SES-CONFIGURATION-SET: new" in one for one in seen[before:])
        no_leaks(post)

    run(scene())


def test_a_sender_that_its_client_lost_is_not_sent() -> None:
    async def scene() -> None:
        post = Scene()
        await post.post(mail())
        post.runner.change(book(senders=["@other.example"]), post.courier)
        async with post.running():
            await post.passes(10)

        [parcel] = await post.parcels(state=State.QUEUED)
        assert parcel.part.last is not None
        assert parcel.part.last.cause == "rules"
        assert post.sent() == []
        no_leaks(post)

    run(scene())


def test_in_a_dry_run_nothing_leaves_the_queue() -> None:
    async def scene() -> None:
        post = Scene()
        await post.post(mail())
        post.runner.change(book(dry_run=True), post.courier)
        async with post.running():
            await post.passes(100)

        assert (post.sent(), len(await post.parcels())) == ([], 1)

    run(scene())
