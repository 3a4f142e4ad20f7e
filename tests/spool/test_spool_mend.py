"""Damage: what can be read is saved in a new file, what cannot is named, and nothing is thrown away."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import apsw
import pytest
from spool_parts import BORDER, Disk, contents, everything, io_error, mail, opened, posting, watched_disk

from relay.spool.bodies import Bodies
from relay.spool.interface import Mail, Standing
from relay.spool.mend import mend
from relay.spool.opening import folder
from relay.spool.schema import open_file
from relay.spool.sqlite import SqliteSpool
from relay.spool.trouble import SpoolTrouble

MANY = 300


async def filled(spool: SqliteSpool, count: int = MANY) -> list[Mail]:
    """Mails of a kilobyte, and a few large ones."""
    mails = [mail(bytes([number % 256]) * (9000 if number % 50 == 0 else 1000)) for number in range(count)]
    await asyncio.gather(*(spool.put(posting(one)) for one in mails))
    return mails


def damaged(folder: Path, table: str, *, which: float = 0.5, count: int = 1) -> None:
    """Overwrite leaf pages of a table, as a bad disk would."""
    path = folder / "spool.db"
    connection = apsw.Connection(str(path))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    rows = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,))
    pages = [int(str(page)) for (page,) in rows]
    size = int(connection.pragma("page_size"))
    connection.close()
    first = int(len(pages) * which)
    with path.open("r+b") as file:
        for page in pages[first : first + count]:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)


def ill(disk: Disk, action: str = "sync", file: str = "wal") -> None:
    def fails(done: str, to: str) -> None:
        if (done, to) == (action, file):
            raise io_error(apsw.SQLITE_IOERR_FSYNC)

    disk.fails = fails


def left_of(folder: Path) -> dict[str, Any]:
    """What was written of mails that are not whole, by what is known of them."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("spool.db.lost-*.json")}


def messages_left_of(folder: Path) -> list[bytes]:
    """The messages of mails that are not whole."""
    return [path.read_bytes() for path in folder.glob("spool.db.lost-*.eml")]


async def survivors(folder: Path, mails: list[Mail]) -> tuple[SqliteSpool, set[str]]:
    """The spool after a start, closed again, and the ids of the mails in it; each is whole."""
    expected = {one.id: one.content for one in mails}
    async with opened(folder, now=7.0) as spool:
        found = {one.mail for one in (await everything(spool)).values()}
        for name in found:
            assert await spool.content(name) == expected[name]
        await spool.put(posting(mail()))
        assert spool.standing == Standing(trusted=True, trouble=None, waiting_s=0.0)
    return spool, found


async def test_a_failed_sync_is_mended_without_a_restart(tmp_path: Path) -> None:
    """Every acknowledged mail is in the new file, leases hold, and mail is taken again."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            mails = await filled(spool, 60)
            (mine,) = await spool.claim("", 10.0, 1e9, 1)
            assert len(await everything(spool)) == 60
            ill(disk)
            with pytest.raises(SpoolTrouble):
                await spool.put(posting(mail()))
            disk.fails = lambda _action, _file: None

            mended = await spool.mend(5.0)

            assert (mended.parcels, mended.lost, mended.old.name) == (60, (), "spool.db.damaged-5")
            assert spool.standing.trusted
            assert await spool.settle(mine)
            new = mail()
            await spool.put(posting(new))
            assert f"{new.id}.1" in await everything(spool), "whoever looks sees the new file"

    _, found = await survivors(tmp_path, [*mails, new])
    assert found == {one.id for one in (*mails, new)} - {mine.mail}


async def test_while_the_disk_is_ill_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be tried again as often as need be."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            await filled(spool, 5)
            ill(disk)
            with pytest.raises(SpoolTrouble):
                await spool.put(posting(mail()))
            disk.fails = lambda _action, _file: None
            with monkeypatch.context() as patch:
                patch.setattr("relay.spool.mend.os.fsync", _no_sync)
                with pytest.raises(SpoolTrouble):
                    await spool.mend(5.0)

            assert not spool.standing.trusted
            assert len(await everything(spool)) == 5
            assert (await spool.mend(6.0)).parcels == 5


def _no_sync(_: int) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("which", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("table", ["mails", "parcels"])
async def test_a_damaged_table_costs_what_stood_on_the_page(tmp_path: Path, table: str, which: float) -> None:
    """At the start, before mail is taken; of every mail that is not saved something is left beside the spool."""
    async with opened(tmp_path) as spool:
        mails = await filled(spool)
    damaged(tmp_path, table, which=which)

    spool, found = await survivors(tmp_path, mails)

    assert spool.found.mended is not None
    assert not spool.found.mended.unreadable
    assert spool.found.mended.remains == tmp_path / "spool.db.lost-7"
    assert MANY - 100 < len(found) < MANY
    assert len(spool.found.mended.lost) == MANY - len(found)
    assert len(left_of(tmp_path)) == MANY - len(found)
    assert (tmp_path / "spool.db.damaged-7").exists()


async def test_rows_behind_the_damage_are_found_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the part that cannot be read."""
    monkeypatch.setattr("relay.spool.salvage._GAP", 0)
    async with opened(tmp_path) as spool:
        mails = await filled(spool)
    damaged(tmp_path, "parcels", which=0.3)

    _, found = await survivors(tmp_path, mails)

    assert len(found) > MANY // 2


