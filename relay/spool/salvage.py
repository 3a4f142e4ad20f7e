"""What can be read of a damaged file, row by row, and what is left of mails that are not whole.

Guarantees that what it leaves in the new file is whole: each mail with its content, byte for byte if that lay in the
old file, and at least one parcel. Of others everything that is known is written to files beside the spool, for a
person. Contents in files of their own are not part of the damage: they are looked at when they are read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from relay.spool.bodies import Bodies
from relay.spool.rows import checksum

_KEYS: Final = {"mails": "number", "contents": "mail", "parcels": "number"}
_GAP: Final = 100_000  # rows that are tried one by one where a page of the table cannot be read

_BROKEN: Final = """
    SELECT mail FROM parcels WHERE mail NOT IN (SELECT number FROM mails)
    UNION SELECT mail FROM contents WHERE mail NOT IN (SELECT number FROM mails)
    UNION SELECT number FROM mails WHERE number NOT IN (SELECT mail FROM parcels)
        OR (file IS NULL AND number NOT IN (SELECT mail FROM contents))
    UNION SELECT m.number FROM mails m JOIN contents c ON c.mail = m.number
        WHERE length(c.content) != m.size OR checksum(c.content) != m.checksum
"""


def copy(old: apsw.Connection, fresh: apsw.Connection) -> bool:
    """Copy every row that can be read; False when the old file has some and none of them can be."""
    with fresh:
        copied = [_copy_table(old, fresh, table) for table in _KEYS]
    return any(copied) or _is_empty(old)


def take_out(fresh: apsw.Connection, beside: Path, bodies: Bodies) -> tuple[str, ...]:
    """Take out what is not whole, and write it to files whose names begin with `beside`; ids or numbers of mails."""
    names: list[str] = []
    fresh.create_scalar_function("checksum", checksum, 1)  # type: ignore[arg-type]  # it is asked for blobs only
    with fresh:
        rows: list[Any] = fresh.execute(_BROKEN).fetchall()
        names += (_leave(fresh, number, f"{beside}-{number}", bodies) for (number,) in rows)
    return tuple(names)


def _copy_table(old: apsw.Connection, fresh: apsw.Connection, table: str) -> int:
    """Copy the columns that both have, since the old one may be of an older version; how many rows could be read."""
    known, key, rows = _columns(old, table), _KEYS[table], 0
    columns = [name for name in _columns(fresh, table) if name in known]
    if not columns:
        return 0
    names, values = ", ".join(columns), ", ".join("?" * len(columns))
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - the schema's names
    for _, *row in _rows(old, f"SELECT {key}, {names} FROM {table}", key):  # noqa: S608 - likewise
        rows += 1
        with contextlib.suppress(apsw.ConstraintError):  # nonsense that was read
            fresh.execute(insert, row)
    return rows


def _columns(connection: apsw.Connection, table: str) -> list[str]:
    """The columns of a table, none when not even they can be read."""
    try:
        return [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    except apsw.Error:
        return []


def _is_empty(old: apsw.Connection) -> bool:
    try:
        return not old.execute("SELECT (SELECT count(*) FROM mails) + (SELECT count(*) FROM parcels)").get
    except apsw.Error:
        return False


def _rows(old: apsw.Connection, select: str, key: str) -> Iterator[tuple[Any, ...]]:
    """Forwards to the damage, backwards to it, then one by one between."""
    low, high = 0, None
    try:
        for row in old.execute(f"{select} ORDER BY {key}"):
            low = row[0]
            yield row
    except apsw.Error:
        pass
    else:
        return
    with contextlib.suppress(apsw.Error):
        for row in old.execute(f"{select} WHERE {key} > ? ORDER BY {key} DESC", (low,)):
            high = row[0]
            yield row
    for number in range(low + 1, min(high or low + _GAP, low + _GAP)):
        with contextlib.suppress(apsw.Error):
            yield from old.execute(f"{select} WHERE {key} = ?", (number,))


def _leave(fresh: apsw.Connection, number: int, beside: str, bodies: Bodies) -> str:
    """Write what is left of one mail, and forget it."""
    mail = fresh.execute(
        "SELECT id, arrived, client, sender, silent, size, file FROM mails WHERE number = ?", (number,)
    )
    known = mail.fetchone()
    parcels = fresh.execute(
        "SELECT state, recipients, attempts, last FROM parcels WHERE mail = ?", (number,)
    ).fetchall()
    _write(f"{beside}.json", json.dumps({"mail": known, "parcels": parcels}, indent=2).encode())
    content = fresh.execute("SELECT content FROM contents WHERE mail = ?", (number,)).get
    if known and known[-1]:
        with contextlib.suppress(OSError):
            content = bodies.read(known[-1])
    if content is not None:
        _write(f"{beside}.eml", bytes(content))
    for table, column in (("parcels", "mail"), ("contents", "mail"), ("mails", "number")):
        fresh.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608 - our own words
    return str(known[0]) if known else f"number {number}"


def _write(name: str, content: bytes) -> None:
    descriptor = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
