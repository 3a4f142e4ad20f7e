"""The suspension of a way to SES: who is believed, how long it lasts, and who ends it."""

from __future__ import annotations

from math import inf

import pytest

from relay.model import Cause, Deferred, Parcel, Reply
from relay.policy.suspension import DAILY_QUOTA, OUTAGE, Suspension

TROUBLE = Deferred(Reply(451, "4.4.1", "Amazon SES cannot be reached"), Cause.NETWORK, "refused")
MIDDLE = 0.5  # the chance that makes a pause neither shorter nor longer


def parcel(name: str) -> Parcel:
    """A parcel of a message of this name; two of one name are not the same parcel."""
    return Parcel(name, "i", "us-west-2", "api", "default", "a@b.example", ("c@d.example",), (bytearray(b"x"),), "arn")


def suspended(now: float = 0.0) -> Suspension:
    """Three messages have met trouble."""
    way = Suspension(OUTAGE)
    for name in "abc":
        way.trouble(parcel(name), TROUBLE, now, MIDDLE)
    return way


def test_three_messages_in_a_row_suspend_a_way() -> None:
    way = Suspension(OUTAGE)

    assert [way.trouble(parcel(name), TROUBLE, 5.0, MIDDLE) for name in "abc"] == [False, False, True]
    assert way.reason == TROUBLE
    assert way.opens_at == 6.0


def test_one_message_that_is_tried_again_and_again_suspends_nothing() -> None:
    """A message that a proxy between us and SES does not like is no outage."""
    way = Suspension(OUTAGE)

    assert not any(way.trouble(parcel("a"), TROUBLE, 0, MIDDLE) for _ in range(100))
    assert way.opens_at == -inf


def test_what_counts_may_be_something_else_than_messages() -> None:
    """Clients, say: many messages of one are one."""
    way = Suspension(OUTAGE)
    whose = ["a", "a", "a", "a", "b", "b", "c"]

    counted = [way.trouble(parcel(f"m{number}"), TROUBLE, 0, MIDDLE, who) for number, who in enumerate(whose)]
    assert counted == [False] * 6 + [True]


def test_an_answer_between_them_begins_the_count_anew() -> None:
    way = Suspension(OUTAGE)
    for name in ("a", "b"):
        way.trouble(parcel(name), TROUBLE, 0, MIDDLE)

    assert not way.answered(parcel("c"))
    assert not way.trouble(parcel("d"), TROUBLE, 0, MIDDLE)


def test_pauses_double_up_to_a_minute() -> None:
    """1, 2, 4 ... 60 seconds, each after a probe that failed."""
    way, now, pauses = suspended(), 0.0, []
    for number in range(9):
        pauses.append(way.opens_at - now)
        now = way.opens_at
        probe = parcel(f"probe {number}")
        way.begin(probe)
        assert way.trouble(probe, TROUBLE, now, MIDDLE)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.8), (1.0, 1.2)])
def test_pauses_are_spread_by_a_fifth(chance: float, pause: float) -> None:
    way = Suspension(OUTAGE)
    for name in "abc":
        way.trouble(parcel(name), TROUBLE, 0, chance)

    assert way.opens_at == pytest.approx(pause)


def test_while_the_probe_is_under_way_nobody_else_goes() -> None:
    way = suspended()
    way.begin(parcel("probe"))

    assert way.opens_at == inf


def test_what_had_gone_before_the_pause_neither_lengthens_nor_ends_it() -> None:
    """Of 32 that were under way, 29 fail later; one gets through on an old connection."""
    way = suspended()

    assert not way.trouble(parcel("late"), TROUBLE, 0.9, MIDDLE)
    assert not way.answered(parcel("lucky"))
    assert way.opens_at == 1.0


def test_only_the_very_probe_counts_and_not_another_parcel_of_its_message() -> None:
    way, probe = suspended(), parcel("probe")
    way.begin(probe)

    assert not way.answered(parcel("probe"))
    assert way.answered(probe)


def test_a_probe_that_gets_through_ends_it_all() -> None:
    """The next trouble begins from the start: three messages, one second."""
    way, probe = suspended(), parcel("probe")
    way.begin(probe)

    assert way.answered(probe)
    assert way.reason is None
    assert way.opens_at == -inf
    assert [way.trouble(parcel(name), TROUBLE, 100.0, MIDDLE) for name in "abc"] == [False, False, True]
    assert way.opens_at == 101.0


def test_a_probe_without_an_answer_makes_room_for_the_next() -> None:
    """It was cancelled, or its answer was lost: the pause is over all the same."""
    way, probe = suspended(), parcel("probe")
    way.begin(probe)
    way.unknown(parcel("somebody else"))
    assert way.opens_at == inf
    way.unknown(probe)

    assert way.opens_at == 1.0
    assert way.reason == TROUBLE


def test_the_daily_quota_suspends_at_once_for_five_minutes_each_time() -> None:
    quota, now = Suspension(DAILY_QUOTA), 0.0
    for number in range(3):
        probe = parcel(f"probe {number}")
        quota.begin(probe)
        assert quota.trouble(probe, TROUBLE, now, MIDDLE)
        assert quota.opens_at == now + 300
        now = quota.opens_at
