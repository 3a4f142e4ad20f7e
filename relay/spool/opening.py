"""How a spool is opened, and what an earlier relay left behind put in order: leases, unfinished files, times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from relay.spool import reading
from relay.spool.bodies import BORDER_BYTES, Bodies
from relay.spool.faults import trouble
from relay.spool.ledger import Ledger
from relay.spool.lock import Lock
from relay.spool.schema import open_file
from relay.spool.trouble import SpoolRefused

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Opening:
    """How a spool is opened.

    `min_free_bytes`: free space of the disk below which no mail is taken. `longest_wait_s`: nothing waits longer than
    that after a start, even if the clock was set back. Contents above `border_bytes` get files of their own. `vfs`:
    the name of SQLite's interface to the disk, for tests.
    """

    path: Path
    min_free_bytes: int = 0
    longest_wait_s: float = _DAY
    border_bytes: int = BORDER_BYTES
    vfs: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a start found: leases of a relay that is no more, files that no mail needs, mails whose file is missing."""

    leases: int = 0
    rubbish: int = 0
    missing: frozenset[str] = frozenset()


def folder(path: Path) -> Path:
    """Where the large contents of a spool are."""
    return path.with_name(f"{path.name}.contents")


def own(opening: Opening, now: float) -> tuple[Lock, Ledger, Found]:
    """Open a spool for the one relay that uses it. Raises SpoolRefused or SpoolTrouble."""
    try:
        lock = Lock(opening.path)
    except OSError as error:
        raise trouble(error) from error
    try:
        connection = open_file(opening.path, vfs=opening.vfs)
        return lock, *_in_order(opening, connection, now)
    except (apsw.Error, OSError) as error:
        lock.release()
        raise trouble(error) from error
    except BaseException:
        lock.release()
        raise


def share(opening: Opening) -> Ledger:
    """Open a spool that exists, beside whoever uses it. Raises SpoolRefused or SpoolTrouble."""
    if not opening.path.exists():
        raise SpoolRefused(f"there is no spool {opening.path}")
    try:
        return Ledger(open_file(opening.path, mine=False, vfs=opening.vfs))
    except (apsw.Error, OSError) as error:
        raise trouble(error) from error


def _in_order(opening: Opening, connection: apsw.Connection, now: float) -> tuple[Ledger, Found]:
    try:
        ledger = Ledger(connection)
        with connection:
            leases = ledger.release(now, now + opening.longest_wait_s)
        rubbish, missing = Bodies(folder(opening.path)).sweep(reading.files(connection))
        return ledger, Found(leases, rubbish, frozenset(missing))
    except BaseException:
        connection.close(True)
        raise
