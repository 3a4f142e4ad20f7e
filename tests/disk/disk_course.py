"""The course of one scene: some mail waits, the disk falls ill, gets well, and nothing is lost or told wrongly."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import letters
import witness
from conservation import Balance, Evidence, balance
from disk_caller import Offers, Probe
from disk_scenes import Scene
from letters import Letter
from relay_process import Bench, RunningRelay, local_ses

from relay.simulator import Fault

SHIM: Final = Path(__file__).parent / "shim"
WAITING: Final = 12
_PROMPT_S: Final = 30.0
_MEANWHILE_S: Final = 1.5
_SIZES: Final = (1_000, 200_000)  # a row, and a file of its own
_TAKEN: Final = "content: 250 2.0.0"
_HONEST: Final = frozenset({"250 2.0.0", "452 4.3.1", "451 4.3.0"})


@dataclass(slots=True)
class Finding:
    """What was seen: the replies during the illness, some times in seconds, the account, and what is not as it must be.

    Times are None for what never came. `meanwhile`: addresses of those that waited that were delivered during it.
    """

    scene: str
    answers: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    meanwhile: int = 0
    unready_s: float | None = None
    ready_s: float | None = None
    drained_s: float | None = None
    balance: Balance = field(default_factory=lambda: balance(Evidence()))
    broken: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        answers = ", ".join(f"{number} x {reply}" for reply, number in sorted(self.answers.items()))
        figures = ", ".join(f"{self.balance.figures[name]} {name}" for name in ("acknowledged", "delivered", "repeats"))
        return [
            f"{self.scene}: {answers}",
            f"  of {self.waiting} that waited {self.meanwhile} delivered meanwhile; {figures}",
            f"  /readyz 503 after {_seconds(self.unready_s)}",
            f"  well again: /readyz 200 after {_seconds(self.ready_s)}, all delivered after {_seconds(self.drained_s)}",
            *(f"  BROKEN: {what}" for what in self.broken),
        ]


def _seconds(value: float | None) -> str:
    return "no time" if value is None else f"{value:.1f} s"


class Course:
    """One scene under way."""

    def __init__(self, scene: Scene, bench: Bench, place: Path) -> None:
        self.finding = Finding(scene.name)
        self._scene = scene
        self._bench = bench
        self._place = place
        self._notes = Evidence()
        self._answers: Counter[str] = Counter()
        self._letters = (_letter(number) for number in count())

    async def run(self) -> Finding:
        """Play it."""
        relay = await self._start()
        async with AsyncExitStack() as clients:
            offers = Offers(clients, relay.port, self._notes, self._answers)
            await self._before(offers)
            async with self._scene.ailment(relay.process.pid, self._place):
                await self._ill(offers, Probe(relay.admin_port))
                if self._scene.restart:
                    await self._end(relay)
            await offers.settled()
        self._judge()
        if self._scene.restart:
            relay = await self._start()
        async with AsyncExitStack() as clients:
            await self._well(Offers(clients, relay.port, self._notes, self._answers), Probe(relay.admin_port))
        await self._end(relay)
        await self._draw_up()
        return self.finding

    async def _start(self) -> RunningRelay:
        if self._scene.shim:
            self._bench.environment |= {"PYTHONPATH": str(SHIM), "DISK_ORDERS": str(self._place / "orders.json")}
        return await self._bench.start(
            spool={"path": str(self._place / "spool.db"), "min_free_bytes": "1MB"},
            delivery={"acknowledge": "on_spool", "retry": ["1s"]},
            bounces={"from": letters.BOUNCES},
        )

    async def _before(self, offers: Offers) -> None:
        """SES is down, and some mail waits; or it is up, and all is delivered."""
        if not self._scene.idle:
            self._bench.ses.faults.add(Fault(action="error"))
        await offers.make(self._letters, WAITING)
        if self._scene.idle:
            await _until(lambda: self._delivered(self._notes.acknowledged))
        self._must(set(self._answers) == {_TAKEN}, f"a relay with a good disk says {dict(self._answers)}")
        self._answers.clear()

    async def _ill(self, offers: Offers, readiness: Probe) -> None:
        """Mail is refused for the moment. SES is up again, and gets what waits where that is possible."""
        waited = set(self._notes.acknowledged)
        await offers.make(self._letters, 10)
        if not self._scene.small:
            self.finding.unready_s = await _until(readiness.unready)
            self._must(self.finding.unready_s is not None, "/readyz stays 200")
            await offers.make(self._letters, 10)
        self._bench.ses.faults.clear()
        seconds = await _until(lambda: self._delivered(waited), _PROMPT_S if self._scene.delivers else _MEANWHILE_S)
        self._must(seconds is not None or not self._scene.delivers, "deliveries do not go on")
        self.finding.waiting, self.finding.meanwhile = len(waited), len(waited & self._at_ses())
        self._notes.in_flight.update(self._at_ses())  # that they are done may not have been written: one repeat each
        self._notes.calls_at_kills = len(self._bench.ses.received)  # likewise

    def _judge(self) -> None:
        """The replies while the disk was ill, and the late ones of those who waited."""
        answers = self.finding.answers = self._answers.copy()
        self._answers.clear()
        wrong = [reply for reply in answers if reply.partition(": ")[2] not in _HONEST]
        self._must(not wrong, f"replies that may not be: {wrong}")
        self._must(set(answers) != {_TAKEN}, "nothing was refused: the fault did not strike")

    async def _well(self, offers: Offers, readiness: Probe) -> None:
        """The disk is well again: so is the relay."""
        self.finding.ready_s = await _until(readiness.ready)
        self._must(self.finding.ready_s is not None, "/readyz never is 200 again")
        await offers.make(self._letters, 2)
        self._must(set(self._answers) == {_TAKEN}, f"a relay that is ready says {dict(self._answers)}")
        self.finding.drained_s = await _until(lambda: self._delivered(self._notes.acknowledged), 2 * _PROMPT_S)
        self._must(self.finding.drained_s is not None, "not all is delivered")

    async def _end(self, relay: RunningRelay) -> None:
        """It ends as it should."""
        relay.tell(signal.SIGTERM)
        status = await relay.end()
        self._must(status == 0, f"the relay ended with {status}")

    async def _draw_up(self) -> None:
        """The account."""
        for message in self._bench.ses.received:
            witness.note_delivery(self._notes, message)
        await witness.note_spool(self._notes, self._place / "spool.db")
        self.finding.balance = balance(self._notes)
        self.finding.broken += [f"{rule}: {found}" for rule, found in self.finding.balance.broken.items()]

    def _at_ses(self) -> set[str]:
        return {recipient for message in self._bench.ses.received for recipient in message.recipients}

    async def _delivered(self, addresses: set[str]) -> bool:
        return addresses <= self._at_ses()

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            self.finding.broken.append(otherwise)


def _letter(number: int) -> Letter:
    size, chance = _SIZES[number % len(_SIZES)], random.Random(number)
    return letters.write(f"d{number}", "app@example.com", 2, size, chance)


async def _until(true: Callable[[], Awaitable[bool]], most: float = _PROMPT_S) -> float | None:
    """Ask again and again; after how many seconds it was true, None when it never was."""
    now = asyncio.get_running_loop().time
    began = now()
    while not await true():
        if now() - began > most:
            return None
        await asyncio.sleep(0.05)
    return now() - began


async def play(scene: Scene, folder: Path) -> Finding:
    """One scene, in a folder of its own. Raises CommandError when its place or its fault cannot be made."""
    async with local_ses(folder) as bench, scene.place(folder) as place:
        return await Course(scene, bench, place).run()
