"""The end of an attempt: what is written down, who is told, and that neither is without the other."""

from __future__ import annotations

import asyncio
import email
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from memory_spool import MemorySpool
from pace_parts import DELIVERED, LOST, THROTTLED, UNAVAILABLE, run
from queue_scene import (
    ANN,
    AUTHOR,
    BAD_CONTENT,
    BAD_RECIPIENT,
    BOB,
    IDENTITY_REFUSED,
    POSTMASTER,
    SCHEDULE,
    SHOP,
    START,
    Scene,
    identities,
    mail,
)

from relay.delivery.leases import LEASE_S, Lease
from relay.delivery.settlement import TELL_AGAIN_S
from relay.model import Envelope, Outcome
from relay.policy.letters import Letterhead
from relay.spool.interface import Action, Query, Spooled, State
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool
from relay.spool.trouble import Kind, SpoolTrouble

[IDENTITY] = identities("example.com")


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """The real one, and the one of tests in fake time, so that they cannot differ."""
    if request.param == "memory":
        yield MemorySpool()
        return
    real = open_spool(Opening(tmp_path / "spool.db"), START)
    yield real
    await real.close()


async def only(scene: Scene, **query: Any) -> Spooled:
    """The one parcel of a query."""
    [parcel] = await scene.parcels(**query)
    return parcel


async def letters(scene: Scene) -> list[tuple[Spooled, str]]:
    """The relay's own mail in the spool, and what it says."""
    found = [one for one in await scene.parcels(state=State.QUEUED) if one.client.peer == ""]
    return [(one, bytes(await scene.spool.content(one.mail) or b"").decode()) for one in found]


# What is written down


async def test_what_is_delivered_is_gone(spool: Any) -> None:
    scene = Scene(spool=spool)
    lease = await scene.leased()

    assert await scene.settlement.conclude(lease, DELIVERED, IDENTITY)
    assert await scene.parcels() == ()
    [line] = scene.events("delivery")
    assert (line["outcome"], line["id"], line["ses_message_id"]) == ("delivered", lease.parcel.id, "0100-ses-id")


async def test_what_ses_does_not_take_now_waits_by_the_schedule(spool: Any) -> None:
    """With the answer, and in the lane of the identity by which it was tried."""
    scene = Scene(spool=spool)
    lease = await scene.leased(lane="old")

    assert await scene.settlement.conclude(lease, UNAVAILABLE, IDENTITY)
    parcel = await only(scene)
    assert (parcel.leased, parcel.part.attempts, parcel.part.lane) == (False, 1, "example.com")
    assert parcel.part.due == pytest.approx(START + 60, abs=1)
    assert parcel.part.last is not None
    assert (parcel.part.last.reply, parcel.part.last.detail) == (UNAVAILABLE.reply, UNAVAILABLE.detail)


async def test_what_is_held_goes_on_waiting_where_it_keeps_nobody_from_going(spool: Any) -> None:
    scene = Scene(spool=spool)
    await scene.settlement.conclude(await scene.leased(), IDENTITY_REFUSED, IDENTITY, "a lane of its own")

    assert (await only(scene)).part.lane == "a lane of its own"


async def test_what_costs_no_attempt_is_not_counted(spool: Any) -> None:
    scene = Scene(spool=spool)
    await scene.settlement.conclude(await scene.leased(attempts=2), THROTTLED, IDENTITY)

    assert (await only(scene)).part.attempts == 2


async def test_a_bad_recipient_has_each_of_them_wait_by_itself(spool: Any) -> None:
    """None is lost, none is there twice, and each keeps what has been tried."""
    scene = Scene(spool=spool)
    people = [f"r{number}@customer.example" for number in range(7)]
    lease = await scene.leased(mail(SHOP, *people), lost=1, attempts=4)
    await scene.settlement.conclude(lease, BAD_RECIPIENT, IDENTITY)

    parts = [one.part for one in await scene.parcels()]
    assert [part.recipients for part in parts] == [(one,) for one in people]
    assert {(part.lost, part.attempts, part.lane) for part in parts} == {(1, 4, "example.com")}
    assert max(part.due for part in parts) <= scene.wall()


async def test_lost_answers_are_counted_and_the_third_is_the_last(spool: Any) -> None:
    scene = Scene(spool=spool)
    await scene.settlement.conclude(await scene.leased(lost=1), LOST, IDENTITY)
    parcel = await only(scene)
    assert (parcel.part.lost, parcel.state) == (2, State.QUEUED)
    assert parcel.part.due - scene.wall() >= 599

    await scene.settlement.conclude(await scene.leased(lost=2), LOST, IDENTITY)
    dead = await only(scene, state=State.DEAD)
    assert dead.part.last is not None
    [(_, told)] = await letters(scene)
    assert "may or may not have been delivered" in told


