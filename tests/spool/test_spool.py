"""The spool: what goes in comes out, for whoever holds the lease, until it is settled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from spool_parts import CLIENT, EVERYTHING, LATER, NEVER, contents_now, everything, mail, opened, posting

from relay.model import Cause, Envelope
from relay.policy.patterns import PatternIndex, check_pattern
from relay.policy.retrying import LOST_APART_S
from relay.spool.interface import Action, Lane, Part, Posting, Query, Spool, Spooled, Standing, State, Tally, Total
from relay.spool.sqlite import SqliteSpool

TWO = ("a@customer.example", "b@customer.example")


async def claim_all(spool: SqliteSpool, lane: str = "", now: float = 1e9, until: float = 2e9) -> tuple[Spooled, ...]:
    return await spool.claim(lane, now, until, 1000)


async def test_it_is_an_engine(tmp_path: Path) -> None:
    """Of the interface that the relay knows; mypy checks the rest."""
    async with opened(tmp_path) as engine:
        spool: Spool = engine

        assert spool.standing == Standing(trusted=True, trouble=None, waiting_s=0.0)


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 3_000_000])
async def test_a_mail_comes_out_as_it_went_in(tmp_path: Path, size: int) -> None:
    """Envelope, client, content and what has been tried, also after the process has ended."""
    envelope = Envelope("app@example.com", TWO, frozenset(TWO[:1]))
    content = (b"\x00\xff\r\n" * (size // 4 + 1))[:size]
    one = mail(envelope=envelope, content=content)
    part = Part(TWO, 7.5, "example.com", attempts=1, lost=1, warned=True, last=LATER)
    async with opened(tmp_path) as spool:
        (put,) = await spool.put(posting(one, part))

    async with opened(tmp_path) as spool:
        (found,) = await spool.inspect(EVERYTHING)
        kept = await spool.content(one.id)

    assert found == put
    assert (found.mail, found.arrived, found.since, found.client) == (one.id, one.arrived, one.arrived, CLIENT)
    assert (found.envelope, found.size, found.state, found.part) == (envelope, size, State.QUEUED, part)
    assert kept == content


async def test_each_part_of_a_mail_is_a_parcel(tmp_path: Path) -> None:
    """Only those that were put: the others have been delivered already, or never will be."""
    envelope = Envelope("app@example.com", (*TWO, "c@customer.example"), frozenset(["a@customer.example"]))
    one = mail(envelope=envelope)
    async with opened(tmp_path) as spool:
        put = await spool.put(posting(one, Part(TWO[:1], 1.0), Part(TWO[1:], 2.0)))

        assert [parcel.id for parcel in put] == [f"{one.id}.1", f"{one.id}.2"]
        assert [parcel.envelope.recipients for parcel in put] == [TWO[:1], TWO[1:]]
        assert [parcel.envelope.silent for parcel in put] == [frozenset(TWO[:1]), frozenset()]


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (Part((), 1.0),),
        (Part(("stranger@customer.example",), 1.0),),
        (Part(TWO[:1], 1.0), Part(TWO, 1.0)),
    ],
)
async def test_parts_that_are_none_of_the_mail_are_refused(tmp_path: Path, parts: tuple[Part, ...]) -> None:
    async with opened(tmp_path) as spool:
        with pytest.raises(ValueError, match="recipients"):
            await spool.put(Posting(mail(b"x", *TWO), parts))

        assert await everything(spool) == {}


async def test_one_id_is_one_mail(tmp_path: Path) -> None:
    """A second put of the same mail is our own mistake, and takes no other with it."""
    one, other = mail(), mail()
    async with opened(tmp_path) as spool:
        first, second, third = await asyncio.gather(
            spool.put(posting(one)), spool.put(posting(one)), spool.put(posting(other)), return_exceptions=True
        )

        assert isinstance(first, tuple)
        assert isinstance(second, ValueError)
        assert isinstance(third, tuple)
        assert set(await everything(spool)) == {f"{one.id}.1", f"{other.id}.1"}


async def test_only_what_is_due_in_the_lane_is_claimed_the_longest_due_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for lane, due in (("a", 30.0), ("a", 10.0), ("b", 5.0), ("a", 20.0), ("a", 99.0)):
            one = mail()
            await spool.put(posting(one, Part(one.envelope.recipients, due, lane)))

        first = await spool.claim("a", 50.0, 500.0, 2)
        rest = await spool.claim("a", 50.0, 500.0, 2)

        assert [(one.part.lane, one.part.due, one.part.attempts) for one in (*first, *rest)] == [("a", 500.0, 1)] * 3
        numbers = [one.number for one in (*first, *rest)]
        assert numbers == [2, 4, 1]
        assert await spool.claim("a", 50.0, 500.0, 2) == ()


async def test_a_lease_ends_by_itself_and_its_ticket_is_void_then(tmp_path: Path) -> None:
    """Nothing waits longer than a lease, and two never end the same delivery."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await spool.claim("", 100.0, 200.0, 10)

        assert await spool.claim("", 199.0, 300.0, 10) == ()
        (theirs,) = await spool.claim("", 200.0, 300.0, 10)
        assert theirs.part.attempts == 2
        assert not await spool.settle(mine)
        assert not await spool.reschedule(mine, [mine.part])
        assert not await spool.renew(mine, 900.0)
        assert len(await everything(spool)) == 1
        assert await spool.settle(theirs)
        assert await everything(spool) == {}


