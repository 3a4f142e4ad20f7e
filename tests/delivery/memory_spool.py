"""A spool without disk and threads, for tests in fake time: the real one's own SQL, on a database in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from relay.model import Buffer
from relay.spool import reading, schema
from relay.spool.interface import Action, Lane, Part, Posting, Query, Spooled, Standing, Tally, Total, Verdict
from relay.spool.ledger import Ledger, Prepared
from relay.spool.mend import Mended
from relay.spool.trouble import Kind, SpoolTrouble

T = TypeVar("T")

WELL = Standing(trusted=True, trouble=None, waiting_s=0.0)


class MemorySpool:
    """Each write takes `sync_s`; while `ill` names a trouble all writes raise it, while `blind` all reads do."""

    def __init__(self, sync_s: float = 0.0) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.pragma("foreign_keys", True)
        schema._migrate(self._connection)
        self._ledger = Ledger(self._connection)
        self.sync_s = sync_s
        self.standing = WELL
        self.ill: Kind | None = None
        self.damaged: set[str] = set()  # mails whose content is not what it was
        self.blind: Kind | None = None
        self.writes: list[str] = []  # those that were done, by name
        self.probes = self.mends = self.rooms = 0

    async def put(self, posting: Posting) -> tuple[Spooled, ...]:
        return await self._write("put", lambda ledger: ledger.put(Prepared(posting)))

    async def claim(self, lane: str, now: float, until: float, limit: int) -> tuple[Spooled, ...]:
        return await self._write("claim", lambda ledger: ledger.claim(lane, now, until, limit))

    async def claim_old(
        self, since: float, now: float, until: float, limit: int, *, unwarned: bool
    ) -> tuple[Spooled, ...]:
        return await self._write(
            "claim_old", lambda ledger: ledger.claim_old(since, now, until, limit, unwarned=unwarned)
        )

    async def renew(self, parcel: Spooled, until: float) -> bool:
        return await self._write("renew", lambda ledger: ledger.renew(parcel, until))

    async def settle(self, parcel: Spooled, *, dead: Verdict | None = None, notices: Sequence[Posting] = ()) -> bool:
        ready = [Prepared(notice) for notice in notices]
        return await self._write("settle", lambda ledger: ledger.settle(parcel, dead, ready))

    async def reschedule(self, parcel: Spooled, parts: Sequence[Part], *, notices: Sequence[Posting] = ()) -> bool:
        ready = [Prepared(notice) for notice in notices]
        return await self._write("reschedule", lambda ledger: ledger.reschedule(parcel, parts, ready))

    async def agenda(self) -> tuple[Lane, ...]:
        return await self._read(reading.agenda)

    async def inspect(self, query: Query) -> tuple[Spooled, ...]:
        return await self._read(lambda connection: reading.inspect(connection, query))

    async def totals(self) -> tuple[Total, ...]:
        return await self._read(reading.totals)

    async def tally(self, query: Query) -> tuple[Tally, ...]:
        return await self._read(lambda connection: reading.tally(connection, query))

    async def content(self, mail: str) -> Buffer | None:
        if mail in self.damaged:
            raise SpoolTrouble(Kind.DAMAGED, "some of its bytes have changed")
        found = await self._read(lambda connection: reading.content(connection, mail))
        return None if found is None else found[1]

    async def alter(self, query: Query, action: Action, now: float) -> int:
        return await self._write("alter", lambda ledger: ledger.alter(query, action, now))

    async def hasten(self, latest: float) -> int:
        return await self._write("hasten", lambda ledger: ledger.hasten(latest))

    async def recall(self, lane: str, now: float) -> int:
        return await self._write("recall", lambda ledger: ledger.recall(lane, now))

    async def forget(self, died_before: float) -> int:
        return await self._write("forget", lambda ledger: ledger.forget(died_before))

    async def probe(self, now: float) -> None:
        self.probes += 1
        await self._write("probe", lambda ledger: ledger.mark(now))
        if not self.standing.full:  # that ends when there is room, whatever is written
            self.standing = WELL

    async def mend(self, now: float) -> Mended:
        self.mends += 1
        await self._write("mend", lambda ledger: ledger.mark(now))
        self.standing = WELL
        return Mended(0, (), Path("spool.db.damaged"))

    async def make_room(self) -> None:
        self.rooms += 1

    async def close(self) -> None:
        self._connection.close()

    async def _write(self, name: str, act: Callable[[Ledger], T]) -> T:
        """As with the real one, whoever is cancelled while it waits does not undo it."""
        if self.ill is not None:
            await asyncio.sleep(self.sync_s)
            raise SpoolTrouble(self.ill, "the disk is ill")
        with self._connection:
            result = act(self._ledger)
        self.writes.append(name)
        await asyncio.sleep(self.sync_s)
        return result

    async def _read(self, ask: Callable[[apsw.Connection], T]) -> T:
        await asyncio.sleep(0)
        if self.blind is not None:
            raise SpoolTrouble(self.blind, "the disk is ill")
        return ask(self._connection)