async def test_what_is_given_back_was_no_attempt_and_has_its_place(spool: Any) -> None:
    scene = Scene(spool=spool)
    lease = await scene.leased(mail(arrived=START - 500), attempts=3)

    assert await scene.settlement.give_back(lease, "elsewhere")
    parcel = await only(scene)
    assert (parcel.leased, parcel.part.attempts, parcel.part.due) == (False, 3, START - 500)
    assert parcel.part.lane == "elsewhere"


async def test_what_came_in_a_later_time_is_due_now() -> None:
    """The clock was set back."""
    scene = Scene()
    await scene.settlement.give_back(await scene.leased(mail(arrived=START + 86_400), due=START), "example.com")

    assert (await only(scene)).part.due <= scene.wall()


@pytest.mark.parametrize("outcome", [DELIVERED, UNAVAILABLE, BAD_CONTENT])
async def test_what_an_operator_has_dropped_stays_dropped(spool: Any, outcome: Outcome) -> None:
    scene = Scene(spool=spool)
    lease = await scene.leased()
    await scene.spool.alter(Query(), Action.DROP, START)

    assert not await scene.settlement.conclude(lease, outcome, IDENTITY)
    assert await scene.parcels() == ()


async def test_what_was_claimed_again_meanwhile_is_settled_with_its_newer_ticket() -> None:
    """The clock jumps while the end of an attempt is being written: else it would be sent once more."""
    scene = Scene()
    lease = await scene.leased()
    settle = scene.spool.settle

    async def overtaken(parcel: Spooled, **more: Any) -> bool:
        if parcel.ticket == first:
            later = scene.wall() + 86_400
            [again] = await scene.spool.claim("example.com", later, later + LEASE_S, 1)
            assert scene.leases.take(again, later + LEASE_S) is None
        return await settle(parcel, **more)

    first = lease.parcel.ticket
    scene.spool.settle = overtaken  # type: ignore[method-assign]  # to come between

    assert await scene.settlement.conclude(lease, DELIVERED, IDENTITY)
    assert await scene.parcels() == ()
    assert len(scene.events("delivery")) == 1


# Who is told


async def test_who_is_given_up_is_told_in_the_words_of_ses(spool: Any) -> None:
    scene = Scene(spool=spool)
    await scene.settlement.conclude(await scene.leased(), BAD_CONTENT, IDENTITY)

    dead = await only(scene, state=State.DEAD)
    [(bounce, told)] = await letters(scene)
    assert dead.part.last is not None
    assert dead.part.last.reply == BAD_CONTENT.reply
    assert bounce.envelope == Envelope(AUTHOR, (SHOP,))
    assert bounce.part.lane == "example.com"
    assert email.message_from_string(told)["Auto-Submitted"] == "auto-replied"
    assert "Illegal filename 'x.exe'" in told
    assert ANN in told
    [line] = scene.events("notice")
    assert (line["id"], line["about"], line["recipient"]) == (bounce.mail, dead.id, SHOP)


async def test_neither_the_dead_letter_is_without_its_bounce_nor_the_other_way_round() -> None:
    """One step of the spool: whenever it ends, both are there or none is."""
    scene = Scene()
    lease = await scene.leased()
    before = len(scene.spool.writes)
    await scene.settlement.conclude(lease, BAD_CONTENT, IDENTITY)

    assert scene.spool.writes[before:] == ["settle"]
    assert sorted(one.state for one in await scene.parcels()) == [State.DEAD, State.QUEUED]


async def test_a_bounce_of_what_somebody_has_dropped_is_neither_written_nor_logged(spool: Any) -> None:
    scene = Scene(spool=spool)
    lease = await scene.leased()
    await spool.alter(Query(), Action.DROP, START)

    assert not await scene.settlement.conclude(lease, BAD_CONTENT, IDENTITY)
    assert await scene.parcels() == ()
    assert scene.events("notice") == []


async def test_a_bounce_that_cannot_be_put_leaves_the_parcel_as_it_was(spool: Any) -> None:
    """Its id is taken, say: the step undoes all of itself."""
    scene = Scene(spool=spool)
    lease = await scene.leased()
    scene.settlement._new_id = lambda: lease.parcel.mail
    with pytest.raises(Exception, match="UNIQUE"):
        await scene.settlement.conclude(lease, BAD_CONTENT, IDENTITY)

    parcel = await only(scene)
    assert (parcel.state, parcel.leased) == (State.QUEUED, True)


