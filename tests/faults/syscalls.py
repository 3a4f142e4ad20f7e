"""One SIGKILL at every system call of the spool, by its index: at work, and while it is opened.

At work: for each thread that changes the spool and each call that it makes, the process is killed at the first such
call, then at the second, until a run ends without a kill. strace counts for each thread by itself, so only one thread
is traced; which one it is, a look at a warm-up tells. While it is opened there is one thread, and only calls on the
spool's paths count: first a spool that is new, then one whose relay was killed with mail in it.

A call that is killed has not been made; to be killed after a call is to be killed before the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import letters
import witness
from conservation import balance
from endings import Result
from lives import Life, Nursery
from senders import session
from stage import CALLS_AT_ONCE, Stage, staged
from tracer import CHANGES, Call, killing_child, killing_thread, read, watching_process

from relay.simulator import Fault

MOST: Final = 500  # calls of one kind by one thread; more is a mistake
PATIENCE_S: Final = 60.0
_SMALL, _LARGE = 1_000, 200_000
_KEPT: Final = 1  # large message at a time: its content may be there before its row, and after it; it is kept for days
_MARKS: Final = (("writer", "fdatasync", "-wal>"), ("files", "rename", ".contents/"))  # role, and a call only it makes
Tell = Callable[[str], None]


class Campaign:
    """All runs of it share a stage and its evidence; each has a spool of its own."""

    def __init__(self, stage: Stage, nursery: Nursery, tell: Tell) -> None:
        self._stage = stage
        self._nursery = nursery
        self._tell = tell
        self._letters = 0
        self._runs = 0
        self.kills: Counter[str] = Counter()

    async def at_work(self) -> None:
        """Every call of every role, once the spool is in use."""
        for (role, call), count in sorted((await self._survey()).items()):
            index = 1
            while index <= MOST and await self._killed_at_work(role, call, index):
                index += 1
            self._note(f"{role}, {call}", index - 1)
            if index == 1:
                raise RuntimeError(f"no kill at {call} of {role}, which was seen {count} times")

    async def while_opened(self, *, crashed: bool) -> None:
        """Every call on the spool's paths until the relay is ready."""
        before = self.kills.total()
        for call in CHANGES:
            index = 1
            while index <= MOST and await self._killed_while_opened(call, index, crashed=crashed):
                index += 1
            self._note(f"opening a {'crashed' if crashed else 'new'} spool, {call}", index - 1)
        if self.kills.total() == before:
            raise RuntimeError("opening a spool makes no system call: the tracer does not see what it should")

    def _note(self, where: str, kills: int) -> None:
        self.kills[where] += kills
        if kills:
            self._tell(f"  {where}: {kills}")

    # At work

    async def _survey(self) -> Counter[tuple[str, str]]:
        """How often each role makes each call in the work, from a run that nothing disturbs."""
        life = await self._warm()
        output = self._stage.folder / "survey"
        async with watching_process(life.pid, output, *CHANGES):
            await self._work(life)
            await self._stage.leave(signal.SIGTERM)
        calls = read(output.read_text("utf-8", "replace").splitlines())
        roles = {thread: role for role, thread in _roles(calls).items()}
        seen = Counter(
            (roles.get(call.thread, "other"), call.name) for call in calls if str(self._stage.spool) in call.arguments
        )
        return Counter({key: count for key, count in seen.items() if key[0] != "other"})

    async def _killed_at_work(self, role: str, call: str, index: int) -> bool:
        """One run; whether there was a call to be killed at."""
        life = await self._warm()
        output = self._stage.folder / "look"
        async with watching_process(life.pid, output, *CHANGES):
            await self._send(life, _LARGE, 1)
        thread = _roles(read(output.read_text("utf-8", "replace").splitlines()))[role]
        async with killing_thread(thread, call, index):
            await self._work(life)
            status = await self._stage.leave(signal.SIGTERM)
        await self._check(f"{role}, {call} {index}", status)
        return status == -signal.SIGKILL

    async def _warm(self) -> Life:
        """A relay that has begun all its threads."""
        self._new_spool()
        self._stage.blow(well=True)
        life = await self._nursery.begin(self._stage.config("on_spool"))
        self._stage.enter(life)
        await life.ready()
        await self._send(life, _LARGE, 1)
        return life

    async def _work(self, life: Life) -> None:
        """A small message in a row, a large one in a file and in two parcels; both are delivered."""
        await self._send(life, _SMALL, 1)
        await self._send(life, _LARGE, 60)

    async def _send(self, life: Life, size: int, recipients: int) -> None:
        """Have one message delivered; a relay that dies of it is what we are here for."""
        letter = self._letter(size, recipients)
        with contextlib.suppress(ConnectionError):
            async with session(life.port) as client:
                await client.submit(letter, self._stage.notes)
        if self._stage.notes.acknowledged.issuperset(letter.recipients):
            delivery = asyncio.ensure_future(self._stage.record.until_delivered(letter.recipients))
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait((delivery, life.ended), return_when=asyncio.FIRST_COMPLETED)
            delivery.cancel()

    # While it is opened

    async def _killed_while_opened(self, call: str, index: int, *, crashed: bool) -> bool:
        self._new_spool()
        if crashed:
            await self._crash()
        async with killing_child(self._nursery.pid, call, index, *_paths(self._stage.spool)):
            life = await self._nursery.begin(self._stage.config("on_spool"))
            if survived := await life.accepts():
                life.tell(signal.SIGTERM)
            status = await life.over()
        await self._check(f"opening, {call} {index}", status)
        return not survived

    async def _crash(self) -> None:
        """Leave a spool with mail, leases, a log and rubbish; SES takes its mail while nobody listens any more."""
        self._stage.blow(well=True)
        self._stage.ses.faults.add(Fault(action="delay"))
        life = await self._nursery.begin(self._stage.config("on_spool"))
        self._stage.enter(life)
        await life.ready()
        for size in (_SMALL, _LARGE):
            await self._send_only(life, size)
        await self._stage.ses.faults.wait_held(2, PATIENCE_S)
        await self._stage.leave(signal.SIGKILL)
        witness.note_kill(self._stage.notes, self._stage.spool, CALLS_AT_ONCE)
        rubbish = self._stage.spool.with_name(f"{self._stage.spool.name}.contents") / f"{'0' * 32}.part"
        rubbish.write_bytes(b"unfinished")

    async def _send_only(self, life: Life, size: int) -> None:
        async with session(life.port) as client:
            await client.submit(self._letter(size, 3), self._stage.notes)

    # After each run

    async def _check(self, where: str, status: int) -> None:
        """Restart, deliver, and draw up the account of everything so far. RuntimeError when it does not hold."""
        if status not in (0, -signal.SIGKILL):
            raise RuntimeError(f"killed at {where}, the relay ended with {status}")
        witness.note_kill(self._stage.notes, self._stage.spool, CALLS_AT_ONCE)
        await self._stage.drain(self._nursery)
        account = await self._stage.account()
        left = [path.name for path in self._stage.spool.with_name("spool.db.contents").iterdir()]
        unfinished = any(name.endswith(".part") for name in left)
        if not account.holds or unfinished or len(left) > _KEPT:
            raise RuntimeError("\n".join([f"killed at {where}:", *account.lines(), f"files left over: {left}"]))

    def _new_spool(self) -> None:
        self._runs += 1
        folder = self._stage.folder / f"run-{self._runs}"
        folder.mkdir()
        self._stage.spool = folder / "spool.db"

    def _letter(self, size: int, recipients: int) -> letters.Letter:
        self._letters += 1
        return letters.write(f"s{self._letters}", "app@example.com", recipients, size, random.Random(self._letters))


def _roles(calls: list[Call]) -> dict[str, int]:
    """The threads, by what they alone do."""
    return {
        role: next(call.thread for call in calls if call.name == name and mark in call.arguments)
        for role, name, mark in _MARKS
    }


def _paths(spool: Path) -> list[Path]:
    names = ("", "-wal", "-shm", "-journal", ".lock", ".contents", f".contents/{'0' * 32}.part")
    return [spool.parent, *(Path(f"{spool}{name}") for name in names)]


async def campaign(tell: Tell = lambda _: None) -> Result:
    """The whole of it."""
    async with staged(seed=0) as (stage, nursery):
        runs = Campaign(stage, nursery, tell)
        await runs.while_opened(crashed=False)
        await runs.while_opened(crashed=True)
        await runs.at_work()
        account = balance(stage.notes)
        return Result("SIGKILLs at system calls", runs.kills.total(), account, tuple(stage.complaints))
