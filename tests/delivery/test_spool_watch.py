"""Who looks after the spool: trouble told once and ended, files mended, clocks that jump, mail that is too old."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from memory_spool import WELL
from pace_parts import DELIVERED, UNAVAILABLE, run
from queue_scene import ANN, BAD_CONTENT, IDENTITY_REFUSED, POSTMASTER, SCHEDULE, SHOP, START, Scene, mail

from relay.delivery.spool_watch import CALM_S, GRACE_S, LOOK_S, UPKEEP_S
from relay.policy.retrying import LOST_WAITS_S
from relay.policy.spool_notices import contents_missing
from relay.spool.interface import Standing, State
from relay.spool.mend import Mended
from relay.spool.trouble import Kind

DAY, HOUR = 86_400.0, 3600.0
TROUBLED = Standing(trusted=True, trouble="failing: the disk is ill", waiting_s=0.0)
UNTRUSTED = Standing(trusted=False, trouble="untrusted: a sync failed", waiting_s=0.0)


@asynccontextmanager
async def watched(scene: Scene) -> AsyncIterator[None]:
    """Only the watch: nothing is delivered."""
    task = asyncio.create_task(scene.watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scene.runner.stop(0)


# How it stands


def test_trouble_is_told_once_and_its_end_once() -> None:
    """Not every second of a night; and without any mail the disk is tried until it is well."""

    async def story() -> None:
        scene = Scene()
        async with watched(scene):
            await scene.passes(5)
            scene.spool.standing, scene.spool.ill = TROUBLED, Kind.FAILING
            await scene.passes(HOUR)
            assert len(scene.events("spool_trouble")) == 1
            assert scene.spool.probes > HOUR / LOOK_S / 2
            assert scene.events("spool_well") == []
            scene.spool.ill = None
            await scene.passes(2 * LOOK_S)
            assert len(scene.events("spool_well")) == 1
            probes = scene.spool.probes
            await scene.passes(60)

        assert scene.spool.probes == probes
        assert (len(scene.events("spool_trouble")), len(scene.events("spool_well"))) == (1, 1)

    run(story())


def test_a_disk_that_is_full_is_told_and_needs_no_write_to_be_well_again() -> None:
    """Somebody has made room."""

    async def story() -> None:
        scene = Scene()
        async with watched(scene):
            for number in range(10):  # figures in it change all the time
                scene.spool.standing = replace(TROUBLED, trouble=f"{number} MB are free", full=True)
                await scene.passes(LOOK_S)
            scene.spool.standing = WELL
            await scene.passes(LOOK_S)

        assert len(scene.events("spool_trouble")) == 1
        assert len(scene.events("spool_well")) == 1

    run(story())


def test_a_file_that_is_not_trusted_is_replaced_as_soon_as_the_disk_lets_it() -> None:
    async def story() -> None:
        scene = Scene()
        async with watched(scene):
            await scene.passes(5)
            scene.spool.standing, scene.spool.ill = UNTRUSTED, Kind.UNTRUSTED
            await scene.passes(100)
            assert scene.events("spool_mended") == []
            scene.spool.ill = None
            await scene.passes(UPKEEP_S + LOOK_S)
            assert len(scene.events("spool_mended")) == 1
            assert len(scene.events("spool_well")) == 1
            await scene.passes(100)

        assert len(scene.events("spool_mended")) == 1

    run(story())


def test_a_file_that_cannot_be_replaced_is_copied_ever_more_seldom() -> None:
    """An ill disk is not to be written to all the time; but one that was well for long is tried at once."""

    async def story() -> None:
        scene = Scene()
        tries = tries_of(scene)
        async with watched(scene):
            for _ in range(2):
                began = scene.clock.now()
                scene.spool.standing, scene.spool.ill = UNTRUSTED, Kind.UNTRUSTED
                await scene.passes(600)
                times = [round(when - began) for when in tries]
                tries.clear()
                assert [later - sooner for sooner, later in pairwise(times)][:8] == [1, 2, 4, 8, 16, 32, 60, 60]
                assert times[0] <= LOOK_S
                scene.spool.ill = None
                await scene.passes(UPKEEP_S + LOOK_S)
                assert scene.spool.standing.trusted
                await scene.passes(CALM_S)
                tries.clear()

    run(story())


def test_a_file_that_is_mended_and_ill_again_in_a_moment_is_copied_ever_more_seldom() -> None:
    """That it could be copied does not prove that the disk is well."""

    async def story() -> None:
        scene = Scene()
        tries = tries_of(scene)
        async with watched(scene):
            for _ in range(600):
                scene.spool.standing = UNTRUSTED
                await scene.passes(3)
            pauses = [round(later - sooner) for sooner, later in pairwise(tries)]
            assert pauses[:6] == [3, 3, 4, 8, 16, 32]
            assert set(pauses[6:]) == {60}
            assert len(tries) < 40

            scene.spool.standing = WELL
            await scene.passes(CALM_S - 2 * UPKEEP_S)
            tries.clear()
            for _ in range(30):
                scene.spool.standing = UNTRUSTED
                await scene.passes(3)
            assert round(tries[1] - tries[0]) == UPKEEP_S, "it was not well for long enough"

    run(story())


def tries_of(scene: Scene) -> list[float]:
    """When it is tried to replace the file."""
    tries: list[float] = []
    mend = scene.spool.mend

    async def counted(now: float) -> Mended:
        tries.append(scene.clock.now())
        return await mend(now)

    scene.spool.mend = counted  # type: ignore[method-assign]  # to count
    return tries


def test_the_postmaster_hears_of_a_file_that_was_replaced() -> None:
    """Which mails are lost, where the rest of them is, and the old file; the log has it, too."""
    lost = tuple(f"lost{number:02}" for number in range(25))
    mended = Mended(3, lost, Path("/var/spool.db.damaged-7"), Path("/var/spool.db.lost-7"))

    async def story() -> None:
        scene = Scene()
        mends(scene, mended)
        async with watched(scene):
            scene.spool.standing = UNTRUSTED
            await scene.passes(5)

        [line] = scene.events("spool_mended")
        assert line["level"] == "error"
        assert (line["mails_lost"], line["mails"], line["mails_not_named"]) == (25, list(lost[:20]), 5)
        assert (line["old_file"], line["lost_files"]) == ("/var/spool.db.damaged-7", "/var/spool.db.lost-7-*")
        assert "unreadable" not in line
        [(recipient, subject, text)] = await letters(scene)
        assert (recipient, subject) == (POSTMASTER, "The spool was damaged: 25 mails lost")
        assert "    lost19\n    and 5 more\n" in text
        assert "    /var/spool.db.lost-7-*\n" in text
        assert "    /var/spool.db.damaged-7\n" in text

    run(story())


def test_a_file_of_which_nothing_could_be_read_does_not_look_like_one_that_lost_nothing() -> None:
    async def story() -> None:
        scene = Scene()
        mends(scene, Mended(0, (), Path("spool.db.damaged-7"), unreadable=True))
        async with watched(scene):
            scene.spool.standing = UNTRUSTED
            await scene.passes(5)

        [line] = scene.events("spool_mended")
        assert (line["level"], line["unreadable"]) == ("error", True)
        assert "mails_lost" not in line
        [(_, subject, text)] = await letters(scene)
        assert subject == "The spool was damaged: all its mail is lost"
        assert "nobody knows" in text

    run(story())


@pytest.mark.parametrize(("lost", "written"), [((), 2), (("a",), 31)])
def test_a_disk_that_fails_again_and_again_fills_nobody_s_mailbox(lost: tuple[str, ...], written: int) -> None:
    """One letter an hour is enough as long as nothing is lost; what is lost is told every time."""

    async def story() -> None:
        scene = Scene()
        mends(scene, Mended(3, lost, Path("spool.db.damaged-7")))
        async with watched(scene):
            for _ in range(31):
                scene.spool.standing = UNTRUSTED
                await scene.passes(2 * UPKEEP_S + 1)

        assert len(scene.events("spool_mended")) == 31
        assert len(await letters(scene)) == written

    run(story())


def test_what_the_disk_does_not_take_the_postmaster_hears_later() -> None:
    """Once, and also what a start has found."""

    async def story() -> None:
        scene = Scene()
        scene.watch.news.append(contents_missing(["0123"], "/var/spool.db.contents"))
        scene.spool.ill = Kind.FULL
        async with watched(scene):
            await scene.passes(5)
            assert scene.watch.news
            scene.spool.ill = None
            await scene.passes(3 * UPKEEP_S)

        [(_, subject, text)] = await letters(scene)
        assert subject == "1 mail in the spool without content"
        assert "    0123\n" in text
        assert "    /var/spool.db.contents\n" in text

    run(story())


def test_without_a_postmaster_nobody_is_told() -> None:
    async def story() -> None:
        scene = Scene(letterhead=None)
        async with watched(scene):
            scene.spool.standing = UNTRUSTED
            await scene.passes(5)
            assert scene.watch.news == []

        assert len(scene.events("spool_mended")) == 1
        assert not await scene.parcels()

    run(story())


def mends(scene: Scene, mended: Mended) -> None:
    """What comes of it when the file is replaced."""

    async def mend(now: float) -> Mended:
        scene.spool.standing = WELL
        return mended

    scene.spool.mend = mend  # type: ignore[method-assign]  # as told


async def letters(scene: Scene) -> list[tuple[str, str, str]]:
    """The relay's own letters in the spool: to whom, on what, and the text."""
    found = []
    for parcel in await scene.parcels():
        content = await scene.spool.content(parcel.mail)
        assert content is not None
        message = email.message_from_bytes(bytes(content), policy=email.policy.default)
        found.append((parcel.part.recipients[0], message["Subject"], message.get_content().replace("\r\n", "\n")))
    return found