@pytest.mark.parametrize("sender", ["", AUTHOR, AUTHOR.replace("example", "EXAMPLE")])
async def test_mail_from_nobody_or_from_ourselves_is_never_bounced(sender: str) -> None:
    """A bounce of a bounce could go round for ever: the postmaster is told, and the dead letter stays."""
    scene = Scene()
    await scene.settlement.conclude(await scene.leased(mail(sender, BOB)), BAD_CONTENT, IDENTITY)

    assert (await only(scene, state=State.DEAD)).part.recipients == (BOB,)
    [(notice, told)] = await letters(scene)
    assert notice.envelope == Envelope(AUTHOR, (POSTMASTER,))
    assert BOB in told


async def test_a_notice_that_dies_is_the_end_of_it() -> None:
    scene = Scene()
    await scene.settlement.conclude(await scene.leased(mail(AUTHOR, POSTMASTER)), BAD_CONTENT, IDENTITY)

    assert len(await scene.parcels(state=State.DEAD)) == 1
    assert await letters(scene) == []


async def test_without_a_postmaster_mail_from_nobody_is_a_dead_letter_and_no_more() -> None:
    scene = Scene(letterhead=Letterhead(AUTHOR, None, "relay.test"))
    await scene.settlement.conclude(await scene.leased(mail("", BOB)), BAD_CONTENT, IDENTITY)

    assert (len(await scene.parcels(state=State.DEAD)), await letters(scene)) == (1, [])


async def test_without_bounces_there_are_dead_letters_only(spool: Any) -> None:
    scene = Scene(spool=spool, letterhead=None)
    await scene.settlement.conclude(await scene.leased(), BAD_CONTENT, IDENTITY)
    await scene.settlement.tell_of_refusal("example.com", IDENTITY_REFUSED)

    assert (len(await scene.parcels(state=State.DEAD)), len(await scene.parcels())) == (1, 1)


async def test_who_asked_for_silence_is_in_no_bounce() -> None:
    """NOTIFY=NEVER."""
    scene = Scene()
    quiet = mail(SHOP, ANN, BOB)
    quiet = replace(quiet, envelope=replace(quiet.envelope, silent=frozenset({BOB})))
    await scene.settlement.conclude(await scene.leased(quiet), BAD_CONTENT, IDENTITY)

    [(_, told)] = await letters(scene)
    assert (ANN in told, BOB in told) == (True, False)


async def test_where_all_asked_for_silence_nobody_is_told() -> None:
    scene = Scene()
    quiet = mail(SHOP, ANN)
    quiet = replace(quiet, envelope=replace(quiet.envelope, silent=frozenset({ANN})))
    await scene.settlement.conclude(await scene.leased(quiet), BAD_CONTENT, IDENTITY)

    assert (len(await scene.parcels(state=State.DEAD)), await letters(scene)) == (1, [])


async def test_a_letter_that_cannot_be_written_keeps_no_parcel_from_its_end() -> None:
    scene = Scene(letterhead=Letterhead("no address", None, "relay.test"))
    scene.settlement._new_id = lambda: "no token!"
    await scene.settlement.conclude(await scene.leased(), BAD_CONTENT, IDENTITY)

    assert (await only(scene)).state is State.DEAD
    assert len(scene.events("internal_error")) == 1


async def test_a_bounce_without_the_original_is_better_than_none() -> None:
    scene = Scene()
    lease = await scene.leased()
    scene.spool.blind = Kind.FAILING
    await scene.settlement.conclude(lease, BAD_CONTENT, IDENTITY)
    scene.spool.blind = None

    assert len(await letters(scene)) == 1


# In time


async def test_the_sender_is_told_of_the_delay_once_and_in_the_same_step() -> None:
    scene = Scene(schedule=replace(SCHEDULE, delay_warning=14_400.0))
    lease = await scene.leased(mail(arrived=START - 14_401))
    before = len(scene.spool.writes)
    await scene.settlement.conclude(lease, UNAVAILABLE, IDENTITY)

    assert scene.spool.writes[before:] == ["reschedule"]
    [(_, told)] = await letters(scene)
    assert "has not been delivered yet" in told
    [waiting] = [one for one in await scene.parcels() if one.envelope.sender == SHOP]
    assert waiting.part.warned
    later = waiting.part.due + LEASE_S
    claimed = await scene.spool.claim("example.com", waiting.part.due, later, 5)
    [again] = [one for one in claimed if one.id == waiting.id]
    await scene.settlement.conclude(Lease(again, later), UNAVAILABLE, IDENTITY)
    assert len(scene.events("notice")) == 1


