"""The gate: order, holds, concurrency, what is refused at once, and what suspends whom."""

from __future__ import annotations

import asyncio
from itertools import permutations
from math import inf

import pytest
from pace_parts import (
    DELIVERED,
    LOST,
    QUOTA,
    THROTTLED,
    UNAVAILABLE,
    UNREACHABLE,
    Scene,
    parcel,
    run,
)

from relay import replies
from relay.model import Cause, Deferred, Failed, Outcome, Parcel, Reply

WAYS = [("api", "default"), ("smtp", "default"), ("api", "other")]


def cause(outcome: Outcome) -> str:
    """One word for an outcome."""
    return outcome.cause if isinstance(outcome, Deferred) else "delivered"


def way(each: Parcel) -> tuple[str, str]:
    """How the parcel goes to SES."""
    return each.transport, each.credentials


def by(way: tuple[str, str]) -> Parcel:
    """A parcel that goes so."""
    return parcel(transport=way[0], credentials=way[1])


class TestPace:
    def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_order_of_arrival(self) -> None:
        async def scene() -> None:
            play = Scene()
            parcels = [parcel() for _ in range(10)]
            outcomes = await play.deliver_all(*parcels)

            assert outcomes == [DELIVERED] * 10
            assert play.upstream.times == [0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5]
            assert play.upstream.names == [each.id for each in parcels]

        run(scene())

    def test_who_would_wait_longer_than_its_hold_is_told_at_once(self) -> None:
        """At 10 a second and 5 seconds, 55 have a turn; the others need not wait to hear that they have none."""

        async def scene() -> None:
            play = Scene()
            tasks = [play.start(parcel(), hold_s=5.05) for _ in range(60)]
            await asyncio.sleep(0)
            refused = [task.result() for task in tasks if task.done()]

            assert len(refused) == 5
            assert all(isinstance(each, Deferred) and each.cause is Cause.PACE for each in refused)
            assert isinstance(refused[0], Deferred)
            assert refused[0].reply == replies.SENDING_AT_LIMIT
            assert (await asyncio.gather(*tasks))[:55] == [DELIVERED] * 55
            assert max(play.upstream.times) == 5.0

        run(scene())

    def test_a_large_parcel_goes_when_its_turn_comes_and_those_behind_wait_for_its_debt(self) -> None:
        async def scene() -> None:
            play = Scene(rate=20)
            await play.deliver_all(parcel(50), parcel(1))

            assert play.upstream.times == [0, 2.05]

        run(scene())

    def test_small_ones_do_not_overtake_a_large_one(self) -> None:
        """Else it would never go."""

        async def scene() -> None:
            play = Scene(rate=10)
            await play.deliver_all(parcel(6, "first"), parcel(5, "large"), parcel(1, "small"))

            assert play.upstream.names == ["first", "large", "small"]

        run(scene())

    def test_no_hold_means_now_or_not_at_all(self) -> None:
        async def scene() -> None:
            play = Scene(rate=2)

            assert [cause(each) for each in await play.deliver_all(parcel(), parcel(), hold_s=0)] == [
                "delivered", "pace",
            ]  # fmt: skip

        run(scene())

    def test_no_hold_is_not_less_than_nothing(self) -> None:
        """The moment that it takes to come to the gate costs nobody the attempt."""

        async def scene() -> None:
            assert await Scene().deliver(parcel(), hold_s=-0.001) == DELIVERED

        run(scene())

    def test_throttling_sends_away_those_whose_turn_is_too_late_now(self) -> None:
        """40 wait for at most 4 s when the rate halves: those who cannot make it any more hear it at that moment."""

        async def scene() -> None:
            play = Scene(says=lambda each, _: THROTTLED if each.id == "unlucky" else DELIVERED)
            first = play.start(parcel(name="unlucky"))
            tasks = [play.start(parcel()) for _ in range(44)]
            assert await first == THROTTLED
            await asyncio.sleep(0)
            told_at_once = [task for task in tasks if task.done() and cause(task.result()) == "pace"]
            outcomes = await asyncio.gather(*tasks)

            assert 5 <= len(told_at_once) <= 12
            assert tasks[-len(told_at_once) :] == told_at_once
            assert [cause(each) for each in outcomes].count("pace") == len(told_at_once)

        run(scene())

    def test_the_log_tells_once_a_minute_that_the_pace_is_slowed(self) -> None:
        async def scene() -> None:
            play = Scene(rate=14, says=lambda _, __: THROTTLED)
            for _ in range(62):
                await play.deliver(parcel())
                await asyncio.sleep(1)
            slowed = [event for event in play.log.events if event["event"] == "slowed"]

            assert [event["recipients_per_second"] for event in slowed] == [7, 1]
            assert slowed[0]["credentials"] == "default"
            assert slowed[0]["detail"] == "Maximum sending rate exceeded."

        run(scene())

    def test_nobody_waits_for_ever_in_a_queue_without_end(self) -> None:
        """An arrival without a deadline, as a spool's may be, waits as long as it takes, in order."""

        async def scene() -> None:
            play = Scene(rate=1)
            await play.deliver_all(*(parcel(50) for _ in range(4)), hold_s=inf)

            assert play.upstream.times == [0, 50, 100, 150]

        run(scene())


