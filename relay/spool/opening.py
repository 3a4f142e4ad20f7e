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
from relay.spool.log_repair import rebuild, repair
from relay.spool.mend import Mended, discard_copy, finish, mend, padded_copy
from relay.spool.schema import damage, open_file, sync_folder
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

    def __post_init__(self) -> None:
        """The path is that of the file itself: all that lies beside it goes by one name, whatever link led here."""
        object.__setattr__(self, "path", Path(os.path.realpath(self.path)))


@dataclass(frozen=True, slots=True)
class Before:
    """What was wrong with the files before SQLite opened them.

    `database_gone`: it was removed or emptied. `log_gone`: it was removed, or another program has folded it.
    `damaged_log`: where it is kept. `old_log`: that of a database that is gone, if there was one; `rebuilt`: a new one
    was made of it.
    """

    database_gone: bool = False
    log_gone: bool = False
    damaged_log: Path | None = None
    old_log: Path | None = None
    rebuilt: bool = False

    @property
    def loses(self) -> str | None:
        """The word for names of files of mail that may be lost."""
        return "missing" if self.database_gone else "without-log" if self.log_gone else None


@dataclass(frozen=True, slots=True)
class Found:
    """What a start found: leases that it ended, files that no mail needs, what it mended.

    `kept`: of these, those that are not old enough to be removed. `missing`: mails whose content is gone, by their
    ids, the oldest first. `aside`: where the files are that no mail needs, if they were not removed: they may be what
    is left of mail.
    """

    leases: int = 0
    rubbish: int = 0
    missing: tuple[str, ...] = ()
    mended: Mended | None = None
    aside: Path | None = None
    kept: int = 0
    before: Before = Before()


def folder(path: Path) -> Path:
    """Where the large contents of a spool are."""
    return path.with_name(f"{path.name}.contents")


def own(opening: Opening, now: float) -> tuple[Lock, Ledger, Found]:
    """Open a spool for the one relay that uses it; a damaged one is mended. Raises SpoolRefused or SpoolTrouble."""
    if not opening.path.parent.is_dir():
        raise SpoolRefused(f"{opening.path} cannot be made: there is no folder {opening.path.parent}")
    _check_owner(opening.path)
    begun = _was_begun(opening.path)  # before our lock is there
    try:
        lock = Lock(opening.path, folder(opening.path))
    except OSError as error:
        raise trouble(error) from error
    try:
        used = folder(opening.path).is_dir()
        bodies = Bodies(folder(opening.path))
        finish(opening.path, now)
        before = _looked_before(opening.path, now) if begun else Before()
        connection, mended = _whole(opening, bodies, now, before, used=used)
        bodies.make()  # not before: a folder of ours says that the file is ours
        lock.hold(bodies.folder)
        return lock, *_in_order(opening, connection, bodies, mended, now, before)
    except (apsw.Error, OSError) as error:
        lock.release()
        raise trouble(error) from error
    except BaseException:
        lock.release()
        raise


def _was_begun(path: Path) -> bool:
    """Whether a relay has had a spool here: an empty folder may have been made for one."""
    contents, others = folder(path), (path, Path(f"{path}-wal"), Path(f"{path}.lock"))
    return contents.is_dir() and (any(other.exists() for other in others) or any(contents.iterdir()))


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
        _check_whole(opening.path)
        return Ledger(open_file(opening.path, mine=False, vfs=opening.vfs))
    except (apsw.Error, OSError) as error:
        raise trouble(error) from error


def _check_whole(path: Path) -> None:
    """Refuse what SQLite would tidy up behind the back of the relay that has to notice it. Raises SpoolRefused."""
    if not path.stat().st_size:
        raise SpoolRefused(f"{path} has nothing in it: start the relay, which looks at what is left")
    if _has_log(path) and not Path(f"{path}-wal").exists():
        raise SpoolRefused(f"{path}-wal is missing: a relay that starts or runs sees what is left")


def _looked_before(path: Path, now: float) -> Before:
    """Look at the files of a spool that is in use, and mend what SQLite would not see, or would throw away."""
    log = Path(f"{path}-wal")
    if not path.exists() or not path.stat().st_size:
        Path(f"{path}-shm").unlink(missing_ok=True)  # what it has is in the log
        if not log.exists() or not log.stat().st_size:
            return Before(database_gone=True)
        unfinished = path.with_name(f"{path.name}.rebuilt")
        rebuilt = rebuild(log, unfinished)
        old_log = log.rename(f"{_beside(path, 'missing', now)}-wal")  # SQLite would remove it
        if rebuilt:
            unfinished.rename(path)
        sync_folder(path.parent)
        return Before(database_gone=True, old_log=old_log, rebuilt=rebuilt)
    return Before(log_gone=not log.exists() and _has_log(path), damaged_log=repair(path, now))


def _has_log(path: Path) -> bool:
    """Whether the database is one that lives with a log, as each does that a relay had open."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"


def _beside(path: Path, word: str, now: float) -> Path:
    return path.with_name(f"{path.name}.{word}-{now:.0f}")


def _whole(
    opening: Opening, bodies: Bodies, now: float, before: Before, *, used: bool
) -> tuple[apsw.Connection, Mended | None]:
    """The file, if need be a mended one. One that was never used as a spool is somebody else's, and not touched."""
    connection, reason = _looked_at(opening)
    if connection is not None and reason is None and not before.damaged_log and not before.rebuilt:
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
    before: Before,
) -> tuple[Ledger, Found]:  # fmt: skip
    """End the leases, mend the times, remove what no mail needs; after damage nothing is removed, but put aside."""
    old = mended.old if mended else before.loses and _beside(opening.path, before.loses, now)
    aside = folder(old) if old else None
    try:
        ledger = Ledger(connection)
        with connection:
            leases = ledger.release(now, now + opening.longest_wait_s)
        needed = reading.files(connection)
        swept = bodies.sweep(needed, now, aside)
        missing = tuple(needed[name] for name in swept.missing)
        left = aside if swept.gone else None
        return ledger, Found(leases, swept.gone, missing, mended, left, swept.kept, before)
    except BaseException:
        connection.close(True)
        raise