def test_a_letter_has_whole_paragraphs() -> None:
    """No line of it is broken where the source text is."""

    async def story() -> None:
        scene = Scene()
        await scene.settlement.tell_of_refusal("example.com", IDENTITY_REFUSED)
        [(_, _, text)] = await letters(scene)
        paragraphs = [one.split("\n") for one in text.split("\n\n") if one.count("\n") > 1]
        assert paragraphs
        for lines in paragraphs:
            for line, following in pairwise(line for line in lines if line):
                assert len(line) + 1 + len(following.split()[0]) > 76

    run(story())


# Room for deliveries


def test_room_is_taken_at_the_start_and_now_and_again() -> None:
    async def story() -> None:
        scene = Scene()
        async with watched(scene):
            await scene.passes(0.5)
            assert scene.spool.rooms == 1
            await scene.passes(2 * UPKEEP_S)
            assert scene.spool.rooms == 3

    run(story())


def test_a_disk_that_is_nearly_full_is_looked_after_every_second() -> None:
    """What is still to be had is taken before somebody else has it; likewise a new file begins without."""

    async def story() -> None:
        scene = Scene()
        async with watched(scene):
            await scene.passes(0.5)
            scene.spool.standing = replace(TROUBLED, trouble="90 MB are free", full=True)
            await scene.passes(10 * LOOK_S)
            assert scene.spool.rooms == 11
            scene.spool.standing = UNTRUSTED
            await scene.passes(LOOK_S)
            assert scene.spool.rooms == 12

    run(story())