async def test_a_lease_may_end_late_while_nobody_else_wants_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await spool.claim("", 100.0, 200.0, 10)

        assert await spool.renew(mine, 900.0)
        assert await spool.claim("", 500.0, 600.0, 10) == ()
        assert await spool.settle(mine)


async def test_a_mail_may_be_leased_to_whoever_puts_it(tmp_path: Path) -> None:
    """The client is answered while the attempt goes on; its end settles the parcel."""
    one = mail(b"x", *TWO)
    async with opened(tmp_path) as spool:
        first, second = await spool.put(posting(one, Part(TWO[:1], 1.0), Part(TWO[1:], 1.0), leased=500.0))

        assert await claim_all(spool, now=499.0) == ()
        assert await spool.settle(first)
        assert await spool.reschedule(second, [replace(second.part, due=600.0, attempts=1, last=LATER)])
        (left,) = await spool.inspect(EVERYTHING)
        assert (left.part.due, left.part.attempts, left.part.last) == (600.0, 1, LATER)


async def test_a_parcel_without_a_ticket_moves_nothing(tmp_path: Path) -> None:
    """What inspect shows is for looking at."""
    async with opened(tmp_path) as spool:
        (seen,) = await spool.put(posting(mail()))

        assert seen.ticket == 0
        assert not await spool.settle(seen)
        assert not await spool.reschedule(seen, [seen.part])
        assert len(await everything(spool)) == 1


@pytest.mark.parametrize("size", [10, 5000])
async def test_the_content_stays_until_the_last_parcel_is_settled(tmp_path: Path, size: int) -> None:
    one = mail(b"x" * size, *TWO)
    async with opened(tmp_path) as spool:
        await spool.put(posting(one, Part(TWO[:1], 1.0), Part(TWO[1:], 1.0)))
        first, second = await claim_all(spool)

        await spool.settle(first)
        assert await spool.content(one.id) == one.content
        await spool.settle(second)
        assert await spool.content(one.id) is None
        assert await contents_now(spool, tmp_path) == []


