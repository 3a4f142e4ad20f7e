"""The course of a campaign: boot, account, mail, cut, again and again, with SES and clients outside."""

import asyncio
import contextlib
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import weather
from power_account import Account
from power_disk import VolatileDisk, served
from power_machine import PATIENCE_S, Machine, MachineError, Parts, machine
from senders import send_for_ever
from stage import ended
from witness import Record

from relay.simulator import Fault, Simulator

CLIENTS: Final = 6
_ACKNOWLEDGED: Final = (1, 1000)  # recipients in one life, fewest and most
_THEN: Final = 300  # requests to the disk, at most, before the cut
_THEN_S: Final = 5.0  # where there are not so many
_EARLY: Final = 0.2  # of the cuts come before the relay is up again
_DISK_BYTES: Final = 1 << 30
_DRAIN_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Course:
    """One campaign under way: its machine's parts, SES, chance, and the account that it draws up."""

    parts: Parts
    ses: Simulator
    chance: random.Random
    account: Account
    record: Record
    tell: Callable[[str], None]

    async def run(self) -> None:
        """Cut the power as often as planned. A machine that does not come up again ends it."""
        make_disk(self.parts.platter)
        try:
            for number in range(self.account.plan.cuts):
                early = number > 0 and not self.account.plan.loses and self.chance.random() < _EARLY
                await self._life(self._until_early_cut if early else self._until_cut)
            await self._life(self._until_drained)
        except MachineError as error:
            self.account.trouble.append(str(error))

    async def _life(self, live: Callable[[Machine, VolatileDisk], Awaitable[None]]) -> None:
        """From one boot to the next cut."""
        disk = VolatileDisk(self.parts.platter, lies=self.account.plan.lies)
        try:
            async with served(disk, self.parts.disk), machine(self.parts) as guest:
                await live(guest, disk)
        finally:
            self.account.sectors.append(disk.cut(self.chance))
            disk.close()

    async def _boots(self, guest: Machine) -> None:
        """The guest tells what it finds, and its relay comes up."""
        self._draw_up(await guest.report())
        await guest.answers()

    def _draw_up(self, report: dict[str, Any]) -> None:
        if self.account.sectors:
            self.record.catch_up()
            self.tell(self.account.draw_up(report))

    async def _until_early_cut(self, guest: Machine, disk: VolatileDisk) -> None:
        """The power goes again while file system and relay recover."""
        disk.halt_in(self.chance.randrange(_THEN))
        up = asyncio.ensure_future(guest.answers())
        try:
            await guest.until("nothing happens", lambda: up.done() or disk.halted.is_set())
        finally:
            up.cancel()
        await guest.cut()
        if guest.reported is not None:  # else there was no relay either
            self._draw_up(guest.reported)

    async def _until_cut(self, guest: Machine, disk: VolatileDisk) -> None:
        """Clients send, and when some mail has been acknowledged the power goes, between two requests to the disk."""
        await self._boots(guest)
        for fault in self._weather():
            self.ses.faults.add(fault)
        notes = self.account.notes
        goal = len(notes.acknowledged) + self.chance.randint(*_ACKNOWLEDGED)
        async with self._sending(guest.port):
            await guest.until("the relay takes no mail", lambda: len(notes.acknowledged) >= goal)
            disk.halt_in(self.chance.randrange(_THEN))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(disk.halted.wait(), _THEN_S)
            await guest.cut()
        self.ses.faults.clear()
        await self.record.news(0)

    def _weather(self) -> tuple[Fault, ...]:
        """SES refuses some for good, is late, fails often or always; no answer is lost, which would take long.

        Where mail has to be lost, it must be in the spool.
        """
        fails = 1.0 if self.account.plan.loses else self.chance.choice((0.1, 0.3, 1.0))
        late = self.chance.uniform(0.05, 1.0)
        return (
            *weather.refusals(),
            Fault(action="error", probability=fails, seed=self.chance.getrandbits(32)),
            Fault(action="delay", probability=0.5, seconds=late, seed=self.chance.getrandbits(32)),
        )

    @asynccontextmanager
    async def _sending(self, port: int) -> AsyncIterator[None]:
        """Clients that send all the time."""
        life, guests = len(self.account.sectors), At(port)
        tasks = [
            asyncio.ensure_future(
                send_for_ever(f"l{life}c{client}", guests, self.account.notes, random.Random(self.chance.random()))
            )
            for client in range(CLIENTS)
        ]
        try:
            yield
        finally:
            for task in tasks:
                await ended(task)

    async def _until_drained(self, guest: Machine, _: VolatileDisk) -> None:
        """SES is well: all that was acknowledged is delivered, or told as failed. What is lost is not waited for."""
        await self._boots(guest)
        if self.account.plan.loses:
            return
        for fault in weather.refusals():
            self.ses.faults.add(fault)
        notes, now = self.account.notes, asyncio.get_running_loop().time
        began, waiting = now(), notes.acknowledged
        try:
            async with asyncio.timeout(_DRAIN_S):
                while waiting := notes.acknowledged - set(notes.delivered) - set(notes.bounced):
                    await self.record.news(1.0)
        except TimeoutError:
            self.account.trouble.append(f"mail to {len(waiting)} recipients still waits after {_DRAIN_S:.0f} s")
        else:
            self.account.drained_s = now() - began


@dataclass(frozen=True, slots=True)
class At:
    """Where clients find the relay; they may always send."""

    number: int

    async def port(self) -> int:
        """The port."""
        return self.number

    async def turn(self) -> None:
        """Nothing to wait for."""


def make_disk(path: Path) -> None:
    """A new ext4 file system in a file. Raises MachineError where there is no such tool."""
    tool = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        raise MachineError("there is no mkfs.ext4 on this machine")
    with path.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run([tool, "-q", "-F", str(path)], check=True, timeout=PATIENCE_S)
