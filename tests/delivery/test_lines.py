"""Whose turn it is: the oldest of an identity first, identities in turn, few at a gate, one that asks while held."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import listener
from hypothesis import given
from hypothesis import strategies as st
from queue_scene import ANN, CLIENT, IDENTITY_REFUSED, SHOP

from relay.delivery.holds import Holds
from relay.delivery.leases import Lease
from relay.delivery.lines import AHEAD, REST_S, Flight, Lines
from relay.model import Envelope
from relay.policy.lanes import lane_below
from relay.policy.retrying import PROBES
from relay.spool.interface import Part, Spooled, State


def flight(name: str, number: int = 0, since: float = 0.0, region: str = "us-west-2", sender: str = SHOP) -> Flight:
    """A parcel of the identity `name` in line."""
    spooled = Spooled(
        number, f"{name}-{number}.1", f"{name}-{number}", 0.0, 0.0, CLIENT, Envelope(sender, (ANN,)), 1, State.QUEUED,
        Part((ANN,), 0.0),
    )  # fmt: skip
    return Flight(Lease(spooled, 900.0), listener.identity(arn_name=name, region=region), name, since)


def filled(*names: str) -> Lines:
    """Lines with parcels in the order of their numbers."""
    lines, counts = Lines(Holds()), Counter[str]()
    for name in names:
        counts[name] += 1
        lines.add(flight(name, counts[name]))
    return lines


def turns(lines: Lines, most: int = 1000, now: float = 0.0) -> list[Flight]:
    """Whose turns follow, each at its gate for no time."""
    gone: list[Flight] = []
    while len(gone) < most and (one := lines.next(now)) is not None:
        lines.came_through(one)
        gone.append(one)
    return gone


def names(flights: list[Flight]) -> str:
    return " ".join(one.identity.name for one in flights)


def test_identities_take_turns_and_within_one_the_oldest_goes_first() -> None:
    lines = filled("a", "a", "a", "b", "b", "c")
    gone = turns(lines)

    assert names(gone) == "a b c a b a"
    assert [one.lease.parcel.number for one in gone if one.identity.name == "a"] == [1, 2, 3]
    assert len(lines) == 0


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.lists(st.sampled_from("abcd+"), max_size=200))
def test_nobody_waits_for_more_than_one_turn_of_each_other(first: list[str], then: list[str]) -> None:
    """Whatever is added meanwhile: between two turns of one that has mail, no other has two."""
    lines = filled(*first)
    waiting = Counter(first)
    since: dict[str, Counter[str]] = {name: Counter() for name in waiting}
    for step in then:
        if step != "+":
            lines.add(flight(step, 1000))
            waiting[step] += 1
            since.setdefault(step, Counter())
            continue
        one = lines.next(0.0)
        if one is None:
            assert not waiting.total()
            continue
        lines.came_through(one)
        name = one.identity.name
        waiting[name] -= 1
        since[name] = Counter()
        for other, passed in since.items():
            if other != name and waiting[other]:
                passed[name] += 1
                assert passed[name] <= 1, f"{name} twice while {other} waits"
        since = {other: passed for other, passed in since.items() if waiting[other]}

    assert len(lines) == waiting.total()


def test_at_most_a_few_wait_at_each_gate() -> None:
    """What waits there goes before the mail that clients bring now; other gates are not held up by it."""
    lines = filled(*"a" * 10)
    at_gate = [lines.next(0.0) for _ in range(AHEAD)]
    assert all(at_gate)
    assert lines.next(0.0) is None

    lines.add(flight("b", 1))
    assert lines.next(0.0) is None
    lines.add(flight("c", 1, region="eu-west-1"))
    elsewhere = lines.next(0.0)
    assert elsewhere is not None
    assert elsewhere.identity.name == "c"


def test_who_has_come_through_makes_room_for_one_and_only_one() -> None:
    """However often it says so: a place counted twice would let ever more wait, one not counted fewer and fewer."""
    lines = filled(*"a" * 10)
    first, *_ = (lines.next(0.0) for _ in range(AHEAD))
    assert first is not None
    for _ in range(3):
        lines.came_through(first)

    assert lines.next(0.0) is not None
    assert lines.next(0.0) is None


def test_a_gate_that_sent_one_away_is_left_alone_for_a_moment() -> None:
    """It would send the whole queue away, one after the other."""
    lines = filled("a", "a", "b")
    lines.add(flight("c", 1, region="eu-west-1"))
    [first] = turns(lines, most=1)
    lines.rest(first.way, 10.0)

    assert names(turns(lines, now=10.0)) == "c"
    assert names(turns(lines, now=10.0 + REST_S)) == "b a"


def test_what_waited_for_long_is_taken_out_and_the_rest_keeps_its_place() -> None:
    lines = Lines(Holds())
    for number, since in enumerate([0.0, 10.0, 20.0]):
        lines.add(flight("a", number, since))
    lines.add(flight("b", 9, 5.0))

    old = list(lines.clear(before=10.0))
    assert [one.lease.parcel.number for one in old] == [0, 9]
    assert [one.lease.parcel.number for one in turns(lines)] == [1, 2]


def test_who_comes_back_goes_before_what_is_younger() -> None:
    """Given back and claimed again, it has the place that its age gives it."""
    lines = Lines(Holds())
    for number, age in enumerate([3.0, 2.0, 4.0, 3.0]):
        one = flight("a", number)
        one.lease.parcel = replace(one.lease.parcel, since=-age)
        lines.add(one)

    assert [one.lease.parcel.number for one in turns(lines)] == [2, 0, 3, 1]


def test_everything_is_taken_out_for_other_rules() -> None:
    lines = filled(*"aabbc")

    assert len(list(lines.clear())) == 5
    assert len(lines) == 0
    assert lines.next(0.0) is None


# What SES refuses

SENDERS = [f"{name}@example.com" for name in ("news", "web", "erp")]
PAUSE_S = PROBES.first_s


def hold(holds: Holds, name: str, *, identity: bool, now: float = 0.0) -> None:
    """Three messages were refused: of one sender, or each of another, so that the identity is held."""
    for number, sender in enumerate(SENDERS):
        one = flight(name, 900 + number, sender=sender if identity else SENDERS[0])
        holds.refused(one.origin, one.parcel, IDENTITY_REFUSED, now, 0.5)


def senders(flights: list[Flight]) -> str:
    return " ".join(one.lease.parcel.envelope.sender.partition("@")[0] for one in flights)


def test_a_refused_identity_is_held_and_the_others_go_on() -> None:
    holds = Holds()
    lines = Lines(holds)
    for name in "aabb":
        lines.add(flight(name))
    hold(holds, "a", identity=True)

    assert names(turns(lines)) == "b b"
    assert names(turns(lines, now=PAUSE_S)) == "a"


def test_who_is_held_keeps_nobody_behind_it_from_going() -> None:
    """Of the same identity, and younger."""
    holds = Holds()
    lines = Lines(holds)
    for number, sender in enumerate([SENDERS[0], SENDERS[1], SENDERS[0], SENDERS[2]]):
        lines.add(flight("a", number, sender=sender))
    hold(holds, "a", identity=False)

    assert senders(turns(lines)) == "web erp"
    assert senders(turns(lines, now=PAUSE_S)) == "news"
    assert len(lines) == 1


def test_one_parcel_asks_at_a_time() -> None:
    """When the pause is over one goes, and no other before its answer is there."""
    holds = Holds()
    lines = Lines(holds)
    for number in range(3):
        lines.add(flight("a", number))
    hold(holds, "a", identity=True)
    assert lines.next(PAUSE_S - 1) is None
    [probe] = turns(lines, now=PAUSE_S)

    assert not holds.is_off(probe.origin, probe.parcel)
    holds.refused(probe.origin, probe.parcel, IDENTITY_REFUSED, 400.0, 0.5)
    assert turns(lines, now=400.0) == []
    assert len(turns(lines, now=400.0 + PAUSE_S)) == 1


def test_who_was_refused_asks_after_those_that_were_not() -> None:
    """However old its mail is: else it would ask again and again, and be refused for itself again and again."""
    holds = Holds()
    lines = Lines(holds)
    hold(holds, "a", identity=True)
    for number in range(20):
        lines.add(flight("a", number, sender=SENDERS[number % 2]))
    lines.add(flight("a", 98, sender=SENDERS[2]))
    lines.add(flight("a", 99))
    asked = []
    for round_ in range(7):
        now = (round_ + 1) * PAUSE_S
        [probe] = turns(lines, now=now)
        asked.append(probe)
        holds.refused(probe.origin, probe.parcel, IDENTITY_REFUSED, now, 0.5)

    assert senders(asked) == "shop news web erp news web news"
    assert asked[0].lease.parcel.number == 99


def test_what_is_to_wait_elsewhere_is_taken_out_and_nothing_else() -> None:
    lines = Lines(Holds())
    mine = [flight("a", number, sender=SENDERS[0]) for number in range(2)]
    others = [flight("a", 8, sender=SENDERS[1]), flight("b", 9, sender=SENDERS[0])]
    for one in (*mine, *others):
        lines.add(one)

    assert lines.take_out(lane_below("a", CLIENT.name, SENDERS[0])) == mine
    assert lines.take_out(lane_below("a", CLIENT.name, SENDERS[0])) == []
    assert lines.take_out(lane_below("b", CLIENT.name, SENDERS[0])) == others[1:]
    assert lines.take_out("a") == others[:1]
    assert len(lines) == 0