def test_what_waits_for_the_disk_does_not_keep_the_file_from_being_mended() -> None:
    """Nothing can be written before it is mended, and what is too old is being given up all the same."""

    async def story() -> None:
        scene = Scene(schedule=replace(SCHEDULE, delay_warning=60.0))
        await scene.post(mail(arrived=START - 59))
        settle = scene.spool.reschedule
        stuck = asyncio.Event()

        async def ill(*given: object, **more: object) -> bool:
            stuck.set()
            if scene.spool.mends == 0:
                scene.spool.standing, scene.spool.ill = UNTRUSTED, Kind.UNTRUSTED
            return await settle(*given, **more)  # type: ignore[arg-type]  # passed on

        scene.spool.reschedule = ill  # type: ignore[method-assign]  # the disk fails just then
        async with watched(scene):
            await stuck.wait()
            await scene.passes(10)
            assert scene.spool.mends > 0
            scene.spool.ill = None
            await scene.passes(60)
            assert len(scene.events("spool_mended")) == 1
            [parcel] = [one for one in await scene.parcels() if one.envelope.sender == SHOP]
            assert parcel.part.warned

    run(story())


def test_a_fault_of_ours_does_not_end_the_watch() -> None:
    async def story() -> None:
        scene = Scene()
        totals, scene.spool.totals = scene.spool.totals, None  # type: ignore[assignment, method-assign]  # a fault
        async with watched(scene):
            await scene.passes(5)
            assert scene.events("internal_error")
            scene.spool.totals = totals  # type: ignore[method-assign]  # mended
            scene.spool.standing = UNTRUSTED
            await scene.passes(5)

        assert scene.spool.mends == 1

    run(story())


def test_no_age_is_negative_after_the_clock_was_set_back() -> None:
    """In the metrics, and in the line of an attempt."""

    async def story() -> None:
        scene = Scene()
        await scene.post(mail(arrived=START + HOUR), due=START)
        async with scene.running(watched=True):
            scene.runner.wake()
            await scene.passes(0.05)
            assert b"ses_relay_queue_oldest_seconds 0.0" in scene.log.metrics.render()[0]
            await scene.passes(5)

        assert [line["age_s"] for line in scene.events("delivery")] == [0]

    run(story())