async def test_a_rescheduled_parcel_waits_in_its_new_lane(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await claim_all(spool)

        assert await spool.reschedule(mine, [replace(mine.part, due=300.0, lane="other", lost=1, last=LATER)])

        (found,) = await spool.inspect(EVERYTHING)
        assert (found.id, found.part.lane, found.part.due, found.part.lost) == (mine.id, "other", 300.0, 1)
        assert (await claim_all(spool, "other", now=299.0), await claim_all(spool)) == ((), ())
        assert len(await claim_all(spool, "other", now=300.0)) == 1


async def test_a_split_loses_nobody(tmp_path: Path) -> None:
    """Several parts of the same recipients, each a parcel of its own from then on."""
    recipients = tuple(f"r{number}@customer.example" for number in range(5))
    one = mail(b"x", *recipients)
    async with opened(tmp_path) as spool:
        await spool.put(posting(one))
        (mine,) = await claim_all(spool)

        with pytest.raises(ValueError, match="recipients"):
            await spool.reschedule(mine, [Part(recipients[:4], 5.0)])
        assert await spool.reschedule(mine, [Part((recipient,), 5.0) for recipient in recipients])

        found = await everything(spool)
        assert sorted(found) == [f"{one.id}.{number}" for number in range(1, 6)]
        assert {parcel.envelope.recipients for parcel in found.values()} == {(one,) for one in recipients}
        for parcel in await claim_all(spool):
            await spool.settle(parcel)
        assert await spool.content(one.id) is None


async def test_parcels_of_two_splits_have_different_ids(tmp_path: Path) -> None:
    recipients = tuple(f"r{number}@customer.example" for number in range(3))
    one = mail(b"x", *recipients)
    async with opened(tmp_path) as spool:
        await spool.put(posting(one))
        (mine,) = await claim_all(spool)
        await spool.reschedule(mine, [Part(recipients[:1], 5.0), Part(recipients[1:], 6.0)])
        first, second = await claim_all(spool)
        await spool.settle(first)
        await spool.reschedule(second, [Part(recipients[1:2], 5.0), Part(recipients[2:], 6.0)])

        assert sorted(await everything(spool)) == [f"{one.id}.2", f"{one.id}.3"]


async def test_a_dead_parcel_is_kept_with_its_reason_until_it_is_forgotten(tmp_path: Path) -> None:
    one = mail()
    async with opened(tmp_path) as spool:
        await spool.put(posting(one))
        (mine,) = await claim_all(spool)

        assert await spool.settle(mine, dead=NEVER)

        (found,) = await spool.inspect(Query(state=State.DEAD))
        assert (found.part.last, found.part.due) == (NEVER, NEVER.at)
        assert await claim_all(spool) == ()
        assert await spool.content(one.id) == one.content
        assert await spool.forget(NEVER.at) == 0
        assert await spool.forget(NEVER.at + 1) == 1
        assert await spool.content(one.id) is None


@pytest.mark.parametrize("size", [10, 5000])
async def test_a_notice_comes_with_the_end_of_the_parcel_or_not_at_all(tmp_path: Path, size: int) -> None:
    """No bounce without a death, no second bounce by a void ticket."""
    bounce = mail(b"b" * size, "app@example.com")
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await claim_all(spool)

        assert not await spool.settle(replace(mine, ticket=mine.ticket + 1), dead=NEVER, notices=[posting(bounce)])
        assert await spool.content(bounce.id) is None
        assert await contents_now(spool, tmp_path) == []
        assert await spool.settle(mine, dead=NEVER, notices=[posting(bounce)])
        assert await spool.content(bounce.id) == bounce.content
        assert {one.state for one in (await everything(spool)).values()} == {State.DEAD, State.QUEUED}


async def test_a_notice_that_cannot_be_put_leaves_the_parcel_as_it_was(tmp_path: Path) -> None:
    first = mail()
    async with opened(tmp_path) as spool:
        await spool.put(posting(first))
        (mine,) = await claim_all(spool)

        with pytest.raises(ValueError, match="UNIQUE"):
            await spool.settle(mine, dead=NEVER, notices=[posting(first)])

        assert [one.state for one in (await everything(spool)).values()] == [State.QUEUED]
        assert await spool.settle(mine)


async def test_a_step_that_is_undone_leaves_the_file_of_its_content(tmp_path: Path) -> None:
    """The mail is there again, and so is its content."""
    one, other = mail(b"x" * 5000), mail()
    async with opened(tmp_path) as spool:
        await spool.put(posting(other))
        (mine,) = await spool.put(posting(one, leased=1e9))

        with pytest.raises(ValueError, match="UNIQUE"):
            await spool.settle(mine, notices=[posting(other)])

        assert len(await contents_now(spool, tmp_path)) == 1
        assert await spool.content(one.id) == one.content


async def test_the_agenda_names_each_lane_and_when_its_first_parcel_is_due(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        assert await spool.agenda() == ()
        for lane, due in (("b", 30.0), ("a", 20.0), ("b", 10.0), ("", 40.0)):
            one = mail()
            await spool.put(posting(one, Part(one.envelope.recipients, due, lane)))

        assert await spool.agenda() == (Lane("", 40.0), Lane("a", 20.0), Lane("b", 10.0))
        (mine,) = await spool.claim("a", 20.0, 90.0, 1)
        assert (await spool.agenda())[1] == Lane("a", 90.0)
        await spool.settle(mine)
        assert [lane.name for lane in await spool.agenda()] == ["", "b"]


async def filled(spool: SqliteSpool) -> list[str]:
    """Three mails: of two parts in lanes a and b, held in lane a, dead in lane b."""
    both = mail(b"x", *TWO, arrived=10.0)
    held = mail(b"x", "held@other.example", arrived=20.0)
    dead = mail(b"x", envelope=Envelope("", ("dead@other.example",)), arrived=30.0)
    await spool.put(posting(both, Part(TWO[:1], 1.0, "a"), Part(TWO[1:], 1.0, "b")))
    await spool.put(posting(held, Part(held.envelope.recipients, 1.0, "a")))
    await spool.alter(Query(ids=(held.id,)), Action.HOLD, 0.0)
    (mine,) = await spool.put(posting(dead, Part(dead.envelope.recipients, 1.0, "b"), leased=5.0))
    await spool.settle(mine, dead=NEVER)
    return [both.id, held.id, dead.id]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [1, 2, 3, 4]),
        (Query(state=State.QUEUED), [1, 2]),
        (Query(state=State.HELD), [3]),
        (Query(lane="b"), [2, 4]),
        (Query(lane="b", state=State.DEAD), [4]),
        (Query(sender="app@example.com"), [1, 2, 3]),
        (Query(sender="<>"), [4]),
        (Query(sender=""), [4]),
        (Query(sender="*"), [1, 2, 3]),
        (Query(recipient="b@customer.example"), [2]),
        (Query(recipient="customer.example"), []),
        (Query(recipient="@customer.example"), [1, 2]),
        (Query(recipient="@other.example", state=State.HELD), [3]),
        (Query(arrived_before=20.0), [1, 2]),
        (Query(arrived_since=20.0), [3, 4]),
        (Query(arrived_since=11.0, arrived_before=30.0), [3]),
        (Query(limit=2), [1, 2]),
        (Query(limit=2, after=2), [3, 4]),
        (Query(ids=("nothing", "nothing.1")), []),
    ],
)
async def test_a_query_finds_what_meets_every_criterion(tmp_path: Path, query: Query, found: list[int]) -> None:
    async with opened(tmp_path) as spool:
        await filled(spool)

        assert [one.number for one in await spool.inspect(query)] == found


