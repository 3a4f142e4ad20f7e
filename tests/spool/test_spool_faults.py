"""A disk that is full, failing or lying: never a yes that is not true, and everything else goes on."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from spool_parts import Disk, contents, everything, io_error, mail, opened, posting, watched_disk

from relay.spool.faults import trouble
from relay.spool.room import shortage
from relay.spool.sqlite import SqliteSpool
from relay.spool.trouble import Kind, SpoolTrouble


def failing(action: str, file: str, error: Exception) -> Callable[[str, str], None]:
    def fails(done: str, to: str) -> None:
        if (done, to) == (action, file):
            raise error

    return fails


def healed(_action: str, _file: str) -> None:
    """A disk that is well again."""


async def refused(spool: SqliteSpool, size: int = 10) -> Kind | None:
    """Why a mail is not taken; None when it is."""
    try:
        await spool.put(posting(mail(b"x" * size)))
    except SpoolTrouble as reason:
        return reason.kind
    return None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("database or disk is full"), Kind.FULL),
        (io_error(apsw.SQLITE_IOERR_WRITE), Kind.FAILING),
        (apsw.ReadOnlyError("attempt to write a readonly database"), Kind.FAILING),
    ],
)
@pytest.mark.parametrize("size", [10, 5000])
async def test_a_write_that_fails_is_no_yes_and_passes(tmp_path: Path, error: Exception, kind: Kind, size: int) -> None:
    """Nothing of the mail is there; the next one is taken when the disk is well again, without a restart."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            disk.fails = failing("write", "wal", error)
            assert await refused(spool, size) is kind
            ill = spool.standing
            assert (ill.trusted, ill.trouble is None) == (True, False)
            assert contents(tmp_path) == []

            disk.fails = healed
            await spool.probe(1.0)
            well = spool.standing
            assert (well.trusted, well.trouble) == (True, None)
            await spool.put(posting(mail()))
            assert len(await everything(spool)) == 1


async def test_a_failed_sync_ends_all_trust(tmp_path: Path) -> None:
    """The kernel may forget what it could not write: a later sync that works proves nothing."""
    kept = mail()
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            await spool.put(posting(kept))
            disk.fails = failing("sync", "wal", io_error(apsw.SQLITE_IOERR_FSYNC))
            assert await refused(spool) is Kind.UNTRUSTED

            disk.fails = healed
            assert await refused(spool) is Kind.UNTRUSTED
            assert await refused(spool, 5000) is Kind.UNTRUSTED
            assert not spool.standing.trusted
            assert spool.standing.trouble == "untrusted: disk I/O error"


async def test_deliveries_go_on_without_trust(tmp_path: Path) -> None:
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            await spool.put(posting(mail()))
            disk.fails = failing("sync", "wal", io_error(apsw.SQLITE_IOERR_FSYNC))
            assert await refused(spool) is Kind.UNTRUSTED
            disk.fails = healed

            (mine,) = await spool.claim("", 1e9, 2e9, 10)
            assert await spool.settle(mine)
            assert not spool.standing.trusted


async def test_a_sync_that_fails_while_folding_is_seen_too(tmp_path: Path) -> None:
    """Nobody waits for it, and SQLite itself would keep it quiet."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name, border_bytes=200_000) as spool:
            disk.fails = failing("sync", "db", io_error(apsw.SQLITE_IOERR_FSYNC))
            answers = [await refused(spool, 100_000) for _ in range(45)]

            assert answers[0] is None
            assert answers[-1] is Kind.UNTRUSTED
            assert not spool.standing.trusted


async def test_what_needs_no_room_goes_on_when_there_is_none(tmp_path: Path) -> None:
    """Of steps that were to share a sync, the one that does not fit takes no other with it."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name, border_bytes=1_000_000) as spool:
            await spool.put(posting(mail()))
            (mine,) = await spool.claim("", 1e9, 2e9, 10)
            room = 60  # writes: a settlement fits, half a megabyte does not
            left = [room]

            def small(action: str, file: str) -> None:
                if (action, file) == ("write", "wal"):
                    left[0] -= 1
                    if left[0] < 0:
                        left[0] = room
                        raise apsw.FullError("database or disk is full")

            disk.fails = small
            settled, *put = await asyncio.gather(
                spool.settle(mine),
                *(spool.put(posting(mail(bytes(500_000)))) for _ in range(3)),
                return_exceptions=True,
            )

            assert settled is True
            assert all(isinstance(one, SpoolTrouble) and one.kind is Kind.FULL for one in put)
            assert await everything(spool) == {}


@pytest.mark.parametrize("name", ["fsync", "write", "open"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, Kind.FULL), (errno.EDQUOT, Kind.FULL), (errno.EIO, Kind.FAILING), (errno.EROFS, Kind.FAILING),
     (errno.EMFILE, Kind.FAILING)],
)  # fmt: skip
async def test_a_large_content_that_cannot_be_stored_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, kind: Kind
) -> None:
    """The database is as trusted as before: it was not touched."""
    async with opened(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _raising(number))
            assert await refused(spool, 5000) is kind

        assert contents(tmp_path) == []
        assert spool.standing.trusted
        await spool.put(posting(mail(b"x" * 5000)))


