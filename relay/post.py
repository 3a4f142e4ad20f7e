"""A relay's spool and everything that works on it, as one: opened, started, changed on reload and stopped together.

Guarantees the order of the end: no more claims, then attempts have a moment to end, then the spool is closed when all
that was asked of it is on disk.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from relay.delivery.acceptance import Acceptance, DirectFirst, Queue, SpoolFirst
from relay.delivery.courier import Courier
from relay.delivery.leases import Leases
from relay.delivery.pace import Clock
from relay.delivery.queue_runner import QueueRunner
from relay.delivery.settlement import Settlement, Terms
from relay.delivery.spool_watch import SpoolWatch, log_mended, mended_news
from relay.errors import Rejection
from relay.observe.log import Journal
from relay.policy import spool_notices
from relay.policy.letters import Letterhead
from relay.policy.retrying import Schedule
from relay.policy.routing import Router
from relay.policy.rulebook import RuleBook
from relay.policy.spool_notices import News
from relay.settings.model import Settings
from relay.settings.sections import Spool as SpoolSettings
from relay.spool.opening import Before, Found, Opening, folder
from relay.spool.sqlite import SqliteSpool, open_spool


class PostOffice:
    """One per relay that has a spool; made and used inside its event loop."""

    def __init__(
        self, spool: SqliteSpool, settings: Settings, book: RuleBook, courier: Courier, journal: Journal,
        clock: Clock, hostname: str,
    ) -> None:  # fmt: skip
        self._spool, self._journal, self._hostname = spool, journal, hostname
        self._leases = Leases(spool)
        self._settlement = Settlement(
            spool, journal, clock, time.time, new_id, terms_of(settings, book.router, hostname)
        )
        self._runner = QueueRunner(spool, self._leases, self._settlement, courier, book, journal, clock, time.time)
        self._watch = SpoolWatch(
            spool, self._leases, self._settlement, journal, clock, time.time, self._runner.give_back_old
        )
        self._queue = Queue(
            spool, self._leases, self._settlement, journal, time.time, self._runner.wake, self._runner.heard
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._settings = settings
        self._watch.news += found_news(spool.found, spool.path)
        self.change(settings, book, courier)

    def acceptance(self) -> Acceptance:
        """How clients' mail is taken in."""
        on_spool = self._settings.delivery.acknowledge == "on_spool"
        return SpoolFirst(self._queue) if on_spool else DirectFirst(self._queue)

    def status(self) -> Mapping[str, object]:
        """For the status page."""
        counts = ", ".join(f"{total.parcels} {total.state}" for total in self._watch.totals)
        return {"spool": self._spool.standing.trouble or "well", "in the spool": counts or "nothing"}

    def start(self) -> None:
        """Begin to deliver what is there, and to look after it."""
        self._tasks = [asyncio.create_task(self._runner.run()), asyncio.create_task(self._watch.run())]

    def change(self, settings: Settings, book: RuleBook, courier: Courier) -> None:
        """Hold to other rules."""
        self._settings = settings
        self._settlement.terms = terms_of(settings, book.router, self._hostname)
        if settings.spool is not None:
            self._watch.keep_dead = settings.spool.keep_dead
            self._spool.min_free_bytes = settings.spool.min_free_bytes
        self._runner.change(book, courier)

    async def wind_down(self, grace_s: float) -> None:
        """Begin nothing more, let attempts end for a moment, conclude the rest as unknown."""
        await self._runner.stop(grace_s)

    async def close(self) -> None:
        """Close the spool, when nobody brings mail any more."""
        self._settlement.ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._spool.close()


def open_post(settings: SpoolSettings, schedule: Schedule, journal: Journal) -> SqliteSpool:
    """Open the spool, and say what was found there; blocks. Raises SpoolRefused or SpoolTrouble."""
    opening = Opening(settings.path, settings.min_free_bytes, schedule.longest_s)
    spool = open_spool(opening, time.time())
    found = spool.found
    if found.mended is not None:
        log_mended(found.mended, journal)
    _log_before(found.before, str(spool.path), journal)
    journal.spool_opened(
        str(spool.path), leases=found.leases, rubbish=found.rubbish, missing=found.missing, aside=found.aside,
        kept=found.kept,
    )  # fmt: skip
    return spool


def _log_before(before: Before, path: str, journal: Journal) -> None:
    """Say what was wrong with the files before they were opened."""
    if before.database_gone:
        journal.spool_database_missing(path, before.old_log, rebuilt=before.rebuilt)
    if before.log_gone:
        journal.spool_log_missing(path)
    if before.damaged_log is not None:
        journal.spool_log_damaged(path, before.damaged_log)


def found_news(found: Found, path: Path) -> list[News]:
    """What the postmaster must know of the state in which a start found the spool."""
    news, before = [], found.before
    aside = str(found.aside) if found.aside else None
    if before.damaged_log is not None:
        news.append(spool_notices.log_damaged(str(before.damaged_log)))
    if before.log_gone:
        news.append(spool_notices.log_missing(f"{path}-wal", aside))
    if before.database_gone:
        old_log = str(before.old_log) if before.old_log else None
        news.append(spool_notices.database_missing(aside, old_log, rebuilt=before.rebuilt))
    if found.mended is not None:
        news.append(mended_news(found.mended, found.aside))
    if found.missing:
        news.append(spool_notices.contents_missing(found.missing, str(folder(path))))
    return news


def schedule_of(settings: Settings) -> Schedule:
    """When spooled mail is tried again."""
    delivery = settings.delivery
    warning = None if delivery.delay_warning == "off" else delivery.delay_warning
    return Schedule(tuple(delivery.retry), delivery.lifetime, warning)


def terms_of(settings: Settings, router: Router, hostname: str) -> Terms:
    """What the end of an attempt needs of the configuration."""
    bounces = settings.bounces
    letterhead = None if bounces is None else Letterhead(bounces.from_, bounces.postmaster, hostname)

    def lane(address: str) -> str:
        try:
            return router.route(address).name
        except Rejection:
            return ""

    return Terms(schedule_of(settings), letterhead, lane)


def new_id() -> str:
    """Of a mail: what its client hears as "queued as"."""
    return secrets.token_hex(8)
