"""The pace against a simulated SES with a true quota: throughput, rejections, recovery, and many relays at once.

The numbers in the assertions are what is promised, not what comes out: there is room between the two.
"""

from __future__ import annotations

import pytest
from ses_quota import Play, Ses, Stormy, Strict, Tolerant

from relay.policy.pacing import Bucket


def one(ses: Ses, limit: float | None = None, *, recipients: int = 1) -> Play:
    """A relay that has always something to send."""
    return Play(ses, [Bucket(0, limit)], recipients=recipients)


@pytest.mark.parametrize("recipients", [1, 3, 10, 50])
def test_a_known_quota_is_used_and_never_exceeded(recipients: int) -> None:
    """14 a second for two minutes: at least 97 % of it, and not one rejection."""
    record = one(Tolerant(14), 14, recipients=recipients).until(120)

    assert record.rate(0, 120) > 0.97 * 14
    assert not record.rejected


@pytest.mark.parametrize(("recipients", "share"), [(1, 0.93), (10, 0.9), (50, 0.8)])
def test_a_quota_is_learnt(recipients: int, share: float) -> None:
    """Nothing known of 14 a second: found within a minute; then one rejection in 20 seconds or fewer."""
    record = one(Tolerant(14), recipients=recipients).until(300)

    assert record.rate(60, 300) > share * 14
    assert record.rejections(60, 300) < 240 / 15


def test_a_large_quota_is_learnt() -> None:
    """From 10 to 200 a second in less than 40 seconds, with two rejections a second at worst."""
    record = one(Tolerant(200)).until(100)

    assert record.rate(40, 100) > 0.9 * 200
    assert record.rejections(0, 100) < 0.01 * len(record.taken)


def test_a_burst_after_rest_is_not_rejected() -> None:
    """An hour of silence, then as much as there is: what was saved up is within what SES tolerates."""
    bucket = Bucket(0, 14)
    bucket.take(1, 0)
    bucket.wait_s(1, 3600)
    record = Play(Tolerant(14), [bucket]).until(60)

    assert not record.rejected


@pytest.mark.parametrize(("limit", "share"), [(14, 0.9), (None, 0.8)])
def test_an_ses_that_tolerates_no_burst_at_all(limit: float | None, share: float) -> None:
    """If SES counted calendar seconds, we would be a little slower, and hardly ever rejected."""
    record = one(Strict(14), limit).until(180)

    assert record.rate(60, 180) > share * 14
    assert record.rejections(60, 180) < 12


def test_the_sandbox() -> None:
    """One recipient a second and nothing saved up: jitter alone rejects some, and half of it is used at least."""
    record = one(Tolerant(1), 1).until(300)

    assert record.rate(0, 300) > 0.5


def test_a_ceiling_below_the_quota_is_kept() -> None:
    record = one(Tolerant(200), 50).until(60)

    assert 0.97 * 50 < record.rate(5, 60) < 1.01 * 50
    assert not record.rejected


def test_a_ceiling_above_the_quota_adapts() -> None:
    """Configured 50, permitted 14: the whole quota is used, and one call in twenty is rejected at most."""
    record = one(Tolerant(14), 50).until(120)

    assert record.rate(10, 120) > 0.95 * 14
    assert record.rejections(10, 120) < 0.05 * 14 * 110


def test_a_storm_is_ridden_out() -> None:
    """SES rejects everything for 20 seconds: few calls meanwhile, and all of the quota 30 seconds later."""
    ses = Stormy(14)
    ses.storm = (30, 50)
    record = one(ses, 14).until(120)

    assert record.rejections(30, 50) < 3 * 14  # at full rate it would have been 280
    assert record.rejections(36, 50) < 1.5 * 14
    assert record.rate(80, 120) > 0.97 * 14
    assert record.rejections(52, 120) == 0


def test_after_one_rejection_the_loss_is_small() -> None:
    """Half the rate at worst, back within 8 seconds."""
    bucket = Bucket(0, 14)
    play = Play(Tolerant(14), [bucket])
    play.until(20)
    bucket.throttled(20)
    record = play.until(60)

    assert record.rate(20, 28) > 0.6 * 14
    assert record.rate(28, 60) > 0.97 * 14


@pytest.mark.parametrize("quota", [14, 100])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("relays", [1, 2, 5, 10, 20, 50])
def test_many_relays_share_an_account(relays: int, known: bool, quota: int) -> None:
    """None knows of the others, and all want everything.

    Together they get the quota, in every five seconds; nobody starves, nobody takes all. Few calls are rejected
    unless the fair share is below the floor of 1 a second, where SES has to reject the rest.
    """
    buckets = [Bucket(0, quota if known else None) for _ in range(relays)]
    record = Play(Tolerant(quota), buckets).until(150)
    windows = [record.rate(begin, begin + 5) / quota for begin in range(50, 150, 5)]
    shares = record.shares(50, 150)

    assert record.rate(50, 150) > 0.9 * quota
    assert min(windows) > 0.6
    assert max(windows) < 1.25
    assert len(shares) == relays
    assert shares[-1] < 8 * shares[0]
    rejected = record.rejections(50, 150) / 100
    assert rejected < max(0.25 * quota, relays - 0.5 * quota)


def test_relays_do_not_swing_together() -> None:
    """Ten that began at one moment and were all rejected at one moment: their sum stays near the quota afterwards."""
    buckets = [Bucket(0, 100) for _ in range(10)]
    play = Play(Tolerant(100), buckets)
    play.until(30)
    sums = []
    for second in range(30, 120):
        play.until(second)
        sums.append(sum(bucket.rate(second) for bucket in buckets))

    assert min(sums) > 70
    assert max(sums) < 200


def test_a_relay_that_comes_late_gets_its_share() -> None:
    """One has the whole account, the other begins at the floor: soon neither has much more than the other."""
    old, late = Bucket(0, 50), Bucket(0, 50)
    for second in range(0, 12, 2):
        late.throttled(second - 12)
    record = Play(Tolerant(50), [old, late]).until(120)
    shares = record.shares(60, 120)

    assert shares[1] < 3 * shares[0]