PEOPLE = (
    "ann@example.com",
    "Ann@example.com",
    "ann@EXAMPLE.com",
    "ann@mail.example.com",
    "ann@notexample.com",
    '"a@example.com"@other.example',
    '"@.example.com"@other.example',
    "a_n@example.com",
    "100%!@example.com",
)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("ann@example.com", {0, 2}),
        ("@example.com", {0, 1, 2, 7, 8}),
        ("@.example.com", {3}),
        ("*", set(range(len(PEOPLE)))),
        ("<>", set()),
        ('"a@example.com"@other.example', {5}),
        ("@other.example", {5, 6}),
        ("a_n@example.com", {7}),
        ("100%!@example.com", {8}),
        ("1%@example.com", set()),
    ],
)
async def test_addresses_match_as_they_do_in_the_configuration(tmp_path: Path, pattern: str, found: set[int]) -> None:
    """Senders and recipients alike: the domain without case, the rest exactly, and no character is a wildcard."""
    index = PatternIndex([(pattern, True)])
    async with opened(tmp_path) as spool:
        for person in PEOPLE:
            await spool.put(posting(mail(b"x", person, envelope=Envelope(person, (person,)))))

        by_sender = {one.envelope.sender for one in await spool.inspect(Query(sender=check_pattern(pattern)))}
        by_recipient = {one.part.recipients[0] for one in await spool.inspect(Query(recipient=check_pattern(pattern)))}

    assert by_sender == by_recipient == {PEOPLE[number] for number in found}
    assert by_sender == {person for person in PEOPLE if index.match(person)}


