"""Looks after the spool while the relay lives: is the disk well again, is the file to be replaced, what is too old.

Guarantees: trouble that has passed is noticed without mail and without a restart; a file that cannot be trusted is
replaced as soon as the disk lets it, and the postmaster hears of it; room is taken for deliveries before the disk is
full; what has waited for its whole lifetime without a turn is given up, and senders are warned in time; dead mail goes
when it has been kept for long enough; a clock that is set back delays nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from pathlib import Path
from typing import Final, Protocol

from relay.delivery.leases import LEASE_S, Lease, Leases
from relay.delivery.pace import Clock
from relay.delivery.settlement import TELL_AGAIN_S, Settlement
from relay.observe.log import Journal
from relay.policy import spool_notices
from relay.policy.spool_notices import News
from relay.spool.interface import Spool, Total
from relay.spool.mend import Mended
from relay.spool.trouble import SpoolTrouble

LOOK_S: Final = 1.0  # at how it stands
TOTALS_S: Final = 10.0
UPKEEP_S: Final = 60.0
GRACE_S: Final = 3600.0  # beyond its lifetime for what never had its turn: it ends at an attempt, if there can be one
CALM_S: Final = 900.0  # without trouble, until a file is again replaced as soon as it is in trouble
JUMP_S: Final = 60.0  # what the clock may be set by before it matters
_AT_ONCE: Final = 100


class MendableSpool(Spool, Protocol):
    """A spool whose file can be replaced, and kept longer than it need be."""

    async def mend(self, now: float) -> Mended:
        """Put a new file in the place of one that is not trusted."""

    async def make_room(self) -> None:
        """Take room for deliveries on a disk that is full, as long as there is some."""


class SpoolWatch:
    """One per relay; `run` is its life.

    Args:
        spool: what it looks after.
        leases: what this relay works on.
        settlement: gives up and warns.
        journal: told of changes.
        clock: steady seconds and pauses.
        wall: seconds since 1970, which may jump.
        give_back: has the queue let go of what waits in memory for long.
    """

    def __init__(
        self, spool: MendableSpool, leases: Leases, settlement: Settlement, journal: Journal, clock: Clock,
        wall: Callable[[], float], give_back: Callable[[], None],
    ) -> None:  # fmt: skip
        self.keep_dead = inf
        self.news: list[News] = []  # of which the postmaster is to be told
        self._spool, self._leases, self._settlement = spool, leases, settlement
        self._journal, self._clock, self._wall, self._give_back = journal, clock, wall, give_back
        self._began = clock.now()
        self._offset = wall() - clock.now()
        self.totals: Sequence[Total] = ()
        self._told: str | None = None
        self._totals_at = self._mend_at = self._distrusted_at = self._noted_at = -inf
        self._mend_pause_s = 0.0

    async def run(self) -> None:
        """Look after it until cancelled; what waits there for the disk must not keep it from being mended."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(LOOK_S, self._look))
            tasks.create_task(self._every(UPKEEP_S, self._upkeep))

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except SpoolTrouble as trouble:
                self._tell(str(trouble))
            except Exception as error:  # noqa: BLE001 - mail must go on whatever it was
                self._journal.internal_error("spool", error)
            await self._clock.pause(seconds)

    async def _look(self) -> None:
        await self._see_how_it_stands()
        now = self._clock.now()
        if now >= self._totals_at:
            self._totals_at = now + TOTALS_S
            self.totals = await self._spool.totals()
            self._journal.queue_is(self.totals, self._wall())
        await self._mind_the_clock()

    async def _see_how_it_stands(self) -> None:
        """Try whether the trouble has passed; while it has not, that raises."""
        standing = self._spool.standing
        self._tell(standing.trouble)
        if not standing.trusted:
            await self._mend()
        elif standing.trouble is not None:
            await self._spool.probe(self._wall())
            if standing.full:
                await self._spool.make_room()
        self._tell(self._spool.standing.trouble)

    async def _mend(self) -> None:
        """Copy the file, if it is time for that: an ill disk is not to be written to all the time.

        That a copy could be made is no proof that the disk is well: only time is.
        """
        if self._clock.now() - self._distrusted_at > CALM_S:
            self._mend_pause_s, self._mend_at = 0.0, -inf
        self._distrusted_at = self._clock.now()
        if self._clock.now() < self._mend_at:
            return
        self._mend_pause_s = min(2 * self._mend_pause_s or LOOK_S, UPKEEP_S)
        self._mend_at = self._clock.now() + self._mend_pause_s
        mended = await self._spool.mend(self._wall())
        log_mended(mended, self._journal)
        self._note(mended)
        await self._tell_news()
        await self._spool.make_room()

    def _note(self, mended: Mended) -> None:
        """For the postmaster; while nothing is lost, one letter is enough for a disk that fails again and again."""
        now = self._clock.now()
        if mended.lost or mended.unreadable or now - self._noted_at >= TELL_AGAIN_S:
            self._noted_at = now
            self.news.append(mended_news(mended))

    async def _tell_news(self) -> None:
        """What the disk does not take is told later."""
        while self.news:
            first = self.news.pop(0)
            if not await self._settlement.tell(first.subject, first.lines):
                self.news.insert(0, first)
                return

    def _tell(self, trouble: str | None) -> None:
        """Say it when it begins and when it ends, not every second; figures in it change all the time."""
        if trouble is not None and self._told is None:
            self._journal.spool_trouble(trouble)
        elif trouble is None and self._told is not None:
            self._journal.spool_well()
        self._told = trouble

    async def _mind_the_clock(self) -> None:
        """A clock that was set back would leave everything waiting by that much longer."""
        offset = self._wall() - self._clock.now()
        if offset < self._offset - JUMP_S:
            await self._hasten()
        self._offset = offset

    async def _hasten(self) -> None:
        await self._spool.hasten(self._wall() + self._settlement.terms.schedule.longest_s)

    async def _upkeep(self) -> None:
        now, schedule = self._wall(), self._settlement.terms.schedule
        await self._tell_news()
        await self._leases.keep(now)
        await self._hasten()  # what was decided before the clock was set back, and written after it
        self._give_back()
        if self._clock.now() - self._began > GRACE_S:  # what waited while no relay ran has its turn first
            await self._all_old(now - schedule.lifetime - GRACE_S, self._settlement.expire, unwarned=False)
        if schedule.delay_warning is not None:
            await self._all_old(now - schedule.delay_warning, self._settlement.warn, unwarned=True)
        await self._spool.forget(now - self.keep_dead)
        await self._spool.make_room()

    async def _all_old(self, since: float, act: Callable[[Lease], Awaitable[bool]], *, unwarned: bool) -> None:
        while True:
            now = self._wall()
            old = await self._spool.claim_old(since, now, now + LEASE_S, _AT_ONCE, unwarned=unwarned)
            leases = [self._leases.take(parcel, now + LEASE_S) for parcel in old]
            # What is in hand already, as after the clock was set forward, ends with its attempt
            await asyncio.gather(*(self._act(act, lease) for lease in leases if lease is not None))
            if len(old) < _AT_ONCE:
                return

    async def _act(self, act: Callable[[Lease], Awaitable[bool]], lease: Lease) -> None:
        try:
            await act(lease)
        finally:
            self._leases.done(lease)


def log_mended(mended: Mended, journal: Journal) -> None:
    """Say in the log that a file was replaced."""
    journal.spool_mended(mended.parcels, mended.lost, mended.old, mended.remains, unreadable=mended.unreadable)


def mended_news(mended: Mended, aside: Path | None = None) -> News:
    """Say the same to the postmaster; `aside`: where contents are that belong to no mail of the new file."""
    remains, folder = (None if path is None else str(path) for path in (mended.remains, aside))
    return spool_notices.spool_mended(
        mended.parcels, mended.lost, str(mended.old), remains, folder, unreadable=mended.unreadable
    )
