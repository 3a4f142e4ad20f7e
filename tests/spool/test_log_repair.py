"""A log that is damaged or gone: what was promised to clients is read all the same, and nothing goes without a word."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import apsw
import pytest
from spool_parts import BORDER, contents, everything, mail, opened, posting

from relay.spool.interface import Action, Mail, Query
from relay.spool.log_repair import repair
from relay.spool.mend import Mended
from relay.spool.opening import Before, Opening, folder
from relay.spool.sqlite import SqliteSpool, open_spool, share_spool

HEADER, FRAME = 32, 24 + 4096


async def crashed(tmp_path: Path, *, folded: bool = True, count: int = 12) -> tuple[Path, list[Mail], list[int]]:
    """A spool as a relay leaves it that is killed, its mails, and where in the log the commit of each ends."""
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    begun.mkdir()
    if folded:
        async with opened(begun):
            pass
    mails, ends = [], []
    async with opened(begun) as spool:
        for number in range(count):
            mails.append(mail(bytes([65 + number]) * (BORDER + 1 if number % 6 == 5 else 900)))
            await spool.put(posting(mails[-1]))
            ends.append(last_commit(begun / "spool.db-wal"))
        shutil.copytree(begun, ended)
    return ended / "spool.db", mails, ends


def last_commit(log: Path) -> int:
    """Where the last frame of a commit ends."""
    content = log.read_bytes()
    salts = content[16:24]
    frames = range(HEADER, len(content) - FRAME + 1, FRAME)
    mine = [at for at in frames if content[at + 8 : at + 16] == salts and content[at + 4 : at + 8] != bytes(4)]
    return max(mine) + FRAME


def overwrite(path: Path, at: int, what: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(what)


def log_of(database: Path) -> Path:
    return Path(f"{database}-wal")


async def found_in(database: Path, now: float = 7.0) -> tuple[SqliteSpool, set[str]]:
    """The spool after a start, closed again, and the mails in it, each with a content of its own."""
    async with opened(database.parent, now=now) as spool:
        there = {one.mail for one in (await everything(spool)).values()}
        for one in there:
            content = await spool.content(one)
            assert content is not None
            assert len(set(bytes(content))) == 1
    return spool, there


def ids(mails: list[Mail]) -> set[str]:
    return {one.id for one in mails}


def mended_of(spool: SqliteSpool) -> Mended:
    assert spool.found.mended is not None
    return spool.found.mended


@pytest.mark.parametrize("mails_before", [0, 1, 5, 9])
@pytest.mark.parametrize("where", ["page", "sum", "salts"])
async def test_what_follows_the_damage_in_a_log_is_read(tmp_path: Path, where: str, mails_before: int) -> None:
    """Each of these was acknowledged after its sync; SQLite alone would see none of them."""
    database, mails, ends = await crashed(tmp_path)
    frame = ends[mails_before]  # the first of the next mail
    overwrite(log_of(database), frame + {"page": 24 + 4000, "sum": 16, "salts": 8}[where], b"\xa5\xa5\xa5\xa5")
    before = log_of(database).read_bytes()
    assert seen_by_sqlite(database, tmp_path) < len(mails)

    spool, there = await found_in(database)

    assert ids(mails) - there <= {mails[mails_before + 1].id}, "at most what stood on that very page"
    assert spool.found.before.damaged_log == Path(f"{database}.damaged-7-log")
    assert spool.found.before.damaged_log.read_bytes() == before
    assert mended_of(spool).old == Path(f"{database}.damaged-7")
    assert there == (await found_in(database, 8.0))[1], "and stay there"


def seen_by_sqlite(database: Path, tmp_path: Path) -> int:
    """How many mails SQLite finds."""
    copy = tmp_path / "copy"
    shutil.copytree(database.parent, copy)
    connection = apsw.Connection(str(copy / "spool.db"))
    try:
        return int(connection.execute("SELECT count(*) FROM mails").get)
    except apsw.SQLError:
        return 0
    finally:
        connection.close()


async def test_large_contents_of_a_damaged_log_are_not_removed(tmp_path: Path) -> None:
    """They belong to mail behind the damage; if not, they are put aside."""
    database, mails, ends = await crashed(tmp_path)
    overwrite(log_of(database), ends[0] + 30, b"garbage!!!")
    large = len(contents(database.parent))

    _, there = await found_in(database)

    left = list(database.parent.glob("spool.db.damaged-7.contents/*"))
    assert len(contents(database.parent)) + len(left) == large == 2
    assert {one.id for one in mails if one.size > BORDER} <= there


@pytest.mark.parametrize("what", [b"\xa5" * 32, b"\xa5" * 4, bytes(32)], ids=["all", "magic", "zeros"])
@pytest.mark.parametrize("folded", [True, False])
async def test_a_garbled_header_costs_nothing(tmp_path: Path, what: bytes, *, folded: bool) -> None:
    """All it says is in the frames as well."""
    database, mails, _ = await crashed(tmp_path, folded=folded)
    overwrite(log_of(database), 0, what)

    spool, there = await found_in(database)

    assert there == ids(mails)
    assert spool.found.before.damaged_log is not None
    assert mended_of(spool).lost == ()


async def test_what_was_in_the_place_of_a_log_before_is_not_read(tmp_path: Path) -> None:
    """Behind the frames of a log are those of an earlier one, whose mail may be delivered."""
    database, _, _ = await crashed(tmp_path)
    old = log_of(database).read_bytes()
    connection = apsw.Connection(str(database))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("SELECT count(*) FROM mails").get  # noqa: B018 - it reads
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    for arrived in range(3):
        connection.execute("UPDATE mails SET arrived = ? WHERE number = 1", (arrived,))
    connection.close()
    assert log_of(database).stat().st_size == len(old)
    assert log_of(database).read_bytes()[-FRAME:] == old[-FRAME:]
    overwrite(log_of(database), HEADER + 100, b"\xa5")

    assert repair(database, 7.0) is not None
    assert log_of(database).stat().st_size == HEADER + 3 * FRAME


def _nothing(_log: Path, _ends: list[int]) -> None:
    """As a kill leaves it."""


def _torn(log: Path, ends: list[int]) -> None:
    overwrite(log, ends[-2] + 1000, b"\xa5")


def _cut(log: Path, ends: list[int]) -> None:
    content = log.read_bytes()[: ends[-1] - 100]
    log.write_bytes(content)


def _zeros(log: Path, _ends: list[int]) -> None:
    log.write_bytes(bytes(FRAME * 10))


@pytest.mark.parametrize(("leaves", "lost"), [(_nothing, 0), (_torn, 1), (_cut, 1), (_zeros, 12)])
async def test_what_a_power_cut_leaves_is_no_damage(
    tmp_path: Path, leaves: Callable[[Path, list[int]], None], lost: int
) -> None:
    """The last commit may be torn, and was told to nobody then; a log that was only made longer is empty."""
    database, mails, ends = await crashed(tmp_path)
    leaves(log_of(database), ends)

    spool, there = await found_in(database)

    assert there == ids(mails[: len(mails) - lost])
    assert spool.found.before == Before()
    assert spool.found.mended is None


async def test_a_torn_end_behind_damage_stays_out(tmp_path: Path) -> None:
    """Nobody was told of it."""
    database, mails, ends = await crashed(tmp_path)
    overwrite(log_of(database), ends[3] + 4000, b"\xa5")
    overwrite(log_of(database), ends[-2] + 4000, b"\xa5")

    _, there = await found_in(database)

    assert mails[-1].id not in there
    assert ids(mails[:-1]) - there <= {mails[4].id}


async def test_a_mended_log_is_one_that_sqlite_believes(tmp_path: Path) -> None:
    """To its end, by the sums of its own format."""
    database, _, ends = await crashed(tmp_path)
    frames = (ends[-1] - HEADER) // FRAME
    overwrite(log_of(database), ends[2] + 1000, b"\xa5")

    assert repair(database, 7.0) is not None
    assert log_of(database).stat().st_size == ends[-1]
    connection = apsw.Connection(str(database))
    try:
        connection.execute("SELECT count(*) FROM mails").get  # noqa: B018 - it reads
        assert connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE) == (frames, frames)
    finally:
        connection.close()
    assert all(one < two for one, two in pairwise(ends))


@pytest.mark.parametrize("folded", [True, False])
async def test_a_first_page_that_is_wrong_does_not_make_the_others_unreadable(tmp_path: Path, *, folded: bool) -> None:
    """Any older one says as well what the tables are."""
    database, mails, ends = await crashed(tmp_path, folded=folded)
    content = log_of(database).read_bytes()
    first = [at for at in range(HEADER, ends[-2], FRAME) if content[at : at + 4] == b"\0\0\0\1"]
    assert first[-1] >= ends[0]
    overwrite(log_of(database), first[-1] + 24, b"\xa5" * 4096)

    spool, there = await found_in(database)

    assert there == ids(mails)
    assert mended_of(spool).lost == ()


async def test_a_page_that_the_database_never_had_is_left_out(tmp_path: Path) -> None:
    """Its number is what is wrong; the file would grow to it."""
    database, mails, ends = await crashed(tmp_path)
    overwrite(log_of(database), ends[2], struct.pack(">I", 1 << 30))

    _, there = await found_in(database)

    assert len(ids(mails) - there) <= 1
    assert database.stat().st_size < 10_000_000


@pytest.mark.parametrize("folded", [True, False])
async def test_a_log_that_was_removed_is_told_and_contents_are_put_aside(tmp_path: Path, *, folded: bool) -> None:
    """What stood only there is lost; what is left of it is not removed as well."""
    database, _, _ = await crashed(tmp_path, folded=folded)
    log_of(database).unlink()
    large = contents(database.parent)

    spool, there = await found_in(database)

    assert there == set()
    assert spool.found.before == Before(log_gone=True)
    assert spool.found.aside == Path(f"{database}.without-log-7.contents")
    assert sorted(one.name for one in spool.found.aside.iterdir()) == large
    assert (await found_in(database, 8.0))[0].found.before == Before(), "once"


async def test_every_end_of_a_relay_leaves_its_log(tmp_path: Path) -> None:
    """So that one that is missing was removed: a clean end, a queue command, a mended file, a new one."""
    for _ in range(2):
        async with opened(tmp_path) as spool:
            assert spool.found.before == Before()
            await spool.put(posting(mail()))
        command = share_spool(Opening(tmp_path / "spool.db"))
        assert await everything(command)
        await command.alter(Query(), Action.HOLD, 0.0)
        await command.close()
        assert log_of(tmp_path / "spool.db").exists()
    async with opened(tmp_path) as spool:
        await spool.mend(5.0)
    async with opened(tmp_path) as spool:
        assert spool.found.before == Before()


async def test_a_database_that_was_mended_and_not_opened_yet_lacks_no_log(tmp_path: Path) -> None:
    """A crash in between."""
    async with opened(tmp_path) as spool:
        await spool.mend(5.0)
    path = tmp_path / "spool.db"
    log_of(path).unlink()
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "delete")  # as mending makes it
    connection.close()

    async with opened(tmp_path) as spool:
        assert spool.found.before == Before()


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
async def test_a_database_that_is_gone_is_told_also_without_contents(tmp_path: Path, *, empty: bool) -> None:
    """The folder says that there was one."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
    (tmp_path / "spool.db").unlink()
    log_of(tmp_path / "spool.db").unlink()
    if empty:
        (tmp_path / "spool.db").touch()

    spool, there = await found_in(tmp_path / "spool.db")

    assert there == set()
    assert spool.found.before == Before(database_gone=True)
    assert spool.found.aside is None


@pytest.mark.parametrize("folded", [True, False])
async def test_the_log_of_a_database_that_is_gone_is_kept_and_read(tmp_path: Path, *, folded: bool) -> None:
    """SQLite would remove it. One that has all pages gives all mail, another what is on its pages."""
    database, mails, _ = await crashed(tmp_path, folded=folded)
    database.unlink()
    log = log_of(database).read_bytes()

    spool, there = await found_in(database)

    kept, before = database.with_name("spool.db.missing-7-wal"), spool.found.before
    assert kept.read_bytes() == log
    assert (before.database_gone, before.old_log) == (True, kept)
    if not folded:
        assert there == ids(mails)
        assert before.rebuilt


def test_a_spool_is_one_by_whatever_name(tmp_path: Path) -> None:
    """What lies beside it goes by the name of the file itself."""
    (tmp_path / "link.db").symlink_to(tmp_path / "spool.db")
    real = tmp_path / "spool.db"

    assert Opening(tmp_path / "link.db").path == real
    spool = open_spool(Opening(tmp_path / "link.db"), 0.0)
    spool._close()
    assert folder(real).is_dir()
    assert not folder(tmp_path / "link.db").exists()
