"""What can be read of a damaged file, row by row, and what is left of mails that are not whole.

Guarantees that what it leaves in the new file is whole: each mail with its content, byte for byte if that lay in the
old file, its envelope as it was taken in, and at least one parcel. Of others everything that is known is written to
files beside the spool, for a person; so it is of mails that have lost some of their parcels, whose others stay.
Contents in files of their own are not part of the damage: they are looked at when they are read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from relay.spool.bodies import Bodies
from relay.spool.reading import JOINED
from relay.spool.rows import COLUMNS, believed, spooled
from relay.spool.schema import SCATTERED

_KEYS: Final = {"mails": "number", "contents": "mail", "addressees": "mail", "parcels": "number"}
_GAP: Final = 100_000  # rows that are tried one by one beside a page of the table that cannot be read

# Where else the numbers of a table's rows stand
_ELSEWHERE: Final = {
    "mails": ("number FROM mails INDEXED BY sqlite_autoindex_mails_1", "mail FROM contents", "mail FROM parcels"),
    "contents": ("number FROM mails", "number FROM mails INDEXED BY sqlite_autoindex_mails_1", "mail FROM parcels"),
    "addressees": ("number FROM mails", "mail FROM parcels"),
    "parcels": tuple(
        f"number FROM parcels INDEXED BY {index}"
        for index in ("sqlite_autoindex_parcels_1", "parcels_by_due", "parcels_by_age")
    ),
}

_BROKEN: Final = """
    SELECT mail FROM parcels WHERE mail NOT IN (SELECT number FROM mails)
    UNION SELECT mail FROM contents WHERE mail NOT IN (SELECT number FROM mails)
    UNION SELECT mail FROM addressees WHERE mail NOT IN (SELECT number FROM mails)
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
    with fresh:
        broken: list[Any] = fresh.execute(_BROKEN).fetchall()
        for (number,) in broken:
            names.append(_tell(fresh, number, f"{beside}-{number}", bodies))
            _forget(fresh, number)
        unreadable = _unreadable(fresh)
        scattered: list[Any] = fresh.execute(SCATTERED).fetchall()
        for number in sorted({*unreadable, *(mail for (mail,) in scattered)}):
            names.append(_tell(fresh, number, f"{beside}-{number}", bodies, unreadable[number]))
            _keep_rest(fresh, number, unreadable[number])
    return tuple(names)


def _copy_table(old: apsw.Connection, fresh: apsw.Connection, table: str) -> int:
    """Copy the columns that both have, since the old one may be of an older version; how many rows could be read."""
    known, rows = _columns(old, table), 0
    columns = {name: kind for name, kind in _columns(fresh, table).items() if name in known}
    if not columns:
        return 0
    # Texts are copied as bytes: what is damaged may be no UTF-8
    read = ", ".join(f"CAST({name} AS BLOB)" if kind == "TEXT" else name for name, kind in columns.items())
    values = ", ".join("CAST(? AS TEXT)" if kind == "TEXT" else "?" for kind in columns.values())
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - the schema's names
    for _, *row in _rows(old, table, read):
        rows += 1
        with contextlib.suppress(apsw.ConstraintError):  # nonsense that was read
            fresh.execute(insert, row)
    return rows


def _columns(connection: apsw.Connection, table: str) -> dict[str, str]:
    """The columns of a table and their types, none when not even they can be read."""
    try:
        return {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})")}
    except apsw.Error:
        return {}


def _is_empty(old: apsw.Connection) -> bool:
    try:
        return not old.execute("SELECT (SELECT count(*) FROM mails) + (SELECT count(*) FROM parcels)").get
    except apsw.Error:
        return False


