"""`ses-relay queue retry`, `hold`, `release` and `drop`: what is done, to which parcels, and what is asked first."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from queue_parts import DAY, LATER, NEVER, Kit, posting, some_mail

from relay.cli import queue_actions
from relay.cli.queue_survey import surveyed
from relay.model import Cause
from relay.spool.interface import Action, Query, State, Verdict
from relay.spool.sqlite import SqliteSpool
from relay.spool.trouble import Kind, SpoolTrouble

QUEUED, HELD, DEAD = State.QUEUED, State.HELD, State.DEAD


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def filled(kit: Kit) -> Kit:
    some_mail(kit)
    return kit


def states(kit: Kit) -> dict[str, State]:
    return {identifier: one.state for identifier, one in kit.parcels().items()}


GONE = "in the queue; what was delivered is in the log"
ALL = {"aaaa.1": QUEUED, "aaaa.2": QUEUED, "bbbb.1": HELD, "cccc.1": DEAD}


@pytest.mark.parametrize(
    ("words", "output", "after"),
    [
        (["hold", "aaaa"], "2 parcels held\n", {"aaaa.1": HELD, "aaaa.2": HELD}),
        (["hold", "aaaa.2"], "1 parcel held\n", {"aaaa.2": HELD}),
        (["release", "bbbb"], "1 parcel released\nno relay is running: start it\n", {"bbbb.1": QUEUED}),
        (["retry", "cccc"], "1 parcel due now\nno relay is running: start it\n", {"cccc.1": QUEUED}),
        (["retry", "aaaa.1"], "1 parcel due now\nno relay is running: start it\n", {}),
        (["drop", "bbbb"], "1 parcel dropped\n", {"bbbb.1": None}),
        (["hold", "bbbb"], "0 parcels held\n1 parcel left alone, held already\n", {}),
        (["hold", "--identity", "shop", "--yes"], "1 parcel held\n", {"aaaa.1": HELD}),
        (["release", "--all", "--yes"],
         ("1 parcel released\nno relay is running: start it\n2 parcels left alone, not held\n"
          "1 parcel left alone, dead: retry revives them\n"), {"bbbb.1": QUEUED}),
        (["drop", "--state", "dead", "--older-than", "1d", "--yes"], "1 parcel dropped\n", {"cccc.1": None}),
        (["drop", "--all", "--yes"], "4 parcels dropped\n", dict.fromkeys(ALL)),
        (["drop", "aaaa", "bbbb", "--yes"], "3 parcels dropped\n", dict.fromkeys(["aaaa.1", "aaaa.2", "bbbb.1"])),
        (["drop", "--sender", "nobody@example.com", "--yes"], "nothing matches\n", {}),
    ],
)  # fmt: skip
def test_what_was_asked_for_is_done_and_nothing_else(
    filled: Kit, words: list[str], output: str, after: dict[str, State | None]
) -> None:
    result = filled.queue(*words)

    assert (result.exit_code, result.output) == (0, output)
    assert states(filled) == {one: state for one, state in (ALL | after).items() if state}


def test_retry_makes_due_at_once_and_revives(filled: Kit) -> None:
    """A dead one begins anew: its lifetime counts from now."""
    started = time.time()
    assert filled.queue("retry", "aaaa.1", "cccc").exit_code == 0

    parcels = filled.parcels()
    assert started <= parcels["aaaa.1"].part.due <= time.time()
    assert started <= parcels["cccc.1"].since <= time.time()
    assert parcels["cccc.1"].arrived < started - DAY
    assert parcels["aaaa.2"].part.due > time.time()


@pytest.mark.parametrize(
    ("words", "told", "done"),
    [
        (["drop", "bbbb", "nobody", "aaaa.7"],
         f"there is no nobody {GONE}\nthere is no aaaa.7 {GONE}\n", {"bbbb.1"}),
        (["hold", "nobody"], f"there is no nobody {GONE}\n", set()),
        (["hold", "cccc", "aaaa"], "1 parcel left alone, dead: not tried any more\n", set()),
        (["retry", "bbbb"], "1 parcel left alone, held: release first\n", set()),
        (["release", "cccc"], "1 parcel left alone, dead: retry revives them\n", set()),
    ],
)  # fmt: skip
def test_an_id_that_nothing_can_be_done_to_is_1(filled: Kit, words: list[str], told: str, done: set[str]) -> None:
    """It is named; what can be done to the others is done."""
    result = filled.queue(*words)

    assert result.exit_code == 1
    assert result.output.endswith(told)
    assert ALL.keys() - states(filled).keys() == done


@pytest.mark.parametrize("words", [["drop"], ["drop", "aaaa", "--state", "dead"], ["retry", "aaaa", "--all"]])
def test_which_parcels_must_be_said_in_one_way(filled: Kit, words: list[str]) -> None:
    """Nothing is everything only where --all says so."""
    result = filled.queue(*words, "--yes")

    assert result.exit_code == 2
    assert "say which: by IDs, or by filters" in result.output
    assert states(filled) == ALL


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["drop", "aaaa"], "2 parcels to 3 recipients: 2 queued"),
        (["drop", "bbbb", "cccc"], "2 parcels to 2 recipients: 1 held, 1 dead"),
        (["drop", "--state", "held"], "1 parcel to 1 recipient: 1 held"),
        (["hold", "--all"], "2 parcels to 3 recipients: 2 queued"),
        (["retry", "--identity", "example.com"], "2 parcels to 2 recipients: 1 queued, 1 dead"),
        (["release", "--all", "--json"], "1 parcel to 1 recipient: 1 held"),
    ],
)
def test_where_nobody_can_be_asked_nothing_is_done(filled: Kit, words: list[str], count: str) -> None:
    """A count, what is missing, and a usage error."""
    result = filled.queue(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(count)
    assert "nothing was done; --yes does it without asking" in result.stderr
    assert states(filled) == ALL


def at_a_terminal(kit: Kit, answer: bytes, *words: str) -> tuple[int, str]:
    """The command as its own process, at a terminal where somebody answers the question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "relay", "queue", *words, "--config", str(kit.config)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while piece := _read(ours):
            seen += piece
            if seen.endswith(b"? [y/N]: "):
                os.write(ours, answer)
        status = process.wait(60)
    os.close(ours)
    return status, seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    """What comes next; nothing once the process has gone, which Linux tells as EIO."""
    try:
        return os.read(terminal, 4096)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


