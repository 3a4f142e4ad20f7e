"""Opening a spool: whose it is, which version it has, and what an earlier relay left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from spool_parts import contents, contents_now, everything, mail, opened, posting

from relay.spool import reading
from relay.spool.bodies import KEPT_S
from relay.spool.interface import Action, Query
from relay.spool.lock import Lock, holder
from relay.spool.opening import Opening, folder
from relay.spool.schema import MIGRATIONS
from relay.spool.sqlite import open_spool, share_spool
from relay.spool.trouble import SpoolRefused, SpoolTrouble


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def version(path: Path, number: int, application: int | None = None) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", number)
    if application is not None:
        connection.pragma("application_id", application)
    connection.close()


async def test_a_second_relay_is_told_who_has_it(tmp_path: Path) -> None:
    """In words, and before it touches anything."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await spool.claim("", 1e9, 2e9, 1)

        with pytest.raises(SpoolRefused, match=rf"another relay \(process {os.getpid()}\) uses the spool .*spool\.db"):
            open_spool(Opening(tmp_path / "spool.db"), 0.0)

        assert await spool.settle(mine), "its leases are untouched"

    async with opened(tmp_path):
        pass


async def test_a_second_relay_is_told_by_whatever_name_it_comes(tmp_path: Path) -> None:
    """A link to the file leads to the same lock."""
    (tmp_path / "other.db").symlink_to(tmp_path / "spool.db")
    async with opened(tmp_path):
        with pytest.raises(SpoolRefused, match=rf"another relay \(process {os.getpid()}\) uses the spool"):
            open_spool(Opening(tmp_path / "other.db"), 0.0)

    assert "other.db.contents" not in names(tmp_path)


@pytest.mark.parametrize("new", [True, False])
async def test_a_second_relay_is_told_although_the_lock_file_was_removed(tmp_path: Path, *, new: bool) -> None:
    """The folder of contents is locked as well, also one that was just made."""
    if not new:
        async with opened(tmp_path):
            pass
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await spool.claim("", 1e9, 2e9, 1)
        (tmp_path / "spool.db.lock").unlink()

        with pytest.raises(SpoolRefused, match=r"another relay \(process unknown\) uses the spool"):
            open_spool(Opening(tmp_path / "spool.db"), 0.0)

        assert await spool.settle(mine), "its leases are untouched"

    async with opened(tmp_path):
        pass


async def test_anybody_may_ask_who_has_it(tmp_path: Path) -> None:
    """Without being in the way of the next relay."""
    path = tmp_path / "spool.db"
    before = holder(path)
    async with opened(tmp_path):
        during = holder(path)

    assert (before, during, holder(path)) == (None, str(os.getpid()), None)
    async with opened(tmp_path):
        pass


def test_a_relay_that_starts_while_somebody_asks_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks has the lock for an instant."""
    path = tmp_path / "spool.db"
    Path(f"{path}.lock").touch(0o600)
    asking = os.open(f"{path}.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if seconds:
            fcntl.flock(asking, fcntl.LOCK_UN)

    monkeypatch.setattr("relay.spool.lock.time.sleep", pause)
    lock = Lock(path, folder(path))
    os.close(asking)

    assert len([pause for pause in pauses if pause]) == 1
    assert holder(path) == str(os.getpid())
    lock.release()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    """However it ends: the next relay needs no repair."""
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from relay.spool.opening import Opening
        from relay.spool.sqlite import open_spool
        open_spool(Opening(Path({str(tmp_path)!r}) / "spool.db"), 0.0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert ended.returncode == -9
    lock, spool = tmp_path / "spool.db.lock", open_spool(Opening(tmp_path / "spool.db"), 0.0)
    assert lock.read_text("ascii") == f"{os.getpid()}\n"
    spool._close()


async def test_leases_of_a_relay_that_is_no_more_end_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        (mine,) = await spool.claim("", 100.0, 100_000.0, 1)

    async with opened(tmp_path, now=200.0) as spool:
        assert spool.found.leases == 1
        assert not await spool.settle(mine)
        (again,) = await spool.claim("", 200.0, 300.0, 1)
        assert again.part.attempts == 2


async def test_a_clock_that_was_set_back_makes_nothing_wait_longer(tmp_path: Path) -> None:
    """Due times are of the old clock: a day ahead, say."""
    async with opened(tmp_path) as spool:
        one, dead = mail(arrived=100_000.0), mail(arrived=100_000.0)
        await spool.put(posting(one))
        await spool.put(posting(dead))
        await spool.alter(Query(ids=(dead.id,)), Action.HOLD, 0.0)

    async with opened(tmp_path, now=1000.0, longest_wait_s=3600.0) as spool:
        found = await everything(spool)
        assert found[f"{one.id}.1"].part.due == 4600.0
        assert found[f"{dead.id}.1"].part.due == 100_000.0


async def test_files_that_no_mail_needs_are_removed_and_missing_ones_named(tmp_path: Path) -> None:
    """A crash leaves at most unfinished files; a file that is gone is somebody else's doing."""
    async with opened(tmp_path) as spool:
        for _ in range(2):
            await spool.put(posting(mail(b"x" * 5000)))
        owners = reading.files(spool._writer._ledger.connection)
    beside, (kept, lost) = folder(tmp_path / "spool.db"), contents(tmp_path)
    (beside / "0123.part").write_bytes(b"half")
    (beside / "4567").write_bytes(b"whole, but its row was not committed")
    (beside / lost).unlink()

    async with opened(tmp_path) as spool:
        assert (spool.found.rubbish, spool.found.kept, spool.found.missing) == (1, 1, (owners[lost],))
        assert contents(tmp_path) == sorted([kept, "4567"]), "a whole one may be mail whose row was restored away"

    in_a_week = (beside / "4567").stat().st_mtime + KEPT_S + 1
    async with opened(tmp_path, now=in_a_week) as spool:
        assert (spool.found.rubbish, spool.found.kept) == (1, 0)
        assert contents(tmp_path) == [kept]


