"""Salvage: whatever the numbers of the rows, all that can be read of a damaged file is in the new one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from spool_parts import everything, mail, opened, posting

from relay.spool import salvage

MANY = 300
PAGE = 4096


def far_off(folder: Path, first: int, apart: int = 1) -> None:
    """As if the spool had seen many mails while some waited: only the numbers of the rows are others."""
    connection = apsw.Connection(str(folder / "spool.db"))
    connection.pragma("foreign_keys", False)
    for table, columns in (("mails", ("number",)), ("contents", ("mail",)), ("parcels", ("number", "mail"))):
        for sign in (-1, 1):  # never a number that another row has yet
            changes = ", ".join(f"{column} = {_moved(column, sign, first, apart)}" for column in columns)
            connection.execute(f"UPDATE {table} SET {changes}")  # noqa: S608 - the test's own words
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close(True)


def _moved(column: str, sign: int, first: int, apart: int) -> str:
    return f"-{column}" if sign < 0 else f"{first} - {column} * {apart}"


def ends_damaged(folder: Path, table: str) -> int:
    """Overwrite the first and the last leaf page of a table; how many rows those had."""
    connection = apsw.Connection(str(folder / "spool.db"))
    rows = connection.execute(
        "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
    )
    pages = [(int(str(page)), int(str(cells))) for page, cells in rows]
    connection.close(True)
    assert len(pages) > 2
    with (folder / "spool.db").open("r+b") as file:
        for page, _ in (pages[0], pages[-1]):
            file.seek((page - 1) * PAGE)
            file.write(bytes(PAGE))
    return pages[0][1] + pages[-1][1]


@pytest.mark.parametrize("table", ["mails", "contents", "parcels"])
@pytest.mark.parametrize(
    ("gap", "first", "apart"), [(100_000, 200_000, 1), (10, 200_000, 1), (10, 5_000_000, 1000)],
    ids=["above 200,000", "however few are tried", "far apart"],
)  # fmt: skip
async def test_rows_between_damaged_ends_are_saved_whatever_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, gap: int, first: int, apart: int
) -> None:
    """Their numbers stand in indexes and other tables."""
    monkeypatch.setattr(salvage, "_GAP", gap)
    async with opened(tmp_path) as spool:
        mails = [mail(b"x" * 500) for _ in range(MANY)]
        await asyncio.gather(*(spool.put(posting(one)) for one in mails))
    far_off(tmp_path, first, apart)
    lost = ends_damaged(tmp_path, table)

    async with opened(tmp_path, 7.0) as spool:
        if table == "contents":
            await spool.mend(8.0)  # they are not looked at before they are read
        kept = {parcel.mail for parcel in (await everything(spool)).values()}
        for name in kept:
            assert await spool.content(name) == b"x" * 500
    assert len(kept) == MANY - lost


async def test_rows_whose_numbers_stand_nowhere_else_are_tried_beside_the_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it where only the first page is damaged, that is to say."""
    monkeypatch.setattr(salvage, "_ELSEWHERE", dict.fromkeys(salvage._KEYS, ()))
    monkeypatch.setattr(salvage, "_GAP", 2 * MANY)
    async with opened(tmp_path) as spool:
        await asyncio.gather(*(spool.put(posting(mail())) for _ in range(MANY)))
    far_off(tmp_path, 200_000)
    connection = apsw.Connection(str(tmp_path / "spool.db"))

    numbers = salvage._numbers(connection, "mails", 0, 200_000)
    connection.close(True)

    assert numbers == [*range(1, 2 * MANY), *range(200_000 - 2 * MANY, 200_000)]


def test_every_source_of_numbers_can_be_asked(tmp_path: Path) -> None:
    """A word of SQL that is wrong would be taken for damage, and never seen."""

    async def numbers() -> None:
        async with opened(tmp_path) as spool:
            await spool.put(posting(mail()))
            await spool.put(posting(mail()))
            connection = spool._writer._ledger.connection
            for sources in salvage._ELSEWHERE.values():
                for source in sources:
                    assert sorted(connection.execute(f"SELECT {source}").fetchall()) == [(1,), (2,)]

    asyncio.run(numbers())
