"""Where the evidence comes from: the record of the simulator, and the spool's file.

The simulator lives in the campaign's own process, so no kill touches its record. The file is read when the relay has
ended; the leases in it, right after a kill, are the attempts that may have been under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import apsw
import letters
from conservation import Evidence

from relay.simulator import Received, Simulator
from relay.spool.interface import Action, Query, Spooled, State
from relay.spool.opening import Opening
from relay.spool.schema import open_for_reading
from relay.spool.sqlite import SqliteSpool, share_spool

EVERYTHING: Final = Query(limit=1_000_000)
_FOR_EVER_S: Final = 86_400.0


class Record:
    """What the simulator takes, noted as it comes; `ses` need not keep more than the last few messages."""

    def __init__(self, ses: Simulator, notes: Evidence) -> None:
        self._ses = ses
        self._notes = notes
        self._seen = 0
        self._grown = asyncio.Event()

    async def watch(self) -> None:
        """Note everything, until cancelled."""
        while True:
            await self._ses.wait_for(self._seen + 1, _FOR_EVER_S)
            self.catch_up()

    def catch_up(self) -> None:
        """Note what has come since the last time. RuntimeError when the simulator has forgotten some of it."""
        kept, new = self._ses.received, self._ses.total - self._seen
        if new > len(kept):
            raise RuntimeError(f"{new} messages came, and only {len(kept)} of them are still known")
        for message in kept[len(kept) - new :]:
            note_delivery(self._notes, message)
        self._seen = self._ses.total
        self._grown.set()
        self._grown = asyncio.Event()

    async def news(self, seconds: float) -> None:
        """Return when something has come, or after so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._grown.wait(), seconds)

    async def until_few_wait(self, most: int) -> None:
        """Return when of what was acknowledged no more than that has still to come."""
        notes = self._notes
        while len(notes.acknowledged) - len(notes.delivered) - len(notes.bounced) > most:
            await self._grown.wait()

    async def until_delivered(self, recipients: Collection[str]) -> None:
        """Return when SES has a copy for each of them."""
        while not all(self._notes.delivered[one] for one in recipients):
            await self._grown.wait()


def note_delivery(notes: Evidence, message: Received) -> None:
    """One message that SES has: copies for its recipients, or a bounce."""
    if message.sender == letters.BOUNCES:
        notes.bounced.update(letters.told_failed(message.raw))
        return
    notes.calls_repeated += any(notes.delivered[one] for one in message.recipients)
    notes.delivered.update(message.recipients)
    if not message.answered:
        notes.unanswered.update(message.recipients)
        notes.calls_unanswered += 1
    if not letters.is_whole(message.raw, message.recipients):
        notes.damaged.update(message.recipients)


def note_kill(notes: Evidence, path: Path, calls_at_once: int) -> None:
    """A relay was killed that makes so many calls at once: what it had leased. Nothing of the file changes."""
    notes.calls_at_kills += calls_at_once
    with contextlib.suppress(apsw.CantOpenError, apsw.SQLError, apsw.ReadOnlyError):  # killed while it made the spool
        connection = open_for_reading(path)
        try:
            for (recipients,) in connection.execute("SELECT recipients FROM parcels WHERE ticket != 0"):
                notes.in_flight.update(filter(letters.is_ours, json.loads(recipients)))
        finally:
            connection.close(True)


async def note_spool(notes: Evidence, path: Path) -> None:
    """What is in the spool, now that its relay has ended."""
    async with shared(path) as spool:
        for parcel in await spool.inspect(EVERYTHING):
            content = bytes(await spool.content(parcel.mail) or b"")
            _note_parcel(notes, parcel, content)


def _note_parcel(notes: Evidence, parcel: Spooled, content: bytes) -> None:
    recipients = parcel.envelope.recipients
    if parcel.envelope.sender == letters.BOUNCES:
        notes.bounced.update(letters.told_failed(content))
        return
    place = {State.QUEUED: notes.queued, State.HELD: notes.held, State.DEAD: notes.dead}[parcel.state]
    place.update(recipients)
    if not letters.is_whole(content, recipients):
        notes.damaged.update(recipients)


async def hurry(path: Path) -> int:
    """Make everything due that waits, as `queue retry` does and sooner; how many parcels still wait.

    An operator would have to wait for ten minutes where an answer was lost: nobody is to wait for that here.
    """
    async with shared(path) as spool:
        await spool.alter(Query(state=State.QUEUED, limit=EVERYTHING.limit), Action.RETRY, time.time())
        await spool.hasten(time.time())
        return sum(total.parcels for total in await spool.totals() if total.state is State.QUEUED)


async def remains(path: Path) -> str:
    """What still waits though it was made due, in words."""
    async with shared(path) as spool:
        waiting = await spool.inspect(Query(state=State.QUEUED, limit=EVERYTHING.limit))
    first = ", ".join(f"{one.id} due in {one.part.due - time.time():.0f} s" for one in waiting[:3])
    return f"{len(waiting)} parcels are not delivered, though SES is well and they were made due: {first}"


@asynccontextmanager
async def shared(path: Path) -> AsyncIterator[SqliteSpool]:
    """The spool beside the relay that may be using it."""
    spool = share_spool(Opening(path))
    try:
        yield spool
    finally:
        await spool.close()
