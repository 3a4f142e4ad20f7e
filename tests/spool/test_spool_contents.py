"""Contents: what was taken in is what is handed out, or nothing; one that is damaged is the trouble of one mail."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from spool_parts import BORDER, contents, everything, mail, opened, posting

from relay.model import Buffer
from relay.spool import ledger, sqlite
from relay.spool.interface import Mail, Query, Spooled, Standing
from relay.spool.opening import Opening
from relay.spool.rows import checksum
from relay.spool.schema import MIGRATIONS
from relay.spool.sqlite import SqliteSpool, open_spool, share_spool
from relay.spool.trouble import Kind, SpoolRefused, SpoolTrouble

WELL = Standing(trusted=True, trouble=None, waiting_s=0.0)
SMALL, LARGE = b"small" * 100, b"large" * BORDER


async def complaint(spool: SqliteSpool, mail: str) -> str:
    """Why the content of a mail is not handed out; the spool itself must be well."""
    with pytest.raises(SpoolTrouble) as caught:
        await spool.content(mail)
    assert caught.value.kind is Kind.DAMAGED
    assert spool.standing == WELL
    return caught.value.detail


def changed_file(folder: Path) -> None:
    """One bit is another in the only large content."""
    [name] = contents(folder)
    with (folder / "spool.db.contents" / name).open("r+b") as file:
        file.seek(BORDER)
        byte = file.read(1)[0]
        file.seek(BORDER)
        file.write(bytes([byte ^ 1]))


def changed_row(folder: Path) -> None:
    """Likewise in the rows; SQLite, which has no checksums, sees nothing."""
    connection = apsw.Connection(str(folder / "spool.db"))
    connection.set_busy_timeout(1000)
    connection.execute("UPDATE contents SET content = CAST(replace(content, 'smalls', 'smblls') AS BLOB)")
    connection.close()


@pytest.mark.parametrize(("content", "change"), [(SMALL, changed_row), (LARGE, changed_file)], ids=["row", "file"])
async def test_changed_bytes_are_never_handed_out(
    tmp_path: Path, content: bytes, change: Callable[[Path], None]
) -> None:
    """A row's as well as a file's; and everybody else's mail goes on."""
    async with opened(tmp_path) as spool:
        one, other = mail(content), mail(b"other")
        await spool.put(posting(one))
        await spool.put(posting(other))
        assert await spool.content(one.id) == content
        change(tmp_path)

        assert "some of its bytes have changed" in await complaint(spool, one.id)
        assert await spool.content(other.id) == b"other"
        await spool.put(posting(mail()))
        assert len(await spool.claim("", 10.0, 20.0, 10)) == 3

    async with opened(tmp_path) as spool:
        assert spool.found.mended is None
        assert "some of its bytes have changed" in await complaint(spool, one.id)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["row", "file"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_buffer_has_its_checksum(tmp_path: Path, kind: Callable[[bytes], Buffer], content: bytes) -> None:
    async with opened(tmp_path) as spool:
        one = replace(mail(), content=kind(content))
        await spool.put(posting(one))
        found = spool._writer._ledger.connection.execute("SELECT checksum FROM mails").get

        assert found == checksum(content)
        assert await spool.content(one.id) == content


async def test_no_checksum_is_computed_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one's where it is stored, so that neither the loop nor other mails' writes wait for it."""
    threads: list[str] = []

    def noted(content: Buffer) -> int:
        threads.append(threading.current_thread().name)
        return checksum(content)

    monkeypatch.setattr(sqlite, "checksum", noted)
    monkeypatch.setattr(ledger, "checksum", noted)
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail(LARGE)))
        await spool.put(posting(mail(SMALL)))

    assert [name.partition("_")[0] for name in threads] == ["spool-files", "spool-writer"]


async def test_a_content_without_its_row_is_damaged_and_not_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        one = mail()
        await spool.put(posting(one))
        connection = apsw.Connection(str(tmp_path / "spool.db"))
        connection.execute("DELETE FROM contents")
        connection.close()

        assert await complaint(spool, one.id) == "there is no row of it"
        assert await spool.content("nobody") is None


# Without the folder of large contents


async def test_a_queue_command_lists_mails_whose_contents_are_gone(tmp_path: Path) -> None:
    """And makes nothing that the relay's user could be locked out of."""
    folder = tmp_path / "spool.db.contents"
    async with opened(tmp_path) as spool:
        small, large = mail(SMALL), mail(LARGE)
        await spool.put(posting(small))
        await spool.put(posting(large))
        folder.rename(tmp_path / "elsewhere")

        command = share_spool(Opening(tmp_path / "spool.db"))
        try:
            assert set(await everything(command)) == {f"{small.id}.1", f"{large.id}.1"}
            assert await command.content(small.id) == SMALL
            assert await complaint(command, large.id) == f"there is no file {folder / contents_in(tmp_path)}"
        finally:
            await command.close()
        assert not folder.exists()


def contents_in(folder: Path) -> str:
    [name] = (path.name for path in (folder / "elsewhere").iterdir())
    return name


async def test_a_relay_whose_contents_are_taken_away_goes_on(tmp_path: Path) -> None:
    """What is gone is told of each mail; new mail is taken, and what comes back is found."""
    folder = tmp_path / "spool.db.contents"
    async with opened(tmp_path) as spool:
        one = mail(LARGE)
        await spool.put(posting(one))
        folder.rename(tmp_path / "elsewhere")
        name = contents_in(tmp_path)
        assert await complaint(spool, one.id) == f"there is no file {folder / name}"

        new = mail(LARGE)
        await spool.put(posting(new))
        assert await spool.content(new.id) == LARGE
        assert spool.standing == WELL
        (tmp_path / "elsewhere" / name).rename(folder / name)
        assert await spool.content(one.id) == LARGE


async def test_a_start_names_the_mails_whose_contents_are_gone(tmp_path: Path) -> None:
    """The oldest first; and it makes the folder anew."""
    async with opened(tmp_path) as spool:
        mails = [mail(LARGE) for _ in range(25)]
        for one in [*mails, mail(SMALL)]:
            await spool.put(posting(one))
    for name in contents(tmp_path):
        (tmp_path / "spool.db.contents" / name).unlink()
    (tmp_path / "spool.db.contents").rmdir()

    async with opened(tmp_path) as spool:
        assert spool.found.missing == tuple(one.id for one in mails)
        assert (tmp_path / "spool.db.contents").stat().st_mode & 0o777 == 0o700
        assert len(await everything(spool)) == 26


# Spools of version 1, whose mails have no checksum


def of_version_1(folder: Path) -> list[Mail]:
    """A spool as an older version has left it: some small mails, and a large one in the end."""
    mails = [*(mail(SMALL + bytes([number]) * 700) for number in range(150)), mail(LARGE)]
    asyncio.run(_filled(folder, mails))
    connection = apsw.Connection(str(folder / "spool.db"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays, as with ours
    for column in ("mails.checksum", "mails.seal", "mails.parcels_left", "parcels.seal"):
        table, name = column.split(".")
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    connection.execute("DROP TABLE addressees; DROP TABLE reserve")
    connection.pragma("user_version", 1)
    assert connection.pragma("user_version") == 1
    assert "checksum" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(mails)")}
    connection.close()
    return mails


async def _filled(folder: Path, mails: list[Mail]) -> None:
    async with opened(folder) as spool:
        await asyncio.gather(*(spool.put(posting(one)) for one in mails))


def in_version_1(folder: Path) -> int:
    connection = apsw.Connection(str(folder / "spool.db"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays, as with ours
    found = connection.pragma("user_version")
    connection.close()
    return int(found)


def test_mail_of_an_older_version_is_delivered_unchecked(tmp_path: Path) -> None:
    """As it is; new mail beside it is checked. Cut short is noticed as ever."""
    mails = of_version_1(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as spool:
            assert spool.found.mended is None
            for one in mails:
                assert await spool.content(one.id) == one.content
            new = mail(SMALL)
            await spool.put(posting(new))
            changed_file(tmp_path)
            changed_row(tmp_path)
            assert await spool.content(mails[-1].id) != LARGE
            assert "some of its bytes have changed" in await complaint(spool, new.id)
            os.truncate(tmp_path / "spool.db.contents" / contents(tmp_path)[0], 10)
            assert await complaint(spool, mails[-1].id) == f"it has 10 bytes and had {len(LARGE)}"

    asyncio.run(story())


def test_a_queue_command_beside_a_relay_of_an_older_version_says_so(tmp_path: Path) -> None:
    """It changes nothing under it."""
    of_version_1(tmp_path)

    with pytest.raises(SpoolRefused, match=r"is of an older version \(spool version 1\); .* restart the relay once"):
        share_spool(Opening(tmp_path / "spool.db"))
    assert in_version_1(tmp_path) == 1


@pytest.mark.parametrize("table", ["mails", "parcels"])
def test_a_damaged_file_of_an_older_version_gives_what_it_has(tmp_path: Path, table: str) -> None:
    """Whether or not it can still be brought to this version."""
    mails = of_version_1(tmp_path)
    with (tmp_path / "spool.db").open("r+b") as file:
        file.seek((leaf_of(tmp_path, table) - 1) * 4096)
        file.write(b"\xa5" * 4096)

    async def story() -> None:
        async with opened(tmp_path, 7.0) as spool:
            mended = spool.found.mended
            assert mended is not None
            assert not mended.unreadable
            kept = {parcel.mail for parcel in (await everything(spool)).values()}
            assert 20 <= len(kept) < len(mails)
            assert len(kept) + len(mended.lost) == len(mails)
            for one in mails:
                if one.id in kept:
                    assert await spool.content(one.id) == one.content

    asyncio.run(story())
    assert in_version_1(tmp_path) == len(MIGRATIONS)


def leaf_of(folder: Path, table: str) -> int:
    connection = apsw.Connection(str(folder / "spool.db"))
    rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,))
    pages = [int(str(page)) for (page,) in rows]
    connection.close()
    assert len(pages) > 1
    return pages[len(pages) // 2]


def test_rows_that_an_older_version_s_table_refuses_are_damage(tmp_path: Path) -> None:
    """SQLite looks at them when a column is added: that must not keep the relay from starting."""
    mails = of_version_1(tmp_path)
    connection = apsw.Connection(str(tmp_path / "spool.db"))
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    connection.pragma("writable_schema", True)
    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'sender TEXT', 'sender BLOB') WHERE name = 'mails'")
    connection.close()

    spool = open_spool(Opening(tmp_path / "spool.db", border_bytes=BORDER), 7.0)
    found = asyncio.run(_all_of(spool))

    assert spool.found.mended is not None
    assert {one.mail for one in found} == {one.id for one in mails}


async def _all_of(spool: SqliteSpool) -> tuple[Spooled, ...]:
    try:
        return await spool.inspect(Query())
    finally:
        await spool.close()