def test_the_metrics_tell_what_is_there_and_for_how_long() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.post(mail(arrived=START - 100), mail(arrived=START - 10))
        async with watched(scene):
            await scene.passes(1)
            assert [(one.state, one.parcels) for one in scene.watch.totals] == [(State.QUEUED, 2)]
            assert scene.watch.totals[0].oldest == START - 100
            assert b'ses_relay_queue_messages{state="queued"} 2.0' in scene.log.metrics.render()[0]

    run(story())


# The clock


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    """What was due in an hour is not due in a day and an hour."""

    async def story() -> None:
        scene = Scene()
        await scene.post(mail(), due=START + 3000)
        async with scene.running(watched=True):
            await scene.passes(10)
            scene.jumped -= DAY
            await scene.passes(2 * LOOK_S)
            [parcel] = await scene.parcels()
            assert parcel.part.due <= scene.wall() + SCHEDULE.longest_s
            await scene.passes(SCHEDULE.longest_s)

        assert len(scene.sent()) == 1

    run(story())


def test_also_what_was_decided_before_and_written_after_it() -> None:
    """The disk failed just then."""

    async def story() -> None:
        scene = Scene(lambda _, now: UNAVAILABLE if now < 10 else DELIVERED)
        await scene.post(mail(), attempts=2)
        async with scene.running(watched=True):
            await scene.passes(0.05)
            scene.spool.ill = Kind.FAILING
            await scene.passes(5)
            scene.jumped -= DAY
            await scene.passes(5)
            scene.spool.ill = None
            await scene.passes(UPKEEP_S + SCHEDULE.longest_s)

        assert len(scene.sent()) == 2

    run(story())


def test_after_it_a_lost_answer_still_has_its_ten_minutes() -> None:
    """Whatever the schedule: what may have been delivered is not sent again so soon."""

    async def story() -> None:
        scene = Scene(schedule=replace(SCHEDULE, retry=(1.0,)))
        await scene.post(mail(), due=START + 600, lost=1)
        async with scene.running(watched=True):
            await scene.passes(1)
            scene.jumped -= DAY
            await scene.passes(598)
            assert scene.sent() == []
            await scene.passes(1.2 * LOST_WAITS_S[-1])

        assert len(scene.sent()) == 1

    run(story())


@pytest.mark.parametrize("step", [-30.0, 30.0, DAY])
def test_small_steps_and_steps_forward_bring_nothing_forward(step: float) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.post(mail(), due=START + HOUR)
        async with watched(scene):
            await scene.passes(10)
            scene.jumped += step
            await scene.passes(10)

        [parcel] = await scene.parcels()
        assert parcel.part.due == START + HOUR

    run(story())


def test_a_jump_during_trouble_is_noticed_after_it() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.post(mail(), due=START + 3000)
        async with watched(scene):
            await scene.passes(10)
            scene.spool.standing, scene.spool.ill = TROUBLED, Kind.FAILING
            await scene.passes(5)
            scene.jumped -= DAY
            await scene.passes(50)
            scene.spool.ill = None
            await scene.passes(5)
            [parcel] = await scene.parcels()
            assert parcel.part.due <= scene.wall() + SCHEDULE.longest_s

    run(story())


def test_a_clock_that_is_set_forward_warns_of_nothing_that_is_in_flight_and_sends_it_once() -> None:
    """All leases have ended by the clock, and all mail looks old: what is in hand ends with its attempt."""

    async def story() -> None:
        scene = Scene(latency=200.0, schedule=replace(SCHEDULE, delay_warning=4 * HOUR))
        await scene.post(*(mail() for _ in range(20)))
        async with scene.running(watched=True):
            await scene.passes(30)
            scene.jumped += DAY
            await scene.passes(500)
            assert await scene.parcels() == ()

        assert len(scene.sent()) == len(set(scene.sent())) == 20
        assert len(scene.leases) == 0

    run(story())


@pytest.mark.parametrize("act", ["warn", "expire"])
def test_what_is_in_hand_is_neither_warned_of_nor_given_up(act: str) -> None:
    """By a clock that was set forward its lease has ended and its life as well; the attempt that runs decides."""

    async def story() -> None:
        scene = Scene()
        lease = await scene.leased()
        scene.jumped += 10 * DAY  # after the leases were renewed, and before the look
        await scene.watch._all_old(scene.wall(), getattr(scene.settlement, act), unwarned=act == "warn")
        assert scene.events("notice") == []
        [parcel] = await scene.parcels()
        assert (parcel.state, parcel.leased) == (State.QUEUED, True)
        assert await scene.settlement.conclude(lease, DELIVERED)

        assert await scene.parcels() == ()

    run(story())


