"""The bucket: how much may go at once, how the rate falls and rises, and what it must never do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.pacing import FLOOR, HALVED_EVERY_S, RECOVERY, START, Bucket


def seconds_for(bucket: Bucket, parcels: list[int], now: float = 0.0) -> list[float]:
    """When each of these parcels goes, one after the other and none later than it may."""
    times = []
    for recipients in parcels:
        now += bucket.wait_s(recipients, now)
        bucket.take(recipients, now)
        times.append(now)
    return times


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    """Half a second's worth is saved up; from then on one goes each 1/14 s."""
    times = seconds_for(Bucket(0, 14), [1] * 21)

    assert times[:7] == [0] * 7
    assert times[7:] == pytest.approx([n / 14 for n in range(1, 15)])


def test_a_full_parcel_goes_at_once_at_any_rate_and_the_next_pays_for_it() -> None:
    """50 recipients at 1 a second: no wait, then 50 seconds of debt."""
    assert seconds_for(Bucket(0, 1), [50, 1, 50]) == pytest.approx([0, 50, 51])


def test_who_comes_later_waits_for_those_ahead() -> None:
    bucket = Bucket(0, 10)
    bucket.take(5, 0)

    assert bucket.wait_s(1, 0, ahead=9) == pytest.approx(1.0)


def test_nothing_known_begins_at_10_a_second() -> None:
    assert Bucket(0).rate(0) == START == 10


def test_throttling_halves_at_most_every_2_seconds_down_to_1() -> None:
    """A storm of answers to what was under way counts once."""
    bucket = Bucket(0, 14)
    halvings = [bucket.throttled(tenth / 10) for tenth in range(200)]

    assert [tenth for tenth, halved in enumerate(halvings) if halved] == [20 * n for n in range(10)]
    assert bucket.rate(18.0) >= FLOOR


def test_after_throttling_nothing_is_left_of_the_credit() -> None:
    """SES has just said that there is none."""
    bucket = Bucket(0, 14)
    bucket.throttled(0)

    assert bucket.wait_s(1, 0) == pytest.approx(1 / 7, rel=0.02)  # a little less, since the rate recovers meanwhile


def test_the_rate_recovers_by_a_tenth_per_second_up_to_the_limit() -> None:
    bucket = Bucket(0, 14)
    bucket.throttled(0)

    assert [bucket.rate(second) for second in (0, 1, 2)] == pytest.approx([7, 7.7, 8.47])
    assert bucket.rate(7.2) < 14
    assert bucket.rate(7.3) == bucket.rate(1e9) == 14


def test_a_rate_below_the_floor_is_kept() -> None:
    """Somebody who configures less than 1 a second means it."""
    bucket = Bucket(0, 0.2)
    bucket.throttled(0)

    assert bucket.rate(0) == 0.2
    assert seconds_for(bucket, [1, 1]) == pytest.approx([5, 10])


def test_a_ceiling_is_never_exceeded_however_much_succeeds() -> None:
    bucket = Bucket(0, 20)
    for number in range(1000):
        bucket.wait_s(1, number / 10)
        bucket.delivered(1, number / 10)

    assert bucket.rate(100) == 20