class TestConcurrency:
    def test_never_more_at_once(self) -> None:
        async def scene() -> None:
            play = Scene(rate=1000, concurrency=3)
            assert await play.deliver_all(*(parcel() for _ in range(20))) == [DELIVERED] * 20
            assert play.upstream.most_at_once == 3

        run(scene())

    def test_who_gets_no_place_within_its_hold_is_deferred(self) -> None:
        async def scene() -> None:
            play = Scene(rate=1000, concurrency=1, latency=30)
            first, second = play.start(parcel()), play.start(parcel())
            began = play.upstream.now
            assert cause(await second) == "pace"
            assert play.upstream.now - began == pytest.approx(5)
            assert await first == DELIVERED

        run(scene())

    def test_more_places_let_in_more_at_once(self) -> None:
        async def scene() -> None:
            play = Scene(rate=1000, concurrency=1, latency=1)
            tasks = [play.start(parcel()) for _ in range(4)]
            await asyncio.sleep(0.5)
            play.gate.change(4)
            await asyncio.gather(*tasks)

            assert play.upstream.times == [0, 0.5, 0.5, 0.5]

        run(scene())

    def test_a_place_comes_back_whatever_becomes_of_its_parcel(self) -> None:
        """Cancelled in the queue, cancelled under way, and raised."""

        async def fail(_: Parcel) -> Outcome:
            raise OSError("no such thing should happen")

        async def scene() -> None:
            play = Scene(rate=1000, concurrency=1, latency=1)
            under_way, waiting = play.start(parcel(name="under way")), play.start(parcel(name="waiting"))
            for task in (waiting, under_way):
                await asyncio.sleep(0.1)
                task.cancel()
            await asyncio.wait([under_way, waiting])
            broken = parcel()
            assert await play.gate.enter(broken, play.arrive()) is None
            with pytest.raises(OSError, match="no such thing"):
                await play.gate.attempt(broken, fail)
            assert await play.deliver(parcel(name="last")) == DELIVERED
            assert play.upstream.names == ["under way", "last"]

        run(scene())

    def test_a_place_comes_back_when_its_turn_and_its_end_come_at_one_moment(self) -> None:
        """Let in, and cancelled before it could take a step."""

        async def at_once(_: Parcel) -> Outcome:
            return DELIVERED

        async def scene() -> None:
            play = Scene(rate=1000, concurrency=1)
            first = parcel()
            await play.gate.enter(first, play.arrive())
            unlucky = play.start(parcel(name="unlucky"))
            await asyncio.sleep(0.1)
            await play.gate.attempt(first, at_once)
            unlucky.cancel()

            assert await play.deliver(parcel(name="last")) == DELIVERED
            assert unlucky.cancelled()
            assert play.upstream.names == ["last"]

        run(scene())

    def test_nobody_is_let_in_who_has_just_been_cancelled(self) -> None:
        """Its turn would have come before it could leave the queue."""

        async def at_once(_: Parcel) -> Outcome:
            return DELIVERED

        async def scene() -> None:
            play = Scene(rate=1000, concurrency=1)
            first = parcel()
            await play.gate.enter(first, play.arrive())
            unlucky, last = play.start(parcel(name="unlucky")), play.start(parcel(name="last"))
            await asyncio.sleep(0.1)
            unlucky.cancel()
            await play.gate.attempt(first, at_once)

            assert await last == DELIVERED
            assert play.upstream.names == ["last"]

        run(scene())


