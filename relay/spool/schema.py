"""The spool's SQLite file: how it is opened, what is in it, and how older ones become this version's.

Guarantees, on every connection that writes: a commit returns after its sync (WAL, `synchronous=FULL`), and nothing of
the file is ever mapped into memory, where a bad disk would kill the process. Refuses files of newer versions
and of other programs. Times are seconds since 1970, lists and the client are JSON.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from relay.spool.rows import MAIL_FITS, PARCEL_FITS, checksum
from relay.spool.trouble import SpoolRefused

APPLICATION: Final = 0x5345_5352  # "SESR": what file(1) and we tell it by
LOG_BYTES: Final = 16 * 1024 * 1024  # what is left of a log that had to grow further
BUSY_MS: Final = 10_000  # for the moment that a queue command of another process writes

# Each entry makes the version of its position out of the one before; never change one that was released.
MIGRATIONS: Final = (
    """
    CREATE TABLE mails (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        arrived REAL NOT NULL,
        client TEXT NOT NULL,
        sender TEXT NOT NULL,
        silent TEXT NOT NULL,
        size INTEGER NOT NULL,
        parcels_made INTEGER NOT NULL,
        file TEXT
    ) STRICT;

    CREATE TABLE contents (
        mail INTEGER PRIMARY KEY REFERENCES mails ON DELETE CASCADE,
        content BLOB NOT NULL
    ) STRICT;

    CREATE TABLE parcels (
        number INTEGER PRIMARY KEY,
        mail INTEGER NOT NULL REFERENCES mails,
        position INTEGER NOT NULL,
        since REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'held', 'dead')),
        lane TEXT NOT NULL,
        due REAL NOT NULL,
        ticket INTEGER NOT NULL,
        recipients TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        warned INTEGER NOT NULL,
        last TEXT,
        UNIQUE (mail, position)
    ) STRICT;

    CREATE TABLE marks (name TEXT PRIMARY KEY, at REAL NOT NULL) STRICT;

    CREATE INDEX parcels_by_due ON parcels (state, lane, due, number);
    CREATE INDEX parcels_by_age ON parcels (state, since);
    CREATE INDEX parcels_leased ON parcels (ticket) WHERE ticket != 0;
    """,
    """
    ALTER TABLE mails ADD COLUMN checksum INTEGER;
    ALTER TABLE mails ADD COLUMN seal INTEGER;
    ALTER TABLE mails ADD COLUMN parcels_left INTEGER;
    ALTER TABLE parcels ADD COLUMN seal INTEGER;

    CREATE TABLE addressees (
        mail INTEGER PRIMARY KEY REFERENCES mails ON DELETE CASCADE,
        recipients TEXT NOT NULL
    ) STRICT;

    CREATE TABLE reserve (room BLOB NOT NULL) STRICT;
    """,
)


# Rows that are not as they were, or cannot be read
_UNSEALED: Final = (
    f"""SELECT 1 FROM mails m
        WHERE NOT {MAIL_FITS} OR m.seal IS NULL AND NOT (json_valid(client) AND json_valid(silent))""",  # noqa: S608 - ours
    f"""SELECT 1 FROM parcels p JOIN mails m ON m.number = p.mail WHERE NOT {PARCEL_FITS}
        OR p.seal IS NULL AND NOT json_valid(p.recipients) OR last IS NOT NULL AND NOT json_valid(last)""",  # noqa: S608
)
# Mails of several parcels (of the others it shows by itself) that have lost some
SCATTERED: Final = """SELECT number FROM mails m
    WHERE parcels_left > 1 AND parcels_left > (SELECT count(*) FROM parcels WHERE mail = m.number)"""


def open_file(path: Path, *, mine: bool = True, vfs: str | None = None) -> apsw.Connection:
    """Open the file for reading and writing; one that is mine is made where there is none, and brought to this version.

    Nobody but its owner may read it: mail is private. Raises SpoolRefused, OSError or apsw.Error.
    """
    if mine and not path.exists():
        _make(path)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    except apsw.CantOpenError:
        os.close(os.open(path, os.O_RDWR))  # fails as well, and says why; SQLite does not
        raise
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # else one that is refused loses its log
        _prepare(connection, path, mine=mine)
    except BaseException:
        connection.close(True)
        raise
    return connection


def make_plain(path: Path) -> apsw.Connection:
    """Make a file of this version without log and syncs: for one that nobody relies on before it is finished."""
    _make(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("auto_vacuum", "incremental")
    connection.pragma("journal_mode", "memory")
    connection.pragma("synchronous", "off")
    connection.pragma("foreign_keys", False)
    _migrate(connection)
    return connection


def open_for_reading(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Open a file that exists and is of this version; nothing can be changed through it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    _add_functions(connection)
    return connection


def damage(connection: apsw.Connection) -> str | None:
    """What is wrong with mails and parcels, None when nothing is. Contents are looked at when they are read.

    Quick, since mail waits for it: 0.2 s for 100,000 mails (measured).
    """
    for table in ("mails", "parcels"):
        found = connection.execute(f"PRAGMA quick_check({table})").get
        if found != "ok":
            return str(found)
    if "seal" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(parcels)")}:
        return None  # of an older version, which knew of none of this; what cannot be read shows when it is read
    if any(connection.execute(sql).fetchone() for sql in _UNSEALED):
        return "some of the envelope of a mail has changed"
    return "parcels of a mail are missing" if connection.execute(SCATTERED).fetchone() else None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file that is synced may yet have no name after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    sync_folder(path.parent)


def _add_functions(connection: apsw.Connection) -> None:
    connection.create_scalar_function("checksum", checksum, 1, deterministic=True)  # type: ignore[arg-type]  # of blobs


def _prepare(connection: apsw.Connection, path: Path, *, mine: bool) -> None:
    connection.set_busy_timeout(BUSY_MS)
    _add_functions(connection)
    version = _check(connection, path)
    if version == 0 and not mine:
        raise SpoolRefused(f"{path} has nothing in it yet, no relay has finished making it: start the relay once")
    if version < len(MIGRATIONS) and not mine:
        raise SpoolRefused(
            f"{path} is of an older version (spool version {version}); a relay of this version changes that: "
            "restart the relay once"
        )
    if version == 0:
        connection.pragma("auto_vacuum", "incremental")  # room goes back to the disk after an outage
    if connection.pragma("journal_mode", "wal") != "wal":
        raise SpoolRefused(f"{path} is on a file system that SQLite's write-ahead log does not work on")
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", True)
    connection.pragma("temp_store", "memory")
    connection.pragma("mmap_size", 0)
    connection.pragma("journal_size_limit", LOG_BYTES)
    connection.wal_autocheckpoint(0)  # the writer's business, and so is the log at the end
    if version < len(MIGRATIONS):
        if version and (found := damage(connection)):
            raise apsw.CorruptError(found)  # SQLite itself looks at some tables that it adds to, and says no
        _migrate(connection)


def _check(connection: apsw.Connection, path: Path) -> int:
    """The version of the file, 0 for a new one. Raises SpoolRefused."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    new = connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get and version == 0
    if not new and application != APPLICATION:
        raise SpoolRefused(f"{path} is a database of another program")
    if version > len(MIGRATIONS):
        raise SpoolRefused(f"{path} was written by a newer version of ses-relay (spool version {version})")
    return int(version)


def _migrate(connection: apsw.Connection) -> None:
    """All steps that are missing, in one transaction; another process may have taken them meanwhile."""
    _add_functions(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[connection.pragma("user_version") :]:
            connection.execute(script)
        connection.pragma("application_id", APPLICATION)
        connection.pragma("user_version", len(MIGRATIONS))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