class TestLearning:
    """Without a limit, success at full rate makes the bucket bolder, and throttling teaches it."""

    def send(self, bucket: Bucket, begin: float, seconds: float, limit: float = 1e9) -> float:
        """Send as much as the bucket permits to an SES with this limit; returns the highest rate."""
        now, highest = begin, 0.0
        while now < begin + seconds:
            now += bucket.wait_s(1, now)
            bucket.take(1, now)
            highest = max(highest, bucket.rate(now))
            if bucket.rate(now) <= limit:
                bucket.delivered(1, now)
            else:
                bucket.throttled(now)
        return highest

    def test_it_grows_by_a_tenth_per_second_while_nothing_is_rejected(self) -> None:
        bucket = Bucket(0)
        self.send(bucket, 0, 20)

        assert bucket.rate(20) == pytest.approx(10 * RECOVERY**20, rel=0.1)

    def test_it_does_not_grow_when_the_rate_is_not_used_up(self) -> None:
        """An idle night is no proof of anything, nor is a parcel now and then."""
        bucket = Bucket(0)
        for minute in range(600):
            assert bucket.wait_s(1, 60.0 * minute) == 0
            bucket.take(1, 60.0 * minute)
            bucket.delivered(1, 60.0 * minute)

        assert bucket.rate(36_000) == START

    def test_it_comes_back_quickly_to_what_was_good_and_goes_on_slowly(self) -> None:
        """Throttled at a rate: half of it at once, nine tenths 6.2 s later, and 5 % more in 10 s of sending."""
        bucket = Bucket(0)
        top = self.send(bucket, 0, 10)
        bucket.throttled(10.1)

        assert bucket.rate(10.1) == pytest.approx(top / 2, rel=0.02)
        assert bucket.rate(16.0) < 0.9 * top
        assert bucket.rate(16.4) == bucket.rate(1e6) == pytest.approx(0.9 * top, rel=0.02)
        self.send(bucket, 20, 10)
        assert bucket.rate(30) == pytest.approx(0.9 * top * 1.05, rel=0.02)

    def test_what_was_learnt_is_forgotten_when_it_is_plainly_wrong(self) -> None:
        """A quota that was raised tenfold is used within two minutes of sending."""
        bucket = Bucket(0)
        self.send(bucket, 0, 60, limit=14)
        self.send(bucket, 60, 120, limit=140)

        assert bucket.rate(180) > 60

    def test_a_storm_does_not_make_it_forget_what_was_good(self) -> None:
        """Ten seconds of rejections leave a good rate above the floor to come back to."""
        bucket = Bucket(0)
        for second in range(0, 10, 2):
            bucket.throttled(second)

        assert bucket.rate(8) == FLOOR
        assert bucket.rate(1000) > 1.4

    def test_a_limit_that_becomes_known_is_used_at_once(self) -> None:
        bucket = Bucket(0)
        bucket.permit(200, 5)
        assert bucket.rate(5) == 200
        bucket.permit(14, 6)
        assert bucket.rate(6) == 14

    def test_a_limit_that_becomes_known_after_throttling_is_approached(self) -> None:
        """Somebody else uses a part of the account, so that all of it at once would be too much."""
        bucket = Bucket(0)
        bucket.throttled(0)
        bucket.permit(200, 1)

        assert bucket.rate(1) < 6
        assert bucket.rate(60) == 200

    def test_the_same_limit_again_changes_nothing(self) -> None:
        bucket = Bucket(0, 14)
        bucket.throttled(0)
        bucket.permit(14, 0)

        assert bucket.rate(0) == 7

    def test_without_the_limit_it_goes_on_learning_from_there(self) -> None:
        bucket = Bucket(0, 50)
        bucket.permit(None, 1)

        assert bucket.rate(1) == 50
        self.send(bucket, 1, 5)
        assert bucket.rate(6) > 60


def after_waiting(bucket: Bucket, recipients: int, now: float) -> float:
    """While the rate recovers, the full bucket that a big parcel waits for grows a little too."""
    for _ in range(8):
        now += bucket.wait_s(recipients, now)
    assert bucket.wait_s(recipients, now) == 0
    return now


STEPS = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 50), st.sampled_from(["delivered", "throttled", "nothing"])),
    max_size=60,
)  # fmt: skip
LIMITS = st.one_of(st.none(), st.floats(0.01, 2000))


@given(LIMITS, STEPS)
def test_any_history_keeps_the_promises(limit: float | None, steps: list[tuple[float, int, str]]) -> None:
    """After its wait the parcel may go; debt is never above 50; the rate stays between floor and limit."""
    bucket, now = Bucket(0.0, limit), 0.0
    for pause, recipients, outcome in steps:
        now += pause
        wait_s = bucket.wait_s(recipients, now)
        assert 0 <= wait_s < 50 / bucket.rate(now) + 1
        now = after_waiting(bucket, recipients, now + wait_s)
        bucket.take(recipients, now)
        assert bucket.wait_s(1, now) <= 50.001 / bucket.rate(now)
        if outcome == "delivered":
            bucket.delivered(recipients, now)
        elif outcome == "throttled":
            bucket.throttled(now)
        assert bucket.rate(now) >= min(FLOOR, limit or FLOOR) * 0.999
        assert limit is None or bucket.rate(now) <= limit


@given(st.floats(1, 500), STEPS)
def test_no_window_of_time_gets_more_than_rate_and_burst(limit: float, steps: list[tuple[float, int, str]]) -> None:
    """Between any two parcels, what went is at most the time's worth, the burst and one parcel of debt."""
    bucket, now = Bucket(0.0, limit), 0.0
    sent: list[tuple[float, int]] = []
    for pause, recipients, _ in steps:
        now += pause / 30
        now += bucket.wait_s(recipients, now)
        bucket.take(recipients, now)
        sent.append((now, recipients))
    burst = max(1.0, limit / 2)
    for first, (begin, _) in enumerate(sent):
        for last, (end, recipients) in enumerate(sent[first:], first):
            went = sum(n for _, n in sent[first : last + 1])
            assert went <= (end - begin) * limit + burst + max(0, recipients - min(recipients, burst)) + 0.01


@given(LIMITS, st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_halvings_are_two_seconds_apart(limit: float | None, pauses: list[float]) -> None:
    bucket, now, halved = Bucket(0.0, limit), 0.0, []
    for pause in pauses:
        now += pause
        if bucket.throttled(now):
            halved.append(now)

    assert all(later - earlier >= HALVED_EVERY_S for earlier, later in pairwise(halved))


def test_a_clock_that_stands_still_or_slips_back_does_no_harm() -> None:
    bucket = Bucket(100.0, 10)
    bucket.take(5, 100)

    assert bucket.wait_s(1, 99.9) == pytest.approx(0.1)
    assert bucket.wait_s(1, 100) == pytest.approx(0.1)