BELOW = "\x1f"
LANES = ("a", f"a{BELOW}shop{BELOW}x@a.example", f"a{BELOW}", "aa", f"aa{BELOW}shop", "A", "b", f"{BELOW}a", "a%", "")


@pytest.mark.parametrize(
    ("lane", "found"),
    [
        ("a", ["a", f"a{BELOW}shop{BELOW}x@a.example", f"a{BELOW}"]),
        (f"a{BELOW}shop", [f"a{BELOW}shop{BELOW}x@a.example"]),
        ("aa", ["aa", f"aa{BELOW}shop"]),
        ("a%", ["a%"]),
        ("", [f"{BELOW}a", ""]),
    ],
)
async def test_a_lane_is_found_with_those_below_it_and_no_others(tmp_path: Path, lane: str, found: list[str]) -> None:
    """Also for what an operator does to them; they are claimed each by itself."""
    async with opened(tmp_path) as spool:
        for name in LANES:
            await spool.put(posting(mail(), Part(("someone@customer.example",), 0.0, name)))

        assert [one.part.lane for one in await spool.inspect(Query(lane=lane))] == found
        tallies = [one for one in await spool.tally(Query()) if one.lane == lane]
        assert [one.parcels for one in tallies] == ([len(found)] if BELOW not in lane else [])
        assert await spool.alter(Query(lane=lane), Action.HOLD, 0.0) == len(found)
        assert len(await claim_all(spool, "a")) == ("a" not in found)


async def test_a_tally_counts_what_a_query_finds(tmp_path: Path) -> None:
    """By lane and state, however few a page of it shows."""
    async with opened(tmp_path) as spool:
        assert await spool.tally(Query()) == ()
        await filled(spool)
        both = mail(b"x", *TWO, arrived=5.0)
        await spool.put(posting(both, Part(TWO, 1.0, "a")))

        assert await spool.tally(Query(limit=1)) == (
            Tally(State.HELD, "a", 1, 1, 20.0, 0), Tally(State.QUEUED, "a", 2, 3, 5.0, 0),
            Tally(State.DEAD, "b", 1, 1, 30.0, 1), Tally(State.QUEUED, "b", 1, 1, 10.0, 0),
        )  # fmt: skip
        assert await spool.tally(Query(recipient="a@customer.example", lane="a")) == (
            Tally(State.QUEUED, "a", 2, 3, 5.0, 0),
        )