async def test_a_warning_leaves_everything_else_as_it_was(spool: Any) -> None:
    scene = Scene(spool=spool, schedule=replace(SCHEDULE, delay_warning=100.0))
    [before] = await scene.post(mail(arrived=START - 101), due=START + 3600, attempts=4, lost=1)
    [claimed] = await scene.spool.claim_old(START - 100, START, START + LEASE_S, 10, unwarned=True)
    assert await scene.settlement.warn(Lease(claimed, START + LEASE_S))

    [after] = [one for one in await scene.parcels() if one.id == before.id]
    assert after == replace(before, part=replace(before.part, warned=True))
    assert len(await letters(scene)) == 1


@pytest.mark.parametrize(
    ("lost", "words"), [(0, "could not be delivered in time"), (1, "may or may not have been delivered")]
)
async def test_what_never_had_its_turn_is_given_up_and_told(spool: Any, lost: int, words: str) -> None:
    scene = Scene(spool=spool)
    await scene.post(mail(arrived=START - 500_000), lost=lost)
    [claimed] = await scene.spool.claim_old(START - 432_000, START, START + LEASE_S, 10, unwarned=False)
    assert await scene.settlement.expire(Lease(claimed, START + LEASE_S))

    assert (await only(scene, state=State.DEAD)).part.last is not None
    [(_, told)] = await letters(scene)
    assert words in told


# Holds


def test_the_postmaster_hears_of_a_refused_identity_at_once_but_not_every_time() -> None:
    async def story() -> None:
        scene = Scene()
        for _ in range(5):
            await scene.settlement.tell_of_refusal("example.com", IDENTITY_REFUSED)
        await scene.settlement.tell_of_refusal("other.example", IDENTITY_REFUSED)
        assert [one.envelope.recipients for one, _ in await letters(scene)] == [(POSTMASTER,)] * 2
        assert [one["about"] for one in scene.events("notice")] == ["example.com", "other.example"]
        assert str(IDENTITY_REFUSED.reply) in (await letters(scene))[0][1]

        await scene.passes(TELL_AGAIN_S)
        await scene.settlement.tell_of_refusal("example.com", IDENTITY_REFUSED)
        assert len(await letters(scene)) == 3

    run(story())


async def test_a_damaged_message_of_which_the_disk_took_no_letter_is_told_at_the_next_attempt() -> None:
    scene = Scene()
    lease = await scene.leased()
    scene.spool.ill = Kind.FAILING
    await scene.settlement.tell_of_damage(lease.parcel, "some bytes")
    scene.spool.ill = None
    assert await letters(scene) == []
    for _ in range(3):
        await scene.settlement.tell_of_damage(lease.parcel, "some bytes")

    [(notice, told)] = await letters(scene)
    assert notice.envelope.recipients == (POSTMASTER,)
    assert lease.parcel.mail in told


async def test_a_notice_that_the_disk_does_not_take_is_said_in_the_log() -> None:
    scene = Scene()
    scene.spool.ill = Kind.FULL
    await scene.settlement.tell_of_refusal("example.com", IDENTITY_REFUSED)

    assert "a notice was not kept" in scene.events("spool_trouble")[0]["detail"]


# The disk


@pytest.mark.parametrize("outcome", [DELIVERED, UNAVAILABLE, BAD_RECIPIENT, BAD_CONTENT])
def test_a_decision_is_written_as_soon_as_the_disk_takes_it(outcome: Outcome) -> None:
    """However long that is: what SES has taken is not sent once more because of a disk."""

    async def story() -> None:
        scene = Scene()
        lease = await scene.leased(mail(SHOP, ANN, BOB))
        scene.spool.ill = Kind.FAILING
        ending = asyncio.ensure_future(scene.settlement.conclude(lease, outcome, IDENTITY))
        await scene.passes(3600)
        assert not ending.done()
        assert len(scene.events("spool_trouble")) < 150
        scene.spool.ill = None
        await scene.passes(31)

        assert ending.done()
        assert await ending
        assert not any(one.leased for one in await scene.parcels())

    run(story())


def test_when_the_relay_ends_it_is_tried_once() -> None:
    async def story() -> None:
        scene = Scene()
        lease = await scene.leased()
        scene.spool.ill, scene.settlement.ending = Kind.FAILING, True

        assert not await scene.settlement.conclude(lease, DELIVERED, IDENTITY)

    run(story())


async def test_the_spools_agree_that_a_sick_disk_raises(tmp_path: Path) -> None:
    """What the tests in fake time rely on: trouble is SpoolTrouble, and nothing has happened then."""
    real: SqliteSpool = open_spool(Opening(tmp_path / "spool.db", min_free_bytes=1 << 60), START)
    memory = MemorySpool()
    memory.ill = Kind.FULL
    for spool in (real, memory):
        scene = Scene(spool=spool)
        with pytest.raises(SpoolTrouble):
            await scene.post(mail())
        assert await scene.parcels() == ()
    await real.close()