@pytest.mark.parametrize(
    ("answer", "status", "last", "after"),
    [
        (b"y\n", 0, "2 parcels dropped", {}),
        (b"n\n", 1, "nothing was done", {"aaaa.1": QUEUED, "aaaa.2": QUEUED}),
        (b"\n", 1, "nothing was done", {"aaaa.1": QUEUED, "aaaa.2": QUEUED}),
        (b"\x04", 1, "Aborted!", {"aaaa.1": QUEUED, "aaaa.2": QUEUED}),
    ],
)
def test_at_a_terminal_it_counts_and_asks(
    filled: Kit, answer: bytes, status: int, last: str, after: dict[str, State]
) -> None:
    """Only yes is yes."""
    ended, seen = at_a_terminal(filled, answer, "drop", "--state", "queued")

    assert ended == status
    assert seen.startswith("2 parcels to 3 recipients: 2 queued\ndrop them? [y/N]: ")
    assert seen.endswith(f"{last}\n")
    assert states(filled) == {"bbbb.1": HELD, "cccc.1": DEAD} | after


def test_programs_are_told_how_many(filled: Kit) -> None:
    """On standard output, nothing but one document, also where ids are missing."""
    assert filled.told("hold", "--all", "--yes") == {
        "action": "hold", "done": 2, "left_alone": {"held": 1, "dead": 1}, "relay": None, "in_hand": 0,
        "interrupted": 0, "answer_lost": 0, "refused_as_identity": 0, "changed_meanwhile": 0, "missing": [],
    }  # fmt: skip
    result = filled.queue("drop", "bbbb", "nobody", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["missing"] == ["nobody"]


def test_many_are_done_in_steps(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mail that is named as well as a filter; none twice, none left."""
    kit.fill(*(posting(f"mail{number:02}") for number in range(20)))
    monkeypatch.setattr("relay.cli.spool_access.PAGE", 3)
    monkeypatch.setattr(queue_actions, "PAGE", 3)

    assert kit.told("retry", "--all", "--yes")["done"] == 20
    assert kit.told("hold", *(f"mail{number:02}" for number in range(11)))["done"] == 11
    assert kit.told("drop", "--state", "held", "--yes")["done"] == 11
    assert kit.told("drop", "--all", "--yes")["done"] == 9
    assert kit.parcels() == {}


async def run(kit: Kit, *words: str) -> tuple[int, str]:
    """The command as its own process, beside the relay of this one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "queue", *words, "--config", str(kit.config),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_dropping_what_is_being_delivered_voids_its_lease(kit: Kit) -> None:
    """Whoever delivers it hears that there is nothing to settle; what was not dropped stays leased."""
    async with kit.relay() as relay:
        await relay.put(posting("aaaa", due=-1.0))
        await relay.put(posting("bbbb", due=-1.0))
        first, second = await relay.claim("example.com", time.time(), time.time() + 60, 2)

        status, output = await run(kit, "drop", "aaaa")

        assert (status, output) == (0, "1 parcel dropped\n1 of them in hand: may be delivered all the same\n")
        assert not await relay.settle(first)
        assert not await relay.reschedule(first, [first.part])
        assert await relay.settle(second)
        assert await relay.inspect(Query()) == ()


async def test_what_is_being_delivered_is_held_after_its_attempt_and_not_retried(kit: Kit) -> None:
    """But if it only waits, since SES refuses its identity, its lane may ask at once."""
    async with kit.relay() as relay:
        await relay.put(posting("aaaa", due=-1.0))
        (mine,) = await relay.claim("example.com", time.time(), time.time() + 60, 1)

        before = await relay.agenda()
        retried = await run(kit, "retry", "aaaa")
        after = await relay.agenda()
        held = await run(kit, "hold", "aaaa")
        assert await relay.reschedule(mine, [mine.part])
        (found,) = await relay.inspect(Query())

    why = "in hand: an attempt is under way, or waits for its turn"
    goes_on = "in hand: an attempt that is under way goes on, no other follows"
    assert [[lane.retried is not None for lane in agenda] for agenda in (before, after)] == [[False], [True]]
    assert retried == (0, f"0 parcels due now\n1 parcel left alone, {why}\n")
    assert held == (0, f"1 parcel held\n1 of them {goes_on}\n")
    assert found.state is HELD


async def test_a_running_relay_sees_at_once_what_was_done(kit: Kit) -> None:
    """Retry says who takes them up."""
    async with kit.relay() as relay:
        await relay.put(posting("aaaa"))
        before = await relay.claim("example.com", time.time(), time.time() + 60, 1)

        status, output = await run(kit, "retry", "aaaa")

        assert status == 0
        assert output.splitlines() == [
            "1 parcel due now", f"the relay (process {os.getpid()}) takes them up within seconds",
        ]  # fmt: skip
        assert before == ()
        assert len(await relay.claim("example.com", time.time(), time.time() + 60, 1)) == 1


ENDED = "in hand when the relay ended"


@pytest.fixture
def interrupted(kit: Kit) -> Kit:
    """`aaaa` was in hand when the relay ended: its lease is there, and nobody has it."""

    async def end() -> None:
        async with kit.relay() as relay:
            await relay.put(posting("aaaa", due=-1.0))
            assert await relay.claim("example.com", time.time(), time.time() + 900, 1)

    asyncio.run(end())
    return kit


@pytest.mark.parametrize(
    ("action", "output", "counts"),
    [
        ("retry", f"0 parcels due now\n1 parcel left alone, {ENDED}: due as soon as it starts\n",
         ({"interrupted": 1}, 0, 0)),
        ("hold", f"1 parcel held\n1 of them {ENDED}: may have been delivered, no attempt is under way\n",
         ({}, 0, 1)),
        ("drop", f"1 parcel dropped\n1 of them {ENDED}: may have been delivered\n", ({}, 0, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True])
def test_where_no_relay_runs_nobody_is_said_to_be_at_it(
    interrupted: Kit, action: str, output: str, counts: tuple[dict[str, int], int, int], *, as_json: bool
) -> None:
    """A lease that a relay has left is no attempt."""
    if as_json:
        told = interrupted.told(action, "aaaa")
        assert (told["left_alone"], told["in_hand"], told["interrupted"]) == counts
        assert told["relay"] is None
    else:
        result = interrupted.queue(action, "aaaa")
        assert (result.exit_code, result.output) == (0, output)


def test_what_was_in_hand_when_the_relay_ended_is_due(interrupted: Kit) -> None:
    """As the next relay finds it."""
    for command in ("list", "show"):
        (parcel,) = interrupted.told(command, *["aaaa"] * (command == "show"))["parcels"]
        assert not parcel["in_hand"]
        assert parcel["next_attempt"] is not None
    assert "now" in interrupted.queue("list").output
    assert "in hand" not in interrupted.queue("list").output + interrupted.queue("show", "aaaa").output
    (found,) = interrupted.parcels().values()
    assert (found.leased, found.part.due <= time.time()) == (False, True)


async def test_retry_says_what_waits_although_it_is_due(kit: Kit) -> None:
    """SES may have what it gave no answer to; and of what it refuses as an identity one message finds out."""
    now = time.time()
    lately, before = (Verdict(at, LATER.reply, Cause.LOST_ANSWER, "") for at in (now - 60, now - 700))
    async with kit.relay() as relay:
        await relay.put(posting("aaaa", lost=1, last=lately))
        await relay.put(posting("bbbb", lost=1, last=before))
        await relay.put(posting("cccc", last=replace(NEVER, cause=Cause.PAUSED)))
        await relay.put(posting("dddd", last=NEVER))
        await relay.put(posting("eeee", last=LATER))
        whole, told = await run(kit, "retry", "--all", "--yes"), await run(kit, "retry", "--all", "--yes", "--json")
        plain = await run(kit, "retry", "bbbb", "eeee")

    why = "the answer of SES was lost, and it may have been yes"
    then = "one asks at once, the others follow when it gets through"
    assert whole[1].splitlines() == [
        "5 parcels due now",
        f"the relay (process {os.getpid()}) takes them up within seconds",
        f"but 1 of them not before 10 minutes have passed since the last try: {why}",
        f"2 of them refused by SES for the identity or the account: {then}",
    ]
    counts = json.loads(told[1])
    assert (counts["answer_lost"], counts["refused_as_identity"]) == (1, 2)
    assert len(plain[1].splitlines()) == 2


async def test_what_retry_says_to_wait_is_what_the_spool_lets_wait(kit: Kit) -> None:
    """Of the dead, too: an answer that was lost a minute ago may yet have been yes."""
    at = time.time() - 60
    lost = Verdict(at, LATER.reply, Cause.LOST_ANSWER, "")
    async with kit.relay() as relay:
        await relay.put(posting("aaaa", lost=1, last=replace(lost, at=at - 900)))
        await relay.put(posting("bbbb", lost=1, last=lost))
        (mine,) = await relay.put(replace(posting("cccc", lost=2), leased=time.time() + 60))
        assert await relay.settle(mine, dead=lost)
        _, told = await run(kit, "retry", "--all", "--yes", "--json")
        due = {one.mail: one.part.due for one in await relay.inspect(Query())}

    assert (json.loads(told)["done"], json.loads(told)["answer_lost"]) == (3, 2)
    assert [mail for mail, when in due.items() if when > time.time()] == ["bbbb", "cccc"]


async def test_what_no_longer_matches_when_it_is_confirmed_is_left_alone(kit: Kit) -> None:
    """An operator says yes to what was counted: not to what came later, nor to what was revived meanwhile."""
    query = Query(state=HELD)
    async with kit.relay() as relay:
        for name in ("aaaa", "bbbb"):
            await relay.put(posting(name))
            await relay.alter(Query(ids=(name,)), Action.HOLD, 0.0)
        counted = await surveyed(relay, query, Action.DROP, None)
        await relay.alter(Query(ids=("aaaa",)), Action.RELEASE, 0.0)
        await relay.put(posting("cccc"))
        await relay.alter(Query(ids=("cccc",)), Action.HOLD, 0.0)

        result = await queue_actions.carried_out(relay, query, Action.DROP, counted.ids)

        assert result == queue_actions.Result(1)
        assert [one.id for one in await relay.inspect(Query())] == ["aaaa.1", "cccc.1"]


def test_a_disk_that_fails_on_the_way_is_told_with_what_was_done(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps before have been done, and are not called failed."""
    kit.fill(*(posting(f"mail{number}") for number in range(5)))
    monkeypatch.setattr(queue_actions, "PAGE", 2)
    real = SqliteSpool.alter
    steps = 0

    async def alter(spool: SqliteSpool, query: Query, action: Action, now: float) -> int:
        nonlocal steps
        steps += 1
        if steps > 2:
            raise SpoolTrouble(Kind.FULL, "database or disk is full")
        return await real(spool, query, action, now)

    monkeypatch.setattr(SqliteSpool, "alter", alter)
    result = kit.queue("drop", "--all", "--yes")

    assert result.exit_code == 1
    assert result.stdout == "4 parcels dropped\n1 parcel left as it was\n"
    assert "does not work: database or disk is full; make room on its disk" in result.stderr
    assert list(kit.parcels()) == ["mail4.1"]