@pytest.mark.parametrize(("lost", "due"), [(0, 5.0), (1, LATER.at + LOST_APART_S), (2, LATER.at + LOST_APART_S)])
@pytest.mark.parametrize(("hold", "action"), [(Action.RETRY, Action.RETRY), (Action.HOLD, Action.RELEASE)])
async def test_a_retry_is_due_at_once_but_ten_minutes_after_an_answer_that_was_lost(
    tmp_path: Path, lost: int, due: float, hold: Action, action: Action
) -> None:
    """SES may have the message: whoever is in a hurry does not send it again any sooner."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        [one] = await claim_all(spool)
        await spool.reschedule(one, [replace(one.part, due=9000.0, lost=lost, last=LATER)])

        await spool.alter(Query(), hold, 4.0)
        assert await spool.alter(Query(), action, 5.0) == 1
        [one] = await spool.inspect(Query())
        assert (one.part.due, one.part.lost) == (due, lost)
        await spool.alter(Query(), hold, 1999.0)
        assert await spool.alter(Query(), action, 2000.0) == 1
        assert [one.part.due for one in await spool.inspect(Query())] == [2000.0]


async def test_what_is_leased_looks_leased_until_it_is_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await claim_all(spool)

        assert [one.leased for one in await spool.inspect(Query())] == [True]
        await spool.reschedule(mine, [mine.part])
        assert [one.leased for one in await spool.inspect(Query())] == [False]


async def test_ids_are_of_mails_or_of_parcels(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        both, held, _ = await filled(spool)

        assert [one.number for one in await spool.inspect(Query(ids=(both,)))] == [1, 2]
        assert [one.number for one in await spool.inspect(Query(ids=(f"{both}.2", held)))] == [2, 3]


async def test_totals_by_state(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        assert await spool.totals() == ()
        await filled(spool)

        assert await spool.totals() == (
            Total(State.DEAD, 1, 30.0), Total(State.HELD, 1, 20.0), Total(State.QUEUED, 2, 10.0),
        )  # fmt: skip


async def test_what_is_held_waits_for_its_release(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))

        assert await spool.alter(Query(), Action.HOLD, 5.0) == 1
        assert (await claim_all(spool), await spool.alter(Query(), Action.RETRY, 5.0)) == ((), 0)
        assert await spool.alter(Query(), Action.RELEASE, 70.0) == 1
        assert [one.part.due for one in await spool.inspect(Query())] == [70.0]
        assert await spool.alter(Query(), Action.RELEASE, 80.0) == 0


async def test_holding_what_is_under_way_keeps_it_from_the_next_attempt(tmp_path: Path) -> None:
    """The attempt itself ends as it ends."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await claim_all(spool)
        await spool.alter(Query(), Action.HOLD, 5.0)

        assert await spool.reschedule(mine, [replace(mine.part, due=6.0)])

        assert [one.state for one in await spool.inspect(Query())] == [State.HELD]
        assert await claim_all(spool) == ()


async def test_retry_makes_due_and_revives(tmp_path: Path) -> None:
    """A dead parcel begins anew: lifetime, attempts, warnings; its last verdict stays to be read."""
    async with opened(tmp_path) as spool:
        _, _, dead = await filled(spool)

        assert await spool.alter(Query(), Action.RETRY, 77.0) == 3
        (revived,) = await spool.inspect(Query(ids=(dead,)))

        assert (revived.state, revived.since, revived.arrived) == (State.QUEUED, 77.0, 30.0)
        assert revived.part == Part(revived.part.recipients, 77.0, "b", last=NEVER)
        queued = await spool.inspect(Query(lane="a", state=State.QUEUED))
        assert [(one.part.due, one.since) for one in queued] == [(77.0, 10.0)]


async def test_retry_leaves_alone_what_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await claim_all(spool)

        assert await spool.alter(Query(), Action.RETRY, 5.0) == 0
        assert await spool.settle(mine)


@pytest.mark.parametrize("size", [10, 5000])
async def test_what_is_dropped_is_gone_and_its_ticket_void(tmp_path: Path, size: int) -> None:
    one = mail(b"x" * size)
    async with opened(tmp_path) as spool:
        await spool.put(posting(one))
        (mine,) = await claim_all(spool)

        assert await spool.alter(Query(ids=(one.id,)), Action.DROP, 5.0) == 1

        assert not await spool.settle(mine)
        assert await spool.content(one.id) is None
        assert await contents_now(spool, tmp_path) == []


async def test_a_cause_of_every_kind_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for cause in Cause:
            one = mail()
            part = Part(one.envelope.recipients, 1.0, last=replace(LATER, cause=cause))
            (put,) = await spool.put(posting(one, part))
            assert put.part == part