async def test_the_new_file_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as spool:
        await filled(spool, 5)
        done: list[str] = []
        sync, rename = os.fsync, Path.rename

        def synced(descriptor: int) -> None:
            done.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
            sync(descriptor)

        def renamed(path: Path, target: Path) -> Path:
            done.append(f"rename {path.name}")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        await spool.mend(5.0)

    order = [done.index(one) for one in ("sync spool.db.mending", "rename spool.db.mending", "rename spool.db")]
    assert order == sorted(order)
    assert done[-1] == f"sync {tmp_path.name}"


async def test_of_a_mail_without_parcels_the_content_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mails = await filled(spool)
    damaged(tmp_path, "parcels")

    _, found = await survivors(tmp_path, mails)

    lost = {one.id: one.content for one in mails if one.id not in found}
    known = left_of(tmp_path)
    assert {what["mail"][0] for what in known.values()} == lost.keys()
    for name, what in known.items():
        beside = tmp_path / name.replace(".json", ".eml")
        assert beside.read_bytes() == lost[what["mail"][0]]


async def test_a_damaged_index_costs_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mails = await filled(spool)
    damaged(tmp_path, "parcels_by_due")

    spool, found = await survivors(tmp_path, mails)

    assert (len(found), spool.found.mended is None) == (MANY, False)


async def test_a_damaged_content_is_found_when_it_is_read(tmp_path: Path) -> None:
    """Contents are not all read at the start: that would take as long as the disk takes."""
    async with opened(tmp_path) as spool:
        mails = await filled(spool)
    damaged(tmp_path, "contents", count=3)

    async with opened(tmp_path) as spool:
        assert spool.found.mended is None
        with pytest.raises(SpoolTrouble, match="malformed"):
            await asyncio.gather(*(spool.content(one.id) for one in mails))
        assert not spool.standing.trusted
        mended = await spool.mend(7.0)
        assert 0 < len(mended.lost) < 30
        assert mended.parcels == MANY - len(mended.lost)
        recipients = [what["parcels"][0][1] for what in left_of(tmp_path).values()]
        assert recipients == ['["someone@customer.example"]'] * len(mended.lost)

    _, found = await survivors(tmp_path, mails)
    assert len(found) == mended.parcels


async def test_a_file_that_cannot_be_opened_at_all_is_put_aside_with_its_contents(tmp_path: Path) -> None:
    """The relay starts with an empty spool; nothing is removed that a person could still use."""
    async with opened(tmp_path) as spool:
        await filled(spool)
        large = contents(tmp_path)
    with (tmp_path / "spool.db").open("r+b") as file:
        file.write(b"\xa5" * 4096)

    async with opened(tmp_path, now=7.0) as spool:
        assert await everything(spool) == {}
        assert spool.found.mended is not None
        assert (spool.found.mended.lost, spool.found.mended.unreadable) == ((), True), "nobody knows what is lost"
        assert contents(tmp_path) == []
        await spool.put(posting(mail()))

    assert {path.name for path in (tmp_path / "spool.db.damaged-7.contents").iterdir()} == set(large)
    assert (tmp_path / "spool.db.damaged-7").stat().st_size > 100_000


