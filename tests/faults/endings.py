"""Relays that end again and again while clients send and SES fails at random: by SIGKILL at any moment, or by SIGTERM.

Every life has its own weather and its own way to acknowledge. At last SES is well, what waits is delivered, and the
account is drawn up.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import witness
from conservation import Balance
from lives import Nursery
from stage import ACKNOWLEDGE, CALLS_AT_ONCE, Stage, sending, staged

CLIENTS: Final = 6
TELL_EVERY: Final = 50
_LATE_S: Final = (0.05, 0.7)  # after it was ready
_EARLY_S: Final = (0.0, 0.12)  # after it was started: while it opens the spool
_EARLY: Final = 0.1  # of the kills


@dataclass(frozen=True, slots=True)
class Result:
    """What a campaign found; `complaints` are lines that no relay's log should have."""

    what: str
    lives: int
    balance: Balance
    complaints: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is as promised."""
        return self.balance.holds and not self.complaints

    def lines(self) -> list[str]:
        """For people."""
        said = [f"  BROKEN: the relay says {complaint.strip()}" for complaint in self.complaints[:5]]
        return [f"{self.what}: {self.lives}", *self.balance.lines(), *said]


async def kill(times: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Result:
    """SIGKILL at random times, some before the relay is ready."""
    async with staged(seed) as (stage, nursery):
        async with sending(stage, CLIENTS):
            for number in range(times):
                early = stage.chance.random() < _EARLY
                status = await _live(stage, nursery, number, signal.SIGKILL, early=early)
                _expect(status, -signal.SIGKILL)
                witness.note_kill(stage.notes, stage.spool, CALLS_AT_ONCE)
                _tell(tell, stage, number)
        return await _end("SIGKILLs", times, stage, nursery)


async def terminate(times: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Result:
    """SIGTERM with mail in flight: everything is answered or spooled, and nothing repeated but lost answers."""
    async with staged(seed) as (stage, nursery):
        async with sending(stage, CLIENTS):
            for number in range(times):
                _expect(await _live(stage, nursery, number, signal.SIGTERM), 0)
                _tell(tell, stage, number)
        return await _end("SIGTERMs", times, stage, nursery)


async def _live(stage: Stage, nursery: Nursery, number: int, ending: signal.Signals, *, early: bool = False) -> int:
    """One life; its exit status."""
    stage.blow()
    life = await nursery.begin(stage.config(ACKNOWLEDGE[number % len(ACKNOWLEDGE)]))
    stage.enter(life)
    if not early:
        await life.ready()
    await life.outlives(stage.chance.uniform(*(_EARLY_S if early else _LATE_S)))
    return await stage.leave(ending)


async def _end(what: str, lives: int, stage: Stage, nursery: Nursery) -> Result:
    await stage.drain(nursery)
    return Result(what, lives, await stage.account(), tuple(stage.complaints))


def _expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise RuntimeError(f"the relay ended with {status} instead of {wanted}")


def _tell(tell: Callable[[str], None], stage: Stage, number: int) -> None:
    if number % TELL_EVERY == TELL_EVERY - 1:
        notes = stage.notes
        tell(f"  {number + 1} lives, {len(notes.acknowledged)} acknowledged, {len(notes.delivered)} delivered")