async def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        await spool.put(posting(mail(b"x" * 5000)))
        modes = modes_in(tmp_path)

        assert modes == {
            "spool.db": 0o600, "spool.db-wal": 0o600, "spool.db-shm": 0o600, "spool.db.lock": 0o600,
            "spool.db.contents": 0o700, contents(tmp_path)[0]: 0o600,
        }  # fmt: skip


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


async def test_a_commit_is_a_sync(tmp_path: Path) -> None:
    """The settings that the promise rests on, as SQLite itself reports them."""
    async with opened(tmp_path) as spool:
        connection = spool._writer._ledger.connection
        settings = {name: connection.pragma(name) for name in ("journal_mode", "synchronous", "mmap_size")}

        assert settings == {"journal_mode": "wal", "synchronous": 2, "mmap_size": 0}
        assert connection.pragma("foreign_keys") == 1
        assert connection.pragma("auto_vacuum") == 2


def refusal(path: Path) -> str:
    with pytest.raises(SpoolRefused) as caught:
        open_spool(Opening(path), 0.0)
    return str(caught.value)


async def test_a_file_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    version(tmp_path / "spool.db", len(MIGRATIONS) + 1)

    assert "was written by a newer version of ses-relay" in refusal(tmp_path / "spool.db")


def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()

    assert "is a database of another program" in refusal(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_not_touched(tmp_path: Path) -> None:
    """A path that was mistyped must not cost anybody a file."""
    path, theirs = tmp_path / "spool.db", b"something else entirely, and long enough to be looked at" * 100
    path.write_bytes(theirs)

    assert "is not a spool" in refusal(path)
    assert "is not a spool" in refusal(path), "nor when it is started again and again"
    assert path.read_bytes() == theirs
    assert not (tmp_path / "spool.db.contents").exists()


def test_a_folder_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpoolRefused, match=r"there is no folder .*nowhere"):
        open_spool(Opening(tmp_path / "nowhere" / "spool.db"), 0.0)


async def test_a_file_that_was_made_and_not_finished_is_a_new_one(tmp_path: Path) -> None:
    """A crash between the making of the file and its tables."""
    (tmp_path / "spool.db").touch(0o600)

    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))


@pytest.mark.parametrize("begun", [False, True], ids=["empty", "begun"])
def test_a_file_that_no_relay_has_finished_is_told_as_that(tmp_path: Path, *, begun: bool) -> None:
    """It is of no version, and no older one."""
    path = tmp_path / "spool.db"
    path.touch(0o600)
    if begun:
        connection = apsw.Connection(str(path))
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays, as with ours
        connection.pragma("journal_mode", "wal")
        connection.close()

    with pytest.raises(SpoolRefused, match=r"has nothing in it|-wal is missing"):
        share_spool(Opening(path))


def test_a_file_that_cannot_be_opened_is_told_with_the_reason(tmp_path: Path) -> None:
    """SQLite says only that it is unable to."""
    (tmp_path / "spool.db").mkdir()

    with pytest.raises(SpoolTrouble, match=r"Is a directory: '.*spool\.db'"):
        share_spool(Opening(tmp_path / "spool.db"))


async def test_an_older_file_is_brought_to_this_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step, with what is in it; a queue command does not do it behind a relay's back."""
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
    newer = (*MIGRATIONS, "ALTER TABLE mails ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'")
    monkeypatch.setattr("relay.spool.schema.MIGRATIONS", newer)

    with pytest.raises(SpoolRefused, match=r"older version .* restart the relay once"):
        share_spool(Opening(tmp_path / "spool.db"))
    async with opened(tmp_path) as spool:
        assert len(await everything(spool)) == 1
        assert spool._writer._ledger.connection.pragma("user_version") == len(newer)