class TestOutage:
    @pytest.mark.parametrize("trouble", [Cause.NETWORK, Cause.TLS, Cause.CREDENTIALS, Cause.UNAVAILABLE, Cause.NOT_SES])
    def test_an_outage_costs_a_few_attempts_and_no_holds(self, trouble: Cause) -> None:
        """Ten minutes without SES, a message each second: some twenty attempts, and nearly nobody waits."""
        refused = Deferred(Reply(451, "4.4.1", "SES cannot be reached"), trouble, "secret detail")

        async def scene() -> None:
            play = Scene(says=lambda _, __: refused)
            waited = []
            for _ in range(600):
                began = play.upstream.now
                outcome = await play.deliver(parcel())
                waited.append(play.upstream.now - began)
                assert isinstance(outcome, Deferred)
                assert (outcome.reply, outcome.cause) == (refused.reply, trouble)
                await asyncio.sleep(1)

            assert len(play.upstream.began) < 25
            assert sum(seconds > 0.2 for seconds in waited) < 20
            assert play.log.names == ["paused"]

        run(scene())

    def test_while_paused_messages_wait_for_the_probe_and_all_go_when_it_gets_through(self) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, now: UNREACHABLE if now < 1 else DELIVERED, rate=100)
            await play.deliver_all(parcel(), parcel(), parcel())
            outcomes = await play.deliver_all(*(parcel() for _ in range(20)))

            assert outcomes == [DELIVERED] * 20
            assert play.upstream.times[3:] == [1.1, *[1.2] * 19]
            assert play.log.names == ["paused", "resumed"]

        run(scene())

    def test_a_failed_probe_sends_away_those_who_cannot_wait_for_the_next(self) -> None:
        """The pauses of 1, 2 and 4 seconds: the third ends after the holds, and everybody hears it at once."""

        async def scene() -> None:
            play = Scene(says=lambda _, __: UNREACHABLE, rate=100)
            await play.deliver_all(parcel(), parcel(), parcel())
            tasks = [play.start(parcel()) for _ in range(20)]
            outcomes = await asyncio.gather(*tasks)

            assert play.upstream.now == pytest.approx(0.1 + 1 + 0.1 + 2 + 0.1)
            assert len(play.upstream.began) == 3 + 2
            assert [cause(each) for each in outcomes] == ["network"] * 20

        run(scene())

    def test_a_probe_that_hangs_costs_the_others_no_more_than_their_holds(self) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, __: UNREACHABLE, latency=30)
            await play.deliver_all(parcel(), parcel(), parcel())
            await asyncio.sleep(1)
            probe, other = play.start(parcel()), play.start(parcel())
            began = play.upstream.now

            assert cause(await other) == "network"
            assert play.upstream.now - began == pytest.approx(5)
            assert await probe == UNREACHABLE

        run(scene())

    def test_after_lost_answers_others_hear_that_theirs_were_not_even_tried(self) -> None:
        """Of them SES has nothing: whoever hears so may send again at once."""

        async def scene() -> None:
            play = Scene(says=lambda _, __: LOST)
            assert await play.deliver_all(parcel(), parcel(), parcel()) == [LOST] * 3
            probe, other = play.start(parcel()), play.start(parcel(), hold_s=0.5)
            outcome = await other

            assert isinstance(outcome, Deferred)
            assert (outcome.tried, outcome.cause, outcome.reply.enhanced) == (False, Cause.NETWORK, "4.4.1")
            assert await probe == LOST
            assert play.log.names == ["paused"]

        run(scene())

    def test_a_sender_whose_messages_all_fail_lets_others_ask_first(self) -> None:
        """Hundreds that SES cannot stomach cost mail of others one pause, not hundreds."""

        def says(each: Parcel, _: float) -> Outcome:
            return UNAVAILABLE if each.sender == "bad@b.example" else DELIVERED

        async def scene() -> None:
            play = Scene(says=says, rate=100)
            bad = [play.start(parcel(sender="bad@b.example"), hold_s=600) for _ in range(500)]
            for _ in range(5):
                await asyncio.sleep(10)
                came = play.upstream.now
                assert await play.deliver(parcel(), hold_s=600) == DELIVERED
                assert play.upstream.now - came < 10
            assert play.log.names == ["paused", "resumed"] * 5
            assert sum(task.done() for task in bad) < 250
            for task in bad:
                task.cancel()
            await asyncio.wait(bad)

        run(scene())

    @pytest.mark.parametrize("outcome", [UNREACHABLE, UNAVAILABLE, LOST])
    def test_one_message_that_fails_again_and_again_pauses_nothing(self, outcome: Outcome) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, __: outcome)
            for _ in range(10):
                await play.deliver(parcel(name="same"))
                await asyncio.sleep(1)

            assert len(play.upstream.began) == 10
            assert play.log.names == []

        run(scene())

    @pytest.mark.parametrize(
        "outcome",
        [
            Deferred(Reply(451, "4.3.5", "x"), Cause.IDENTITY, "x"),
            Deferred(Reply(451, "4.3.2", "x"), Cause.PAUSED, "x"),
            Deferred(Reply(451, "4.3.0", "x"), Cause.OUR_FAULT, "x"),
            Deferred(Reply(451, "4.0.0", "x"), Cause.OTHER, "x"),
            Failed(Reply(554, "5.7.1", "x"), Cause.IDENTITY, "x"),
            Failed(Reply(554, "5.3.5", "x"), Cause.CREDENTIALS, "x"),
        ],
        ids=lambda outcome: f"{type(outcome).__name__} {outcome.cause}",
    )
    def test_what_befalls_single_messages_slows_and_pauses_nothing(self, outcome: Outcome) -> None:
        """Fifty in a row, and every one is tried when it comes."""

        async def scene() -> None:
            play = Scene(rate=10, says=lambda _, __: outcome)
            for _ in range(50):
                assert await play.deliver(parcel()) == outcome
            assert play.gate.rate == 10
            assert play.log.names == []

        run(scene())

    @pytest.mark.parametrize(("bad", "good"), list(permutations(WAYS, 2)))
    def test_other_transports_and_credentials_of_the_account_go_on(
        self, bad: tuple[str, str], good: tuple[str, str]
    ) -> None:
        """A port that is closed, or keys that are wrong, are no reason to stop what works."""

        async def scene() -> None:
            play = Scene(says=lambda each, _: UNREACHABLE if way(each) == bad else DELIVERED)
            await play.deliver_all(*(by(bad) for _ in range(3)))
            stuck = play.start(by(bad))
            await asyncio.sleep(0)

            assert await play.deliver(by(good)) == DELIVERED
            assert play.upstream.now < 0.5
            assert await stuck == UNREACHABLE

        run(scene())

    def test_those_who_wait_for_a_probe_are_not_ahead_of_those_who_may_go(self) -> None:
        """Forty wait for the API; a message by SMTP whose client has one second need not wait for their turns."""

        async def scene() -> None:
            play = Scene(says=lambda each, _: UNREACHABLE if each.transport == "api" else DELIVERED)
            await play.deliver_all(parcel(), parcel(), parcel())
            waiting = [play.start(parcel()) for _ in range(40)]
            await asyncio.sleep(0.1)

            assert await play.deliver(parcel(transport="smtp"), hold_s=1) == DELIVERED
            await asyncio.wait(waiting)

        run(scene())

    def test_a_probe_that_was_cancelled_leaves_its_place_to_the_next(self) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, now: UNREACHABLE if now < 1 else DELIVERED)
            await play.deliver_all(parcel(), parcel(), parcel())
            await asyncio.sleep(2)
            probe = play.start(parcel())
            await asyncio.sleep(0)
            other = play.start(parcel())
            await asyncio.sleep(0.05)
            probe.cancel()

            assert await other == DELIVERED

        run(scene())


