"""How queue commands get at the spool: whose files they leave, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import apsw
import click
import pytest
from queue_parts import CONTENT, Kit, posting

from relay.cli.spool_access import acting_as_owner, ask
from relay.spool import schema
from relay.spool.interface import Action, Spool
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool
from relay.spool.trouble import Kind, SpoolTrouble

NOBODY, STRANGER = 65534, 12345
COMMANDS = (["list"], ["show", "aaaa"], ["hold", "aaaa"])
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def theirs() -> Iterator[Kit]:
    """A spool of another user, where that user can reach it."""
    folder = Path(tempfile.mkdtemp(prefix="ses-relay-queue-"))
    kit = Kit(folder)
    kit.fill(posting("aaaa", content=CONTENT + b"x" * 200_000), posting("bbbb"))
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    folder.chmod(0o755)
    kit.config.chmod(0o644)
    yield kit
    shutil.rmtree(folder)


def as_user(uid: int, code: str) -> subprocess.CompletedProcess[str]:
    """Run code as somebody else, who need not be able to read this Python's library."""
    before = """
        import asyncio, os
        from pathlib import Path
        from relay.cli.queue import queue
        from relay.spool.interface import Action, Query
        from relay.spool.opening import Opening
        from relay.spool.sqlite import open_spool
        "".encode("utf-8-sig")
    """
    whole = f"{dedent(before)}os.setgid({uid}); os.setuid({uid})\n{dedent(code)}"
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", whole], check=False, timeout=60, capture_output=True, text=True, cwd=root
    )


def told(kit: Kit, *words: str) -> str:
    """The complaint of a command that ends with 1."""
    result = kit.queue(*words)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    return result.output.removeprefix("Error: ").rstrip("\n")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_configuration_without_a_spool_is_2(tmp_path: Path, words: list[str]) -> None:
    result = Kit(tmp_path, spool=None).queue(*words)

    assert result.exit_code == 2
    assert "has no section spool" in result.output


@pytest.mark.parametrize("words", COMMANDS)
def test_a_relay_that_never_started_has_no_spool(kit: Kit, words: list[str]) -> None:
    """And none is made."""
    assert told(kit, *words) == f"there is no spool {kit.path}: a relay makes it when it starts"
    assert not kit.path.exists()


@pytest.mark.parametrize("words", COMMANDS)
def test_what_is_no_spool_is_told_and_not_touched(kit: Kit, words: list[str]) -> None:
    """Somebody else's file, one of another version, one that is damaged."""
    kit.fill(posting("aaaa"))
    whole = kit.path.read_bytes()
    kit.path.write_bytes(b"something else entirely" * 1000)
    damaged = told(kit, *words)
    kit.path.write_bytes(whole)
    version(kit.path, len(schema.MIGRATIONS) + 1)
    newer = told(kit, *words)
    version(kit.path, len(schema.MIGRATIONS) - 1)
    older = told(kit, *words)

    assert "does not work: file is not a database; a relay mends a damaged spool when it starts, or" in damaged
    assert "was written by a newer version of ses-relay" in newer
    assert older.endswith("start the relay once")


def version(path: Path, number: int) -> None:
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays, as with ours
    connection.pragma("user_version", number)
    connection.close()


def test_damage_that_is_met_on_the_way_is_told(kit: Kit) -> None:
    """The first page is well, the others are not."""
    kit.fill(*(posting(f"mail{number}", content=CONTENT * 20) for number in range(100)))
    with kit.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 20)

    assert "a relay mends a damaged spool when it starts" in told(kit, "list")