async def test_a_step_to_a_new_version_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
    with monkeypatch.context() as patch:
        patch.setattr("relay.spool.schema.MIGRATIONS", (*MIGRATIONS, "DROP TABLE parcels; SELECT nonsense"))
        with pytest.raises(SpoolTrouble):
            open_spool(Opening(tmp_path / "spool.db"), 0.0)

    async with opened(tmp_path) as spool:
        assert len(await everything(spool)) == 1


async def test_a_queue_command_works_beside_the_relay(tmp_path: Path) -> None:
    """It sees what is there, and what it does the relay sees at once; leases stay."""
    one, other = mail(), mail(b"x" * 5000)
    async with opened(tmp_path) as relay:
        await relay.put(posting(one))
        await relay.put(posting(other))
        (mine,) = await relay.claim("", one.arrived, 2e9, 1)
        command = share_spool(Opening(tmp_path / "spool.db"))
        try:
            assert set(await everything(command)) == {f"{one.id}.1", f"{other.id}.1"}
            assert await command.content(other.id) == other.content
            assert await command.alter(Query(ids=(other.id,)), Action.DROP, 0.0) == 1
        finally:
            await command.close()

        assert set(await everything(relay)) == {f"{one.id}.1"}
        assert await contents_now(relay, tmp_path) == []
        assert await relay.settle(mine)


async def test_a_queue_command_works_without_the_relay(tmp_path: Path) -> None:
    with pytest.raises(SpoolRefused, match="there is no spool"):
        share_spool(Opening(tmp_path / "spool.db"))
    async with opened(tmp_path) as relay:
        await relay.put(posting(mail()))

    command = share_spool(Opening(tmp_path / "spool.db"))
    assert await command.alter(Query(), Action.HOLD, 0.0) == 1
    await command.close()


async def test_a_spool_of_another_user_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that root starts by hand would leave files there that the real one cannot read."""
    async with opened(tmp_path):
        pass
    before = names(tmp_path)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)

    with pytest.raises(SpoolRefused, match=rf"belongs to user {me}, and this is user {me + 1}: run the relay as"):
        open_spool(Opening(tmp_path / "spool.db"), 0.0)
    assert names(tmp_path) == before


async def test_a_file_system_that_locks_no_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the network: the lock on the file is there."""
    flock = fcntl.flock

    def files_only(descriptor: int, kind: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", files_only)
    async with opened(tmp_path) as spool:
        await spool.put(posting(mail()))
        with pytest.raises(SpoolRefused, match="another relay"):
            open_spool(Opening(tmp_path / "spool.db"), 0.0)


def as_it_is(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("spool.db*") if path.is_file()}


async def left_by_a_crash(folder: Path) -> None:
    """A spool with mail that is in its log only, as a process that was killed leaves it."""
    async with opened(folder) as spool:
        await spool.put(posting(mail()))
        kept = as_it_is(folder)
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["spool.db-wal", "spool.db"])
async def test_a_queue_command_tidies_nothing_up_that_a_start_has_to_see(tmp_path: Path, name: str) -> None:
    """A log that was removed, a database that was emptied: SQLite would make the one, and remove the other's log."""
    await left_by_a_crash(tmp_path)
    (tmp_path / name).unlink()
    if name == "spool.db":
        (tmp_path / name).touch()
    before = names(tmp_path)
    with pytest.raises(SpoolRefused, match=r"is missing: a relay that starts|has nothing in it: start the relay"):
        share_spool(Opening(tmp_path / "spool.db"))

    assert names(tmp_path) == before
    async with opened(tmp_path) as spool:
        assert (spool.found.before.log_gone, spool.found.before.database_gone) == (
            name != "spool.db",
            name == "spool.db",
        )


async def test_a_file_that_is_refused_keeps_its_log(tmp_path: Path) -> None:
    """Its last user would fold and remove it; the relay that it belongs to would miss it."""
    await left_by_a_crash(tmp_path)
    log = (tmp_path / "spool.db-wal").read_bytes()
    connection = apsw.Connection(str(tmp_path / "spool.db"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("user_version", 99)
    connection.close(True)
    with pytest.raises(SpoolRefused, match="newer version"):
        share_spool(Opening(tmp_path / "spool.db"))

    assert (tmp_path / "spool.db-wal").read_bytes()[32:1000] == log[32:1000]


async def test_an_empty_folder_that_was_made_for_a_spool_is_no_sign_of_one(tmp_path: Path) -> None:
    (tmp_path / "spool.db.contents").mkdir()
    async with opened(tmp_path) as spool:
        assert not spool.found.before.database_gone
