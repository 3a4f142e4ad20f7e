"""How a spool is opened, and what an earlier relay left behind put in order: leases, unfinished files, times."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from relay.spool import reading
from relay.spool.bodies import BORDER_BYTES, Bodies
from relay.spool.faults import trouble
from relay.spool.ledger import Ledger
from relay.spool.lock import Lock
from relay.spool.mend import Mended, discard_copy, finish, mend, padded_copy
from relay.spool.schema import damage, open_file
from relay.spool.trouble import Kind, SpoolRefused

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
    """What a start found: leases that it ended, files that no mail needs, what it mended.

    `missing`: mails whose content is gone, by their ids, the oldest first. `aside`: where the files are that no mail
    needs, if they were not removed: they may be what is left of mail.
    """

    leases: int = 0
    rubbish: int = 0
    missing: tuple[str, ...] = ()
    mended: Mended | None = None
    aside: Path | None = None


def folder(path: Path) -> Path:
    """Where the large contents of a spool are."""
    return path.with_name(f"{path.name}.contents")


def own(opening: Opening, now: float) -> tuple[Lock, Ledger, Found]:
    """Open a spool for the one relay that uses it; a damaged one is mended. Raises SpoolRefused or SpoolTrouble."""
    if not opening.path.parent.is_dir():
        raise SpoolRefused(f"{opening.path} cannot be made: there is no folder {opening.path.parent}")
    _check_owner(opening.path)
    try:
        lock = Lock(opening.path)
    except OSError as error:
        raise trouble(error) from error
    try:
        used = folder(opening.path).is_dir()
        is_new = not opening.path.exists() or not opening.path.stat().st_size
        bodies = Bodies(folder(opening.path))
        connection, mended = _whole(opening, bodies, now, used=used)
        bodies.make()  # not before: a folder of ours says that the file is ours
        old = mended.old if mended else opening.path.with_name(f"{opening.path.name}.missing-{now:.0f}")
        aside = folder(old) if mended or is_new else None
        return lock, *_in_order(opening, connection, bodies, mended, now, aside)
    except (apsw.Error, OSError) as error:
        lock.release()
        raise trouble(error) from error
    except BaseException:
        lock.release()
        raise


def _check_owner(path: Path) -> None:
    """Refuse a spool of another user: what root leaves there, its relay could not read. Raises SpoolRefused."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return  # there is none, or what is wrong shows when it is opened
    if owner != os.geteuid():
        raise SpoolRefused(
            f"{path} belongs to user {owner}, and this is user {os.geteuid()}: run the relay as its user"
        )


def share(opening: Opening) -> Ledger:
    """Open a spool that exists, beside whoever uses it. Raises SpoolRefused or SpoolTrouble."""
    try:
        if not opening.path.exists():
            raise SpoolRefused(f"there is no spool {opening.path}")
        return Ledger(open_file(opening.path, mine=False, vfs=opening.vfs))
    except (apsw.Error, OSError) as error:
        raise trouble(error) from error


def _whole(opening: Opening, bodies: Bodies, now: float, *, used: bool) -> tuple[apsw.Connection, Mended | None]:
    """The file, if need be a mended one. One that was never used as a spool is somebody else's, and not touched."""
    finish(opening.path, now)
    connection, reason = _looked_at(opening)
    if connection is not None and reason is None:
        return connection, None
    if not used:
        raise SpoolRefused(f"{opening.path} is not a spool: {reason}")
    readable = connection or padded_copy(opening.path)
    try:
        mended = mend(readable, opening.path, bodies, now)
    finally:
        if readable is not None:
            readable.close(True)
        discard_copy(opening.path)
    return open_file(opening.path, vfs=opening.vfs), mended


def _looked_at(opening: Opening) -> tuple[apsw.Connection | None, str | None]:
    """The file, if it can be opened, and what is wrong with it."""
    connection = None
    try:
        connection = open_file(opening.path, vfs=opening.vfs)
        return connection, damage(connection)
    except apsw.Error as error:
        reason = trouble(error)
        if reason.kind is Kind.UNTRUSTED:
            return connection, reason.detail
        if connection is not None:
            connection.close(True)
        raise


def _in_order(
    opening: Opening, connection: apsw.Connection, bodies: Bodies, mended: Mended | None, now: float,
    aside: Path | None,
) -> tuple[Ledger, Found]:  # fmt: skip
    """End the leases, mend the times, remove what no mail needs; after damage nothing is removed, but put `aside`."""
    try:
        ledger = Ledger(connection)
        with connection:
            leases = ledger.release(now, now + opening.longest_wait_s)
        needed = reading.files(connection)
        rubbish, gone = bodies.sweep(needed, aside)
        missing = tuple(needed[name] for name in gone)
        return ledger, Found(leases, rubbish, missing, mended, aside if rubbish else None)
    except BaseException:
        connection.close(True)
        raise
