"""The spool in one SQLite file and a folder: for one relay on one machine.

Owns the threads: one writes (`writer`), one reads, a few store large contents, so that the event loop never waits for
the disk. Guarantees what `relay.spool.interface` promises: everything returns after its sync. Opened for a queue
command it shares the file with a running relay, takes no lock and ends nobody's leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from relay.model import Buffer
from relay.spool import reading
from relay.spool.bodies import Bodies
from relay.spool.contents import content_of
from relay.spool.faults import trouble
from relay.spool.interface import Action, Lane, Part, Posting, Query, Spooled, Standing, Tally, Total, Verdict
from relay.spool.ledger import Ledger, Prepared
from relay.spool.lock import Lock
from relay.spool.mend import Mended, mend
from relay.spool.opening import Found, Opening, folder, own, share
from relay.spool.reserve import NEAR, Reserve
from relay.spool.room import shortage
from relay.spool.rows import checksum
from relay.spool.schema import open_file, open_for_reading
from relay.spool.trouble import Kind, SpoolTrouble
from relay.spool.writer import Writer

T = TypeVar("T")

_FILE_THREADS: Final = 4


class SqliteSpool:
    """An engine of `relay.spool.interface.Spool`; made by `open_spool` or `share_spool`."""

    def __init__(self, opening: Opening, ledger: Ledger, lock: Lock | None, found: Found) -> None:
        self.found = found
        self.path = opening.path
        self.min_free_bytes = opening.min_free_bytes
        self._opening = opening
        self._lock = lock
        self._bodies = Bodies(folder(opening.path))
        self._writer = Writer(ledger, self._bodies.remove, time.monotonic)
        self._reserve = Reserve(opening.path)
        self._reader = ThreadPoolExecutor(1, "spool-reader")
        self._files = ThreadPoolExecutor(_FILE_THREADS, "spool-files")
        self._reading: apsw.Connection | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._names = _Names(opening.path)

    async def put(self, posting: Posting) -> tuple[Spooled, ...]:
        """Take a mail in. When this returns, its client may hear 250."""
        return await self._to_the_end(self._put(posting))

    async def claim(self, lane: str, now: float, until: float, limit: int) -> tuple[Spooled, ...]:
        """Lease what is due in a lane."""
        return await self._done(lambda ledger: ledger.claim(lane, now, until, limit))

    async def claim_old(
        self, since: float, now: float, until: float, limit: int, *, unwarned: bool
    ) -> tuple[Spooled, ...]:
        """Lease what has waited for long, for telling about it."""
        return await self._done(lambda ledger: ledger.claim_old(since, now, until, limit, unwarned=unwarned))

    async def renew(self, parcel: Spooled, until: float) -> bool:
        """Keep a lease for longer."""
        return await self._done(lambda ledger: ledger.renew(parcel, until))

    async def settle(self, parcel: Spooled, *, dead: Verdict | None = None, notices: Sequence[Posting] = ()) -> bool:
        """End a leased parcel."""

        def act(ledger: Ledger, ready: Sequence[Prepared]) -> bool:
            if dead is not None:
                self._reserve.check(ledger.connection)
            return ledger.settle(parcel, dead, ready)

        return await self._to_the_end(self._ended(notices, act))

    async def reschedule(self, parcel: Spooled, parts: Sequence[Part], *, notices: Sequence[Posting] = ()) -> bool:
        """Give a leased parcel back."""

        def act(ledger: Ledger, ready: Sequence[Prepared]) -> bool:
            self._reserve.check(ledger.connection)
            return ledger.reschedule(parcel, parts, ready)

        return await self._to_the_end(self._ended(notices, act))

    async def agenda(self) -> tuple[Lane, ...]:
        """Every lane that has queued parcels."""
        return await self._look(reading.agenda)

    async def inspect(self, query: Query) -> tuple[Spooled, ...]:
        """Look at parcels."""
        return await self._look(lambda connection: reading.inspect(connection, query))

    async def totals(self) -> tuple[Total, ...]:
        """Parcels by state."""
        return await self._look(reading.totals)

    async def tally(self, query: Query) -> tuple[Tally, ...]:
        """How many parcels of a query there are of each lane and state."""
        return await self._look(lambda connection: reading.tally(connection, query))

    async def content(self, mail: str) -> Buffer | None:
        """The content of a mail, None when it is gone."""
        return await self._look(lambda connection: content_of(connection, self._bodies, mail))

    async def alter(self, query: Query, action: Action, now: float) -> int:
        """Do what an operator asks for."""
        return await self._done(lambda ledger: ledger.alter(query, action, now))

    async def hasten(self, latest: float) -> int:
        """Bring forward what is due later than that."""
        return await self._done(lambda ledger: ledger.hasten(latest))

    async def recall(self, lane: str, now: float) -> int:
        """Make due what was refused for its identity."""
        return await self._done(lambda ledger: ledger.recall(lane, now))

    async def forget(self, died_before: float) -> int:
        """Remove dead parcels that have been kept for long enough."""
        return await self._done(lambda ledger: ledger.forget(died_before))

    async def probe(self, now: float) -> None:
        """Write and sync something, so that `standing` tells how it is now."""
        await self._done(lambda ledger: ledger.mark(now))

    async def mend(self, now: float) -> Mended:
        """Put a new file in the place of one that is not trusted; parcels stay leased. Raises SpoolTrouble."""
        mended = await asyncio.wrap_future(self._writer.replace(lambda ledger: self._mend(ledger, now)))
        await self._in_thread(self._reader, self._stop_looking)
        return mended

    async def make_room(self) -> None:
        """Take room for deliveries on a disk that is full, as long as there is some. Raises SpoolTrouble."""
        self._writer.folded = self._reserve.lengthen
        await asyncio.wrap_future(self._writer.apart(lambda ledger: self._reserve.take(ledger.connection)))

    @property
    def standing(self) -> Standing:
        """How it is, at this moment."""
        if self._writer.distrust is None and (changed := self._names.changed()):
            # What is written to a file without a name is gone with us; all that it has can still be copied
            self._writer.suspect(SpoolTrouble(Kind.UNTRUSTED, f"{changed} was removed or replaced"))
        reason = self._writer.distrust or self._writer.last_trouble
        lacking = None if reason else shortage(self._opening.path.parent, max(self.min_free_bytes, 1))
        full = lacking is not None or (reason is not None and reason.kind is Kind.FULL)
        words = str(reason) if reason else lacking
        return Standing(self._writer.distrust is None, words, self._writer.waiting_s, full)

    async def close(self) -> None:
        """End, when everything that was asked for has been done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._close)

    async def _put(self, posting: Posting) -> tuple[Spooled, ...]:
        ready = await self._ready(posting)
        with self._unless_kept([ready]):
            return await self._done(lambda ledger: self._take(ledger, ready), adds=ready.adds)

    def _take(self, ledger: Ledger, ready: Prepared) -> tuple[Spooled, ...]:
        self._check_room(ready.adds)
        return ledger.put(ready)

    async def _ended(self, notices: Sequence[Posting], act: Callable[[Ledger, Sequence[Prepared]], bool]) -> bool:
        """A step that ends a lease, and puts notices with it."""
        ready = [await self._ready(notice) for notice in notices]
        with self._unless_kept(ready):
            done = await self._done(lambda ledger: act(ledger, ready))
        if not done:
            self._bodies.remove(one.file for one in ready if one.file)
        return done

    @contextlib.contextmanager
    def _unless_kept(self, ready: Sequence[Prepared]) -> Iterator[None]:
        """Remove files whose rows did not come to be; after a failed sync that is not known before the next start."""
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, SpoolTrouble) and error.kind is Kind.UNTRUSTED):
                self._bodies.remove(one.file for one in ready if one.file)
            raise

    async def _ready(self, posting: Posting) -> Prepared:
        """A posting whose content, if it is large, is on disk."""
        if posting.mail.size <= self._opening.border_bytes:
            return Prepared(posting)
        return await self._in_thread(self._files, lambda: self._stored(posting))

    def _stored(self, posting: Posting) -> Prepared:
        content = posting.mail.content
        self._check_room(len(content))
        return Prepared(posting, self._bodies.write(content), checksum(content))

    def _check_room(self, size: int) -> None:
        lacking = shortage(self._opening.path.parent, self.min_free_bytes + size)
        if lacking:
            raise SpoolTrouble(Kind.FULL, lacking)

    def _mend(self, ledger: Ledger, now: float) -> Mended:
        path, old = self._opening.path, ledger.connection
        mended = mend(old, path, self._bodies, now)
        ledger.connection = open_file(path, vfs=self._opening.vfs)
        self._names = _Names(path)
        old.close(True)
        return mended

    async def _done(self, act: Callable[[Ledger], T], adds: int | None = None) -> T:
        return await asyncio.wrap_future(self._writer.hand_in(act, adds))

    async def _look(self, ask: Callable[[apsw.Connection], T]) -> T:
        return await self._in_thread(self._reader, lambda: ask(self._looking()))

    def _looking(self) -> apsw.Connection:
        """The connection for reading; the reader's thread alone uses it."""
        if self._reading is None:
            self._reading = open_for_reading(self._opening.path, vfs=self._opening.vfs)
        return self._reading

    async def _in_thread(self, pool: ThreadPoolExecutor, act: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, act)
        except (apsw.Error, OSError) as error:
            reason = trouble(error)
            if reason.kind is Kind.UNTRUSTED:
                self._writer.suspect(reason)
            raise reason from error

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that goes on when nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _close(self) -> None:
        self._files.shutdown()
        self._reader.submit(self._stop_looking).result()
        self._reader.shutdown()
        is_scarce = shortage(self._opening.path.parent, NEAR) is not None  # what is given back others may take
        self._writer.close(fold=self._lock is not None, cut=not is_scarce)
        if self._lock is not None:
            self._lock.release()

    def _stop_looking(self) -> None:
        if self._reading is not None:
            self._reading.close(True)
            self._reading = None


class _Names:
    """Which files the database and its log are; asked for each mail, so it does little."""

    def __init__(self, path: Path) -> None:
        self._files = {name: _file_at(name) for name in (str(path), f"{path}-wal")}

    def changed(self) -> str | None:
        """The one that is not what it was."""
        for name, file in self._files.items():
            now = _file_at(name)
            if file is None:
                self._files[name] = now  # not there yet
            elif now != file:
                return name
        return None


def _file_at(name: str) -> tuple[int, int] | None:
    """Which file has this name; None when none has."""
    try:
        found = os.stat(name)  # noqa: PTH116 - without the cost of a path
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_spool(opening: Opening, now: float) -> SqliteSpool:
    """Open a relay's own spool, made where there is none; blocks. What an earlier relay left behind is put in order.

    Raises:
        SpoolRefused: The file cannot be this relay's spool, in words for an operator.
        SpoolTrouble: The disk or the file fails.
    """
    lock, ledger, found = own(opening, now)
    return SqliteSpool(opening, ledger, lock, found)


def share_spool(opening: Opening) -> SqliteSpool:
    """Open a spool that exists beside the relay that may be using it, for a queue command; blocks. Raises alike."""
    return SqliteSpool(opening, share(opening), None, Found())