def test_a_writer_that_does_not_let_go_is_told_and_readers_do_not_wait(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.fill(posting("aaaa"))
    monkeypatch.setattr(schema, "BUSY_MS", 20)
    other = apsw.Connection(str(kit.path))
    other.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays, as with ours
    other.execute("BEGIN IMMEDIATE")

    assert kit.ids() == ["aaaa.1"]
    refused = kit.queue("hold", "aaaa")
    assert (refused.exit_code, refused.stdout) == (1, "0 parcels held\n1 parcel left as it was\n")
    assert "does not work: database is locked" in refused.stderr
    other.execute("ROLLBACK")
    other.close()
    assert kit.queue("hold", "aaaa").exit_code == 0


def removed(file: Path) -> None:
    file.unlink()


def changed(file: Path) -> None:
    file.write_bytes(b"y" + file.read_bytes()[1:])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def without_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("harm", [removed, changed, cut, without_folder])
def test_a_message_that_cannot_be_read_is_told_and_the_others_are_well(kit: Kit, harm: Callable[[Path], None]) -> None:
    """Nobody is given half of it, or another one; its envelope is shown all the same."""
    kit.fill(posting("aaaa", content=CONTENT + b"x" * 200_000), posting("bbbb"))
    (only,) = (kit.path.parent / "spool.db.contents").iterdir()
    harm(only)
    words = "the message aaaa cannot be read, only its envelope (ses-relay queue show aaaa): "

    assert told(kit, "export", "aaaa").startswith(words)
    assert not list(kit.path.parent.glob("*.eml"))
    shown, facts = kit.queue("show", "aaaa", "--headers"), kit.queue("show", "aaaa", "--headers", "--json")
    assert (shown.exit_code, facts.exit_code) == (1, 1)
    assert "  to        ann@customer.example\n" in shown.stdout
    assert "Headers" not in shown.stdout
    assert shown.stderr.startswith(f"Error: {words}")
    assert json.loads(facts.stdout)["headers"] is None
    assert kit.queue("show", "aaaa").exit_code == 0
    assert kit.queue("show", "bbbb", "--headers").exit_code == 0
    assert kit.queue("export", "bbbb", "--to", str(kit.path.parent / "b.eml")).exit_code == 0


def test_a_disk_that_cannot_be_read_is_the_spool_s_trouble(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of one message; what is known of it is shown."""
    kit.fill(posting("aaaa"))

    async def fails(_spool: SqliteSpool, _mail: str) -> None:
        raise SpoolTrouble(Kind.FAILING, "Input/output error")

    monkeypatch.setattr(SqliteSpool, "content", fails)
    shown = kit.queue("show", "aaaa", "--headers")

    assert told(kit, "export", "aaaa") == f"the spool {kit.path} does not work: Input/output error"
    assert shown.stdout.startswith("Mail aaaa\n")
    assert (shown.exit_code, shown.stderr) == (1, f"Error: the spool {kit.path} does not work: Input/output error\n")


def owners(kit: Kit) -> set[tuple[str, int, int]]:
    """Whose everything is that belongs to the spool."""
    found = {path: path.stat() for path in kit.path.parent.rglob("spool.db*")}
    return {(path.name, one.st_uid, stat.S_IMODE(one.st_mode)) for path, one in found.items()}


@root_only
@pytest.mark.parametrize(
    "words", [["list"], ["show", "aaaa", "--headers"], ["hold", "aaaa"], ["drop", "--all", "--yes"]]
)
def test_what_root_leaves_belongs_to_the_relay_s_user(theirs: Kit, words: list[str]) -> None:
    """Without the relay: SQLite makes its index for this command. The relay can use it."""
    Path(f"{theirs.path}-shm").unlink(missing_ok=True)

    assert theirs.queue(*words).exit_code == 0

    assert {uid for _, uid, _ in owners(theirs)} == {NOBODY}
    assert {"spool.db-wal", "spool.db-shm"} <= {name for name, _, _ in owners(theirs)}
    ended = as_user(
        NOBODY,
        f"""
        spool = open_spool(Opening(Path({str(theirs.path)!r})), 1.0)
        print(asyncio.run(spool.alter(Query(), Action.HOLD, 1.0)))
        asyncio.run(spool.close())
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@root_only
def test_root_exports_to_its_own_folder(theirs: Kit, tmp_path: Path) -> None:
    """Only the spool is opened as its owner: the file is root's."""
    tmp_path.chmod(0o700)

    assert theirs.queue("export", "aaaa", "--to", str(tmp_path / "a.eml")).exit_code == 0

    found = (tmp_path / "a.eml").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    assert os.geteuid() == 0


@root_only
def test_anybody_else_is_told_whose_it_is(theirs: Kit, kit: Kit) -> None:
    """And nothing is left behind; neither root's spool nor another user's is opened."""
    before = owners(theirs)
    ended = as_user(STRANGER, f"queue(['list', '--config', {str(theirs.config)!r}])")

    name = pwd.getpwuid(NOBODY).pw_name
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"Error: {theirs.path} belongs to {name}: run this as that user\n"
    assert owners(theirs) == before


@root_only
def test_a_folder_that_cannot_be_entered_is_told(theirs: Kit) -> None:
    inner = theirs.path.parent / "spool.db.contents"
    theirs.config.write_text(theirs.config.read_text().replace(str(theirs.path), str(inner / "spool.db")))
    ended = as_user(STRANGER, f"queue(['list', '--config', {str(theirs.config)!r}])")

    assert ended.returncode == 1
    assert ended.stderr == (
        f"Error: cannot look at the spool {inner / 'spool.db'}: Permission denied; run this as the relay's user\n"
    )


@root_only
def test_root_works_as_the_spool_s_owner(theirs: Kit) -> None:
    """Even without the capability to give files away, which SQLite would need."""

    async def who(_spool: Spool) -> tuple[int, int]:
        return os.geteuid(), os.getegid()

    assert ask(Opening(theirs.path), who) == (NOBODY, NOBODY)


@root_only
def test_root_is_root_again_whatever_happens(theirs: Kit) -> None:
    async def fails(_spool: Spool) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(Opening(theirs.path), fails)

    assert (os.geteuid(), os.getegid()) == (0, os.getgid())


def test_ones_own_spool_needs_nobody_else(kit: Kit) -> None:
    kit.fill(posting("aaaa"))
    before = owners(kit)

    assert kit.queue("hold", "aaaa").exit_code == 0
    assert {uid for _, uid, _ in owners(kit)} == {uid for _, uid, _ in before} == {os.geteuid()}
    with pytest.raises(click.ClickException, match="there is no spool"), acting_as_owner(kit.path.with_name("other")):
        pytest.fail("entered")


def test_a_second_start_is_not_in_the_way(kit: Kit) -> None:
    """A queue command holds no lock that a relay would fall over."""
    kit.fill(posting("aaaa"))
    assert kit.queue("list").exit_code == 0
    spool = open_spool(Opening(kit.path), 0.0)
    spool._close()
    kit.alter(Action.DROP, "aaaa")
    assert kit.ids() == []
