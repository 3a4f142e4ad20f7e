"""Quota and rate, by a clock of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from relay.simulator.usage import Usage

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
ME, EAST, WEST = "111122223333", "us-east-1", "eu-west-1"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def people(number: int, domain: str = "example.net") -> tuple[str, ...]:
    return tuple(f"p{one}@{domain}" for one in range(number))


def test_the_day_rolls() -> None:
    """Each send counts for 24 hours, to the minute, and not longer."""
    usage = Usage()
    usage.count(ME, EAST, 100, people(3), NOW)
    usage.count(ME, EAST, 100, people(2), after(3600))

    assert [usage.sent(ME, EAST, after(hours * 3600)) for hours in (0, 1, 23.9)] == [5, 5, 5]
    assert usage.sent(ME, EAST, after(24 * 3600 + 60)) == 2
    assert usage.sent(ME, EAST, after(25 * 3600 + 60)) == 0


def test_accounts_and_regions_have_their_own() -> None:
    """Both quota and rate."""
    usage = Usage()
    usage.count(ME, EAST, 1, people(3), NOW)

    assert [usage.sent(ME, region, NOW) for region in (EAST, WEST)] == [3, 0]
    assert [usage.room(ME, region, 1, NOW) for region in (EAST, WEST)] == [False, True]
    assert usage.sent("999999999999", EAST, NOW) == 0


def test_the_mailbox_simulator_counts_for_the_rate_only() -> None:
    """In whatever case it is written."""
    usage = Usage()
    usage.count(ME, EAST, 1, ("Success@Simulator.AmazonSES.com",), NOW)

    assert usage.sent(ME, EAST, NOW) == 0
    assert not usage.room(ME, EAST, 1, NOW)


@pytest.mark.parametrize("rate", [1.0, 14.0, 50.0])
def test_the_rate_is_kept_over_time(rate: float) -> None:
    """Whoever sends whenever there is room sends the rate, and a second's worth at the start."""
    usage, sent = Usage(), 0
    for tick in range(10_000):
        now = after(tick / 1000)
        if usage.room(ME, EAST, rate, now):
            usage.count(ME, EAST, rate, people(1), now)
            sent += 1

    assert rate * 10 <= sent <= rate * 11 + 1


def test_a_big_message_goes_and_is_paid_for_later() -> None:
    """Fifty recipients at 14 a second: at once, and then nothing for what it was too much."""
    usage = Usage()
    assert usage.room(ME, EAST, 14, NOW)
    usage.count(ME, EAST, 14, people(50), NOW)

    assert not usage.room(ME, EAST, 14, after(36 / 14))
    assert usage.room(ME, EAST, 14, after(37 / 14))


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    """Room does not grow by that."""
    usage = Usage()
    usage.count(ME, EAST, 1, people(1), NOW)

    assert not usage.room(ME, EAST, 1, after(-10))


def test_all_is_forgotten_on_request() -> None:
    """As if nobody had sent anything."""
    usage = Usage()
    usage.count(ME, EAST, 1, people(5), NOW)
    usage.clear()

    assert usage.sent(ME, EAST, NOW) == 0
    assert usage.room(ME, EAST, 1, NOW)