# What is too old


def test_what_never_has_its_turn_is_given_up_after_a_grace() -> None:
    """At an attempt if there can be one; but not before what waited while no relay ran has had its turn."""

    async def story() -> None:
        scene = Scene(letterhead=None)
        await scene.post(mail(arrived=START - SCHEDULE.lifetime - GRACE_S - 1), due=START + HOUR)
        await scene.post(mail(arrived=START - SCHEDULE.lifetime + HOUR), due=START + HOUR)
        async with watched(scene):
            await scene.passes(GRACE_S - 1)
            assert len(await scene.parcels(state=State.QUEUED)) == 2
            await scene.passes(2 * UPKEEP_S)
            [dead] = await scene.parcels(state=State.DEAD)
            assert dead.arrived < START - SCHEDULE.lifetime
            await scene.passes(HOUR)
            assert len(await scene.parcels(state=State.DEAD)) == 2

        assert len(scene.leases) == 0

    run(story())


def test_very_much_that_is_too_old_is_given_up_to_the_last() -> None:
    async def story() -> None:
        scene = Scene(letterhead=None)
        await scene.post(*(mail(arrived=START - 2 * SCHEDULE.lifetime) for _ in range(250)), due=START + HOUR)
        async with watched(scene):
            await scene.passes(GRACE_S + 2 * UPKEEP_S)

        assert len(await scene.parcels(state=State.DEAD)) == 250

    run(story())


def test_who_holds_it_keeps_it() -> None:
    """What an operator keeps back grows as old as it likes."""

    async def story() -> None:
        scene = Scene()
        [parcel] = await scene.post(mail(arrived=START - 2 * SCHEDULE.lifetime))
        scene.spool._connection.execute("UPDATE parcels SET state = 'held'")
        async with watched(scene):
            await scene.passes(GRACE_S + 2 * UPKEEP_S)

        [held] = await scene.parcels()
        assert (held.id, held.state) == (parcel.id, State.HELD)

    run(story())


def test_senders_are_warned_once() -> None:
    async def story() -> None:
        scene = Scene(schedule=replace(SCHEDULE, delay_warning=4 * HOUR))
        await scene.post(*(mail(SHOP, ANN) for _ in range(3)), due=START + HOUR)
        async with watched(scene):
            await scene.passes(4 * HOUR - 1)
            assert scene.events("notice") == []
            await scene.passes(2 * UPKEEP_S)
            assert len(scene.events("notice")) == 3
            await scene.passes(2 * HOUR)

        told = [one["subject"] for one in scene.events("notice") if one["recipient"] == SHOP]
        assert told == ["delayed"] * 3
        waiting = [one for one in await scene.parcels() if one.envelope.sender == SHOP]
        assert {(one.part.due, one.part.attempts, one.leased) for one in waiting} == {(START + HOUR, 0, False)}

    run(story())


def test_without_a_delay_warning_nobody_is_warned() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.post(mail(arrived=START - DAY), due=START + HOUR)
        async with watched(scene):
            await scene.passes(HOUR)

        assert scene.events("notice") == []

    run(story())


def test_a_backlog_in_memory_is_let_go_so_that_lifetimes_reach_it() -> None:
    """Held for longer than any lifetime: claimed long ago, and still told."""

    async def story() -> None:
        schedule = replace(SCHEDULE, lifetime=HOUR)
        scene = Scene(lambda _, __: IDENTITY_REFUSED, schedule=schedule, letterhead=None, concurrency=1)
        await scene.post(*(mail() for _ in range(40)))
        async with scene.running(watched=True):
            await scene.passes(HOUR + GRACE_S + 10 * UPKEEP_S)

        assert len(await scene.parcels(state=State.DEAD)) == 40

    run(story())


def test_dead_letters_go_when_they_were_kept_for_long_enough() -> None:
    async def story() -> None:
        scene = Scene(letterhead=None)
        scene.watch.keep_dead = 14 * DAY
        await scene.settlement.conclude(await scene.leased(), BAD_CONTENT)
        scene.jumped += 14 * DAY - 10 * UPKEEP_S
        async with watched(scene):
            await scene.passes(UPKEEP_S)
            assert len(await scene.parcels()) == 1
            await scene.passes(11 * UPKEEP_S)
            assert await scene.parcels() == ()

    run(story())
