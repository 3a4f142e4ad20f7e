"""Whose mail is held: one client and sender by three messages, an identity by three such pairs, and nobody by less."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pace_parts import parcel
from queue_scene import IDENTITY_REFUSED

from relay.delivery import holds as module
from relay.delivery.holds import Holds
from relay.model import Parcel
from relay.policy.lanes import lane_below
from relay.policy.retrying import PROBES

IDENTITY, OTHER = "example.com", "example.net"
NEWS, SHOP, ERP = (lane_below(IDENTITY, client, "x@example.com") for client in ("news", "shop", "erp"))
PAUSE_S = PROBES.first_s
MIDDLE = 0.5


def refuse(holds: Holds, lane: str, *names: str, now: float = 0.0) -> list[str]:
    """SES refuses messages of a lane; what is held after the last that was not before it."""
    held: list[str] = []
    for name in names:
        one = parcel(name=name)
        holds.begin(lane, one)
        held = holds.refused(lane, one, IDENTITY_REFUSED, now, MIDDLE)
    return held


def held_pair(now: float = 0.0) -> Holds:
    """What `news` sends is held, and the identity is not."""
    holds = Holds()
    refuse(holds, NEWS, "a", "b", "c", now=now)
    return holds


def held_identity(now: float = 0.0) -> Holds:
    """The identity is held by one message of each of three pairs."""
    holds = Holds()
    for lane in (NEWS, SHOP, ERP):
        refuse(holds, lane, lane, now=now)
    return holds


# What holds


def test_three_messages_of_a_pair_hold_it_and_nobody_else() -> None:
    holds = Holds()

    assert [refuse(holds, NEWS, name) for name in "abc"] == [[], [], [NEWS]]
    assert [holds.is_held(lane) for lane in (NEWS, SHOP, IDENTITY, OTHER)] == [True, False, False, False]
    assert (holds.opens_at(NEWS), holds.opens_at(SHOP)) == (PAUSE_S, -inf)


def test_one_message_holds_nothing_however_often_it_is_tried() -> None:
    holds = Holds()

    assert refuse(holds, NEWS, *"aaaaaaaaaa") == []
    assert not holds.is_held(NEWS)


def test_the_parcels_of_a_large_message_are_one_message() -> None:
    holds = Holds()

    assert refuse(holds, NEWS, "a.1", "a.2", "a.3", "a.4") == []
    assert refuse(holds, NEWS, "b.1", "c.1") == [NEWS]


def test_three_pairs_in_a_row_hold_the_identity() -> None:
    holds = Holds()

    assert [refuse(holds, lane, lane) for lane in (NEWS, SHOP, ERP)] == [[], [], [IDENTITY]]
    assert holds.is_held(lane_below(IDENTITY, "who was never refused", "y@example.com"))
    assert not holds.is_held(OTHER)
    assert not any(map(holds.is_held_itself, (NEWS, SHOP, ERP)))


def test_one_pair_holds_no_identity_however_many_messages_it_has() -> None:
    holds = Holds()
    refuse(holds, NEWS, *(f"m{number}" for number in range(100)))

    assert not holds.is_held(IDENTITY)


def test_what_gets_through_between_them_begins_the_count_anew() -> None:
    holds = Holds()
    refuse(holds, NEWS, "a", "b")
    refuse(holds, SHOP, "c", "d")
    assert holds.taken(SHOP) == []

    assert refuse(holds, ERP, "e") == []
    assert refuse(holds, SHOP, "f") == []
    assert refuse(holds, NEWS, "g") == [NEWS]


def test_who_is_refused_while_others_get_through_never_holds_them() -> None:
    """Three pairs that SES refuses for themselves, all night long: they have held the identity once, if ever."""
    holds = held_identity()
    good = lane_below(IDENTITY, "good", "good@example.com")
    assert holds.taken(good) == [IDENTITY]

    for number in range(20):
        for lane in (NEWS, SHOP, ERP):
            refuse(holds, lane, f"m{number}", now=number * 1000.0)
    assert not holds.is_held(IDENTITY)
    assert all(map(holds.is_held_itself, (NEWS, SHOP, ERP)))


def test_who_got_through_once_counts_again() -> None:
    holds = held_identity()
    for lane in (NEWS, SHOP, ERP):
        holds.taken(lane)

    assert [refuse(holds, lane, lane) for lane in (NEWS, SHOP, ERP)] == [[], [], [IDENTITY]]


# While held


@pytest.mark.parametrize(("holds", "lane"), [(held_pair(), NEWS), (held_identity(), IDENTITY)])
def test_one_asks_at_a_time(holds: Holds, lane: str) -> None:
    """When its pause is over one goes, and no other before its answer is there; then there is another pause."""
    probe = parcel(name="probe")
    assert holds.next_opening(0.0) == PAUSE_S
    holds.begin(NEWS, probe)
    assert (holds.opens_at(lane), holds.next_opening(0.0)) == (inf, inf)

    assert holds.refused(NEWS, probe, IDENTITY_REFUSED, 400.0, MIDDLE) == []
    assert holds.opens_at(lane) == 400.0 + PAUSE_S


def test_what_had_gone_before_does_not_make_it_longer() -> None:
    holds = held_pair()
    holds.refused(NEWS, parcel(name="late"), IDENTITY_REFUSED, 200.0, MIDDLE)

    assert holds.opens_at(NEWS) == PAUSE_S


@pytest.mark.parametrize("make", [held_pair, held_identity])
def test_a_probe_that_says_nothing_lets_another_ask(make: type[Holds]) -> None:
    holds = make()
    probe = parcel()
    holds.begin(NEWS, probe)
    holds.unknown(NEWS, parcel())
    assert holds.opens_at(NEWS) == inf
    holds.unknown(NEWS, probe)

    assert holds.opens_at(NEWS) == PAUSE_S


def test_a_probe_asks_for_its_pair_and_for_the_identity() -> None:
    """Both are held: one refusal makes both wait again."""
    holds = held_identity()
    for name in "abc":
        holds.refused(NEWS, parcel(name=name), IDENTITY_REFUSED, 100.0, MIDDLE)
    assert holds.opens_at(NEWS) == 100.0 + PAUSE_S
    probe = parcel()
    holds.begin(NEWS, probe)
    assert holds.opens_at(SHOP) == inf
    holds.refused(NEWS, probe, IDENTITY_REFUSED, 500.0, MIDDLE)

    assert [holds.opens_at(lane) for lane in (NEWS, SHOP)] == [500.0 + PAUSE_S] * 2


def test_only_the_probe_goes_on_of_what_waits_at_the_gate() -> None:
    holds = Holds()
    before = parcel()
    holds.begin(NEWS, before)
    assert not holds.is_off(NEWS, before)
    refuse(holds, NEWS, "a", "b", "c")
    assert holds.is_off(NEWS, before)
    assert not holds.is_off(SHOP, before)
    probe = parcel()
    holds.begin(NEWS, probe)

    assert (holds.is_off(NEWS, probe), holds.is_off(NEWS, before)) == (False, True)


# What ends it


def test_a_message_of_a_pair_releases_it_and_the_identity() -> None:
    holds = held_identity()
    for name in "abc":
        holds.refused(NEWS, parcel(name=name), IDENTITY_REFUSED, 0.0, MIDDLE)

    assert holds.taken(NEWS) == [IDENTITY, NEWS]
    assert not holds.is_held(NEWS)
    assert holds.taken(NEWS) == []


def test_a_message_of_another_pair_releases_the_identity_and_not_the_pair() -> None:
    """And says nothing of pairs that were not held."""
    holds = held_identity()
    for name in "abc":
        holds.refused(NEWS, parcel(name=name), IDENTITY_REFUSED, 0.0, MIDDLE)

    assert holds.taken(SHOP) == [IDENTITY]
    assert [holds.is_held(lane) for lane in (NEWS, SHOP, IDENTITY)] == [True, False, False]


def test_other_rules_hold_nobody() -> None:
    holds = held_identity()
    holds.clear()

    assert not holds.is_held(NEWS)
    assert holds.next_opening(0.0) == inf


# How many


def test_the_next_opening_is_one_that_is_still_to_come() -> None:
    """One that is held without any mail left must not be looked at again and again at once."""
    holds = held_pair()
    refuse(holds, SHOP, "d", "e", "f", now=50.0)

    openings = [holds.next_opening(now) for now in (0.0, PAUSE_S, PAUSE_S + 50.0)]
    assert openings == [PAUSE_S, PAUSE_S + 50.0, inf]
    assert Holds().next_opening(0.0) == inf


def test_endless_senders_take_no_endless_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender of its own for each message, as mailing lists have; who is refused all the time is not forgotten."""
    monkeypatch.setattr(module, "MOST", 50)
    holds = held_pair()
    for number in range(1000):
        refuse(holds, lane_below(IDENTITY, "list", f"bounce+{number}@example.com"), f"m{number}", now=10.0)
        if not number % 20:
            refuse(holds, NEWS, "again", now=10.0)
        assert len(holds._holds) <= 50

    assert holds.is_held(IDENTITY)
    assert holds.is_held_itself(NEWS)


lanes = st.sampled_from([NEWS, SHOP, ERP, lane_below(OTHER, "news", "x@example.net")])
ends = st.sampled_from(["refused", "taken", "unknown"])


@given(st.lists(st.tuples(lanes, ends, st.floats(0, 400)), max_size=80))
def test_whatever_comes_a_held_lane_opens_again_in_time(story: Iterable[tuple[str, str, float]]) -> None:
    """With its probe's end at the latest; and the first that is taken ends it."""
    holds, now = Holds(), 0.0
    for number, (lane, end, seconds) in enumerate(story):
        now += seconds
        assert holds.opens_at(lane) <= now + PAUSE_S * 1.2
        one = parcel(name=f"m{number}")
        if holds.opens_at(lane) <= now:
            holds.begin(lane, one)
            assert not holds.is_off(lane, one)
        conclude(holds, lane, one, end, now)
        assert end != "taken" or not holds.is_held(lane)


def conclude(holds: Holds, lane: str, one: Parcel, end: str, now: float) -> None:
    if end == "taken":
        holds.taken(lane)
    elif end == "refused":
        holds.refused(lane, one, IDENTITY_REFUSED, now, MIDDLE)
    else:
        holds.unknown(lane, one)