def _rows(old: apsw.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Forwards to the damage, backwards to it, then one by one between."""
    key, low, high = _KEYS[table], 0, None
    select = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608 - the schema's names
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
    for number in _numbers(old, table, low, high):
        with contextlib.suppress(apsw.Error):
            yield from old.execute(f"{select} WHERE {key} = ?", (number,))


def _numbers(old: apsw.Connection, table: str, low: int, high: int | None) -> list[int]:
    """Which rows there may be between: those that are named elsewhere, and some beside what could be read."""
    found = {*range(low + 1, low + _GAP), *(range(max(high - _GAP, low), high) if high else ())}
    for source in _ELSEWHERE[table]:
        with contextlib.suppress(apsw.Error):
            found.update(int(number) for (number,) in old.execute(f"SELECT {source}"))
    return sorted(number for number in found if low < number and (high is None or number < high))


def _unreadable(fresh: apsw.Connection) -> defaultdict[int, set[int]]:
    """Parcels that nobody could claim, by their mails; of those whose last verdict alone is damaged, it is removed."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    rows: list[Any] = fresh.execute("SELECT number, mail FROM parcels").fetchall()
    for number, mail in rows:
        if not _is_readable(fresh, number):
            fresh.execute("SAVEPOINT verdict")
            fresh.execute("UPDATE parcels SET last = NULL WHERE number = ?", (number,))
            if not _is_readable(fresh, number):
                fresh.execute("ROLLBACK TO verdict")
                found[mail].add(number)
            fresh.execute("RELEASE verdict")
    return found


def _is_readable(fresh: apsw.Connection, number: int) -> bool:
    try:
        with believed():
            spooled(fresh.execute(f"SELECT {COLUMNS} FROM {JOINED} WHERE p.number = ?", (number,)).get)  # noqa: S608 - ours
    except apsw.CorruptError:
        return False
    return True


def _tell(
    fresh: apsw.Connection, number: int, beside: str, bodies: Bodies, damaged: Collection[int] | None = None
) -> str:
    """Write what is known of one mail, of which all or, if they are given, these parcels are lost; its id or number."""
    known = _known(fresh, "mails", "id, arrived, client, sender, silent, size, file", f"number = {number}")
    mail = known[0] if known else None
    told = {
        "mail": mail,
        "recipients": _all_recipients(fresh, number),
        "parcels": _known(fresh, "parcels", "state, recipients, attempts, last", f"mail = {number}"),
        "still in the queue": _still_there(fresh, number, damaged),
    }
    _write(f"{beside}.json", json.dumps(told, indent=2).encode())
    content = fresh.execute("SELECT content FROM contents WHERE mail = ?", (number,)).get
    if mail and mail[-1]:
        with contextlib.suppress(OSError, ValueError):
            content = bodies.read(mail[-1])
    if content is not None:
        _write(f"{beside}.eml", bytes(content))
    return str(mail[0]) if mail else f"number {number}"


def _known(fresh: apsw.Connection, table: str, columns: str, where: str) -> list[list[Any]]:
    """Values as far as they can be read: texts may be no UTF-8."""
    names = columns.split(", ")
    kinds = _columns(fresh, table)
    read = ", ".join(f"CAST({name} AS BLOB)" if kinds[name] == "TEXT" else name for name in names)
    rows = fresh.execute(f"SELECT {read} FROM {table} WHERE {where}").fetchall()  # noqa: S608 - the schema's names
    return [[one.decode("utf-8", "backslashreplace") if isinstance(one, bytes) else one for one in row] for row in rows]


def _all_recipients(fresh: apsw.Connection, number: int) -> Any:
    """Those that a mail of several parcels was for: a list, or the text if that is damaged."""
    known = _known(fresh, "addressees", "recipients", f"mail = {number}")
    text = known[0][0] if known else None
    try:
        return text and json.loads(text)
    except ValueError:
        return text


def _still_there(fresh: apsw.Connection, number: int, damaged: Collection[int] | None) -> list[str]:
    """The recipients of the parcels that stay."""
    if damaged is None:
        return []
    sql = "SELECT number, CAST(recipients AS BLOB) FROM parcels WHERE mail = ?"
    rows: list[Any] = fresh.execute(sql, (number,)).fetchall()
    return [one for parcel, recipients in rows if parcel not in damaged for one in json.loads(recipients)]


def _keep_rest(fresh: apsw.Connection, number: int, damaged: Collection[int]) -> None:
    """Remove damaged parcels of a mail; it stays as long as there are others."""
    for parcel in damaged:
        fresh.execute("DELETE FROM parcels WHERE number = ?", (parcel,))
    left = fresh.execute("SELECT count(*) FROM parcels WHERE mail = ?", (number,)).get
    fresh.execute("UPDATE mails SET parcels_left = ? WHERE number = ?", (left, number))
    if not left:
        _forget(fresh, number)


def _forget(fresh: apsw.Connection, number: int) -> None:
    for table, column in (("parcels", "mail"), ("contents", "mail"), ("addressees", "mail"), ("mails", "number")):
        fresh.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608 - our own words


def _write(name: str, content: bytes) -> None:
    descriptor = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