@pytest.mark.parametrize("moved", [(), ("-wal",), ("-wal", "-shm"), ("-wal", "-shm", "")])
async def test_a_crash_while_the_files_change_places_loses_neither(tmp_path: Path, moved: tuple[str, ...]) -> None:
    """The new file is complete before the first rename: the next start goes on."""
    async with opened(tmp_path) as spool:
        mails = await filled(spool, 20)
    path = tmp_path / "spool.db"
    connection = open_file(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.spool.mend.finish", lambda *_: None)
        mend(connection, path, Bodies(folder(path)), 3.0)
    connection.close()
    move(path, moved)

    spool, found = await survivors(tmp_path, mails)

    assert found == {one.id for one in mails}
    assert not (tmp_path / "spool.db.mended").exists()


def move(path: Path, suffixes: tuple[str, ...]) -> None:
    """As far as a crash let it come."""
    for suffix in suffixes:
        Path(f"{path}{suffix}").rename(f"{path}.damaged-3{suffix}")


async def test_an_old_log_is_never_taken_for_that_of_the_new_file(tmp_path: Path) -> None:
    """Neither moved under it nor folded into it by somebody who had the old file open."""
    async with opened(tmp_path) as spool:
        mails = await filled(spool, 20)
        late = open_file(tmp_path / "spool.db")
        late.execute("SELECT count(*) FROM mails").get  # noqa: B018 - it reads
        await spool.mend(5.0)
        new = mail()
        await spool.put(posting(new))
        late.close()
        await spool.put(posting(mail()))

    async with opened(tmp_path) as spool:
        found = {one.mail for one in (await everything(spool)).values()}
        assert {one.id for one in mails} | {new.id} < found
        assert len(found) == 22


async def test_a_content_that_is_not_whole_is_not_handed_out(tmp_path: Path) -> None:
    """Cut short behind our back: half a message is never taken for one."""
    async with opened(tmp_path) as spool:
        one = mail(b"x" * (BORDER + 1))
        await spool.put(posting(one))
        [name] = contents(tmp_path)
        os.truncate(tmp_path / "spool.db.contents" / name, 100)
        with pytest.raises(SpoolTrouble, match=f"has 100 bytes and had {BORDER + 1}"):
            await spool.content(one.id)


async def test_a_content_that_has_changed_is_not_copied(tmp_path: Path) -> None:
    """What is left of such a mail is told; what has changed in a file of its own is no damage of this one."""
    async with opened(tmp_path) as spool:
        small, large, other = mail(b"small"), mail(b"x" * (BORDER + 1)), mail(b"other")
        for one in (small, large, other):
            await spool.put(posting(one))
        connection = spool._writer._ledger.connection
        connection.execute("UPDATE contents SET content = x'736d616c4c' WHERE content = x'736d616c6c'")  # smalL
        [name] = contents(tmp_path)
        (tmp_path / "spool.db.contents" / name).write_bytes(b"y" * (BORDER + 1))
        mended = await spool.mend(5.0)

        assert (mended.lost, mended.remains, mended.unreadable) == ((small.id,), tmp_path / "spool.db.lost-5", False)
        assert {one.mail for one in (await everything(spool)).values()} == {large.id, other.id}
        assert await spool.content(other.id) == b"other"
        with pytest.raises(SpoolTrouble, match="some of its bytes have changed"):
            await spool.content(large.id)
        assert messages_left_of(tmp_path) == [b"smalL"]
        checksums = spool._writer._ledger.connection.execute("SELECT checksum FROM mails").fetchall()
        assert None not in {one for (one,) in checksums}


async def test_an_empty_spool_that_is_mended_has_lost_nothing(tmp_path: Path) -> None:
    """As after a sync that failed while nothing waited."""
    async with opened(tmp_path) as spool:
        mended = await spool.mend(5.0)

    assert (mended.parcels, mended.lost, mended.remains, mended.unreadable) == (0, (), None, False)


async def test_a_file_of_which_no_row_can_be_read_is_told_as_that(tmp_path: Path) -> None:
    """It can be opened, its tables are known; but no page of them is left."""
    async with opened(tmp_path) as spool:
        await filled(spool)
    path = tmp_path / "spool.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert (spool.found.mended.parcels, spool.found.mended.unreadable) == (0, True)


def copies(folder: Path) -> list[Path]:
    """Copies that were made to read them, and not removed."""
    return list(folder.glob("*.readable*"))


def remove_database(folder: Path) -> None:
    """The database and its log, but no contents."""
    for path in folder.glob("spool.db*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
async def test_contents_beside_a_database_that_is_gone_are_put_aside(tmp_path: Path, empty: bool) -> None:
    """Somebody has removed the database: what is left of its mail is not thrown away with it."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail(b"x" * (BORDER + 1))))
    [name] = contents(tmp_path)
    remove_database(tmp_path)
    if empty:
        (tmp_path / "spool.db").touch(0o600)

    async with opened(tmp_path, 7.0) as spool:
        assert (spool.found.rubbish, spool.found.aside) == (1, tmp_path / "spool.db.missing-7.contents")
        assert await everything(spool) == {}
    assert (tmp_path / "spool.db.missing-7.contents" / name).stat().st_size == BORDER + 1


@pytest.mark.parametrize("pages", [1, 3])
async def test_a_database_whose_end_is_missing_gives_what_it_has(tmp_path: Path, pages: int) -> None:
    """SQLite does not open it; the rows of its other pages are there all the same."""
    async with opened(tmp_path) as spool:
        mails = [mail(b"Subject: x\r\n\r\n" + b"y" * 3000) for _ in range(60)]
        for one in mails:
            await spool.put(posting(one))
    path = tmp_path / "spool.db"
    os.truncate(path, path.stat().st_size - pages * 4096)

    async with opened(tmp_path, 9.0) as spool:
        mended = spool.found.mended
        assert mended is not None
        kept = {parcel.mail for parcel in (await everything(spool)).values()}
        assert len(kept) >= 50
        assert mended.parcels == len(kept)
        assert len(kept) + len(mended.lost) >= len(mails) - 8
    assert not copies(tmp_path)


async def test_a_database_that_is_removed_while_it_is_open_is_noticed_and_written_anew(tmp_path: Path) -> None:
    """No mail goes into a file that nobody can find again; what it had is in the new one."""
    async with opened(tmp_path) as spool:
        one = mail()
        await spool.put(posting(one))
        remove_database(tmp_path)

        without = spool.standing
        assert not without.trusted
        with pytest.raises(SpoolTrouble, match="was removed or replaced"):
            await spool.put(posting(mail()))
        await spool.mend(5.0)
        mended = spool.standing
        assert mended.trusted
        await spool.put(posting(mail()))

    async with opened(tmp_path, 6.0) as spool:
        assert one.id in {parcel.mail for parcel in (await everything(spool)).values()}
        assert len(await everything(spool)) == 2


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_a_log_that_is_removed_while_it_is_open_is_noticed(tmp_path: Path, *, replaced: bool) -> None:
    """What is in it is read through the connection that has it, and is in the new file."""
    log = tmp_path / "spool.db-wal"
    async with opened(tmp_path):
        pass
    async with opened(tmp_path) as spool:
        one, other = mail(), mail()
        await spool.put(posting(one))
        before = spool.standing
        log.unlink()
        if replaced:
            log.touch(0o600)

        without = spool.standing
        assert (before.trusted, without.trusted) == (True, False)
        with pytest.raises(SpoolTrouble, match=r"spool\.db-wal was removed or replaced"):
            await spool.put(posting(mail()))
        await spool.mend(5.0)
        assert spool.standing == Standing(trusted=True, trouble=None, waiting_s=0.0)
        await spool.put(posting(other))
        assert spool.standing == Standing(trusted=True, trouble=None, waiting_s=0.0)

    _, found = await survivors(tmp_path, [one, other])
    assert found == {one.id, other.id}


async def test_a_database_whose_first_bytes_are_overwritten_gives_all_it_has(tmp_path: Path) -> None:
    """They only say what it is; the rest of its header says it as well."""
    async with opened(tmp_path) as spool:
        mails = await filled(spool, 20)
    with (tmp_path / "spool.db").open("r+b") as file:
        file.write(b"X" * 16)

    spool, found = await survivors(tmp_path, mails)

    assert found == {one.id for one in mails}
    assert spool.found.mended is not None
    assert (spool.found.mended.lost, spool.found.mended.unreadable) == ((), False)
    assert (tmp_path / "spool.db.damaged-7").read_bytes()[:16] == b"X" * 16
    assert not copies(tmp_path)