def _raising(number: int) -> Callable[..., None]:
    def raises(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return raises


async def test_a_content_that_cannot_be_read_is_trouble_and_not_gone(tmp_path: Path) -> None:
    one = mail(b"x" * 5000)
    async with opened(tmp_path) as spool:
        await spool.put(posting(one))
        (tmp_path / "spool.db.contents" / contents(tmp_path)[0]).write_bytes(b"shorter")
        short = tmp_path / "spool.db.contents" / contents(tmp_path)[0]

        with pytest.raises(SpoolTrouble, match="has 7 bytes and had 5000"):
            await spool.content(one.id)
        short.unlink()
        with pytest.raises(SpoolTrouble, match="there is no file"):
            await spool.content(one.id)


async def test_a_disk_with_little_room_takes_no_mail_and_lets_it_go(tmp_path: Path) -> None:
    """The reserve is for the deliveries that make room."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
    async with opened(tmp_path, min_free_bytes=10**18) as spool:
        assert await refused(spool) is Kind.FULL
        assert await refused(spool, 5000) is Kind.FULL
        assert "are needed" in (spool.standing.trouble or "")
        assert contents(tmp_path) == []

        (mine,) = await spool.claim("", 1e9, 2e9, 10)
        assert await spool.settle(mine)


def test_a_limit_on_files_is_met_for_real(tmp_path: Path) -> None:
    """The kernel refuses to let the log grow: some mails are taken, the rest refused, and the first are there."""
    code = f"""if True:
        import asyncio, resource, signal, sys
        from spool_parts import mail, opened, posting
        from relay.spool.trouble import SpoolTrouble
        from pathlib import Path

        async def main():
            async with opened(Path({str(tmp_path)!r}), border_bytes=1_000_000) as spool:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
                for _ in range(20):
                    one = mail(bytes(100_000))
                    try:
                        await spool.put(posting(one))
                        print("acknowledged", one.id)
                    except SpoolTrouble as reason:
                        print("refused", reason.kind)

        asyncio.run(main())
    """
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)])
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    acknowledged = {line.split()[1] for line in ran.stdout.splitlines() if line.startswith("acknowledged")}

    assert 0 < len(acknowledged) < 20
    assert acknowledged == asyncio.run(_mails_in(tmp_path))


async def _mails_in(folder: Path) -> set[str]:
    async with opened(folder) as spool:
        return {one.mail for one in (await everything(spool)).values()}


def test_room_is_bytes_and_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shortage(tmp_path, 1) is None
    assert "are needed" in (shortage(tmp_path, 10**18) or "")
    assert "cannot ask" in (shortage(tmp_path / "nowhere", 1) or "")
    full = os.statvfs_result((4096, 4096, 1000, 500, 500, 1000, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "no inode" in (shortage(tmp_path, 1) or "")
    uncounted = os.statvfs_result((4096, 4096, 1000, 500, 500, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: uncounted)
    assert shortage(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("full"), Kind.FULL),
        (apsw.CorruptError("malformed"), Kind.UNTRUSTED),
        (apsw.NotADBError("no database"), Kind.UNTRUSTED),
        (io_error(apsw.SQLITE_IOERR_FSYNC), Kind.UNTRUSTED),
        (io_error(apsw.SQLITE_IOERR_DIR_FSYNC), Kind.UNTRUSTED),
        (io_error(apsw.SQLITE_IOERR_READ), Kind.UNTRUSTED),
        (io_error(apsw.SQLITE_IOERR_WRITE), Kind.FAILING),
        (io_error(apsw.SQLITE_IOERR_LOCK), Kind.FAILING),
        (apsw.BusyError("locked"), Kind.FAILING),
        (apsw.CantOpenError("cannot open"), Kind.FAILING),
        (OSError(errno.ENOSPC, "no space"), Kind.FULL),
        (OSError(errno.EFBIG, "too large"), Kind.FULL),
        (OSError(errno.EIO, "input/output"), Kind.FAILING),
        (MemoryError(), Kind.FAILING),
    ],
)
def test_what_an_error_means(error: Exception, kind: Kind) -> None:
    assert trouble(error).kind is kind


async def test_an_unexpected_error_of_one_step_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is an error for whoever made it, and the thread lives on."""
    async with opened(tmp_path) as spool:
        monkeypatch.setattr("relay.spool.ledger.verdict_text", _raising(errno.EIO))
        await spool.put(posting(mail()))
        monkeypatch.setattr("relay.spool.ledger.Ledger.claim", _mistaken)
        with pytest.raises(KeyError):
            await spool.claim("", 1.0, 2.0, 1)

        await spool.put(posting(mail()))
        assert len(await everything(spool)) == 2


def _mistaken(*_: object) -> None:
    raise KeyError("mistake")


async def test_a_disk_is_only_watched_where_it_is_asked_for(tmp_path: Path) -> None:
    """The shim of these tests works: without a failure it changes nothing."""
    with watched_disk() as disk:
        assert isinstance(disk, Disk)
        async with opened(tmp_path, vfs=disk.name) as spool:
            await spool.put(posting(mail()))

        assert ("sync", "wal") in disk.events