class TestDailyQuota:
    def test_it_defers_all_without_a_call_but_one_each_five_minutes(self) -> None:
        """An hour with a message each second: 12 probes or so, one line in the log."""

        async def scene() -> None:
            play = Scene(says=lambda _, __: QUOTA)
            for _ in range(3600):
                outcome = await play.deliver(parcel())
                assert isinstance(outcome, Deferred)
                assert (outcome.reply, outcome.cause) == (QUOTA.reply, Cause.QUOTA)
                await asyncio.sleep(1)

            assert 12 <= len(play.upstream.began) <= 13
            assert play.log.names == ["quota_used_up"]
            assert play.log.events[0]["detail"] == "Daily message quota exceeded."

        run(scene())

    def test_who_waits_is_told_at_once(self) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, __: QUOTA)
            outcomes = await play.deliver_all(*(parcel() for _ in range(40)))

            assert [cause(each) for each in outcomes] == ["quota"] * 40
            assert len(play.upstream.began) <= 6
            assert play.upstream.now <= 0.2

        run(scene())

    def test_when_some_of_it_is_back_mail_flows_again(self) -> None:
        async def scene() -> None:
            play = Scene(says=lambda _, now: QUOTA if now < 200 else DELIVERED)
            await play.deliver(parcel())
            await asyncio.sleep(301)
            outcomes = await play.deliver_all(*(parcel() for _ in range(10)))

            assert outcomes == [DELIVERED] * 10
            assert play.log.names == ["quota_used_up", "resumed"]
            assert play.log.events[1]["cause"] == "quota"

        run(scene())

    def test_a_probe_that_is_refused_for_another_reason_proves_nothing(self) -> None:
        """SES may look at the message before it counts: the next message probes again."""
        refused = Failed(Reply(554, "5.6.0", "x"), Cause.CONTENT, "x")

        async def scene() -> None:
            play = Scene(says=lambda each, _: refused if each.id == "bad" else QUOTA)
            await play.deliver(parcel())
            await asyncio.sleep(301)

            assert await play.deliver(parcel(name="bad")) == refused
            assert await play.deliver(parcel()) == QUOTA
            assert cause(await play.deliver(parcel())) == "quota"
            assert len(play.upstream.began) == 3
            assert play.log.names == ["quota_used_up"]

        run(scene())
