"""The writing thread: one sync for many, in the right order, and nothing that was asked for is left undone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from spool_parts import Disk, everything, mail, opened, posting, watched_disk

from relay.spool import bodies, schema
from relay.spool.trouble import SpoolTrouble
from relay.spool.writer import Step, Writer


class Gate:
    """Stops the disk before the next sync of the log, until it is opened."""

    def __init__(self, disk: Disk) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        disk.fails = self._stop

    def _stop(self, action: str, file: str) -> None:
        if (action, file) == ("sync", "wal"):
            self.reached.set()
            assert self._open.wait(10)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each transaction had."""
    found: list[int] = []
    transaction = Writer._transaction

    def counted(self: Writer, steps: Sequence[Step]) -> list[Any]:
        found.append(len(steps))
        return transaction(self, steps)

    monkeypatch.setattr(Writer, "_transaction", counted)
    return found


@pytest.mark.parametrize(("size", "due"), [(10, [1, 100]), (100_000, [1, 42, 42, 16])])
async def test_mails_that_come_during_a_sync_share_the_next_one(
    tmp_path: Path, batches: list[int], size: int, due: list[int]
) -> None:
    """Large ones not all at once: what 4 MB of the log hold is told of before the next go in."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name, border_bytes=200_000) as spool:
            gate = Gate(disk)
            first = asyncio.ensure_future(spool.put(posting(mail())))
            await asyncio.to_thread(gate.reached.wait, 10)
            others = [asyncio.ensure_future(spool.put(posting(mail(bytes(size))))) for _ in range(100)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gate.open()
            await asyncio.gather(first, *others)

            assert batches == due
            assert len(await everything(spool)) == 101


async def test_nobody_is_told_before_the_sync(tmp_path: Path) -> None:
    """The order that everything rests on: the log is written, it is synced, and then the client hears 250."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            disk.events.clear()
            gate = Gate(disk)
            told = asyncio.ensure_future(spool.put(posting(mail())))
            await asyncio.to_thread(gate.reached.wait, 10)
            assert not told.done()
            gate.open()
            await told
            written = [event for event in disk.events if event[1] == "wal"]

    assert written[-1] == ("sync", "wal")
    assert written.count(("sync", "wal")) == 1
    assert ("write", "wal") in written


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is done to files, in order: sync of a file or folder, rename, and the row."""
    found: list[tuple[str, Any]] = []
    sync, rename, put = os.fsync, Path.rename, bodies.Bodies.write

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        found.append(("sync", "folder" if name.endswith(".contents") else "content"))
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        found.append(("rename", "content"))
        return rename(path, target)

    def written(self: bodies.Bodies, content: bytes) -> str:
        name = put(self, content)
        found.append(("told", "content"))
        return name

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(bodies.Bodies, "write", written)
    return found


async def test_a_large_content_is_on_disk_before_its_row(tmp_path: Path, calls: list[tuple[str, Any]]) -> None:
    """File, then its name, then the folder; only then the row, and only then the answer."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            calls.clear()
            disk.events.clear()
            disk.fails = lambda action, _file: calls.append(("row", action)) if action != "read" else None
            await spool.put(posting(mail(b"x" * 100_000)))

    assert calls[:5] == [
        ("sync", "content"), ("rename", "content"), ("sync", "folder"), ("told", "content"), ("row", "write"),
    ]  # fmt: skip


async def test_whoever_stops_waiting_stops_nothing(tmp_path: Path) -> None:
    """A client that goes away, a timeout, a drain: the mail is committed all the same."""
    small, large = mail(), mail(b"x" * 50_000)
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            gate = Gate(disk)
            waiting = [asyncio.ensure_future(spool.put(posting(one))) for one in (small, large)]
            await asyncio.to_thread(gate.reached.wait, 10)
            for one in waiting:
                one.cancel()
            assert [await asyncio.gather(one, return_exceptions=True) for one in waiting]
            gate.open()

        async with opened(tmp_path) as spool:
            assert set(await everything(spool)) == {f"{small.id}.1", f"{large.id}.1"}
            assert await spool.content(large.id) == large.content


async def test_a_writer_that_is_stuck_is_seen(tmp_path: Path) -> None:
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name) as spool:
            assert spool.standing.waiting_s == 0
            gate = Gate(disk)
            waiting = asyncio.ensure_future(spool.put(posting(mail())))
            await asyncio.to_thread(gate.reached.wait, 10)
            seen = spool.standing.waiting_s
            gate.open()
            await waiting

            assert 0 < seen < 10
            await spool.probe(1.0)
            assert spool.standing.waiting_s == 0


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        waiting = [asyncio.ensure_future(spool.put(posting(mail(b"x" * size)))) for size in (10, 9000) * 20]
        await asyncio.sleep(0)

    assert len(await asyncio.gather(*waiting)) == 40
    async with opened(tmp_path) as spool:
        assert len(await everything(spool)) == 40


async def test_after_the_end_nothing_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        pass

    with pytest.raises(SpoolTrouble, match="closed"):
        await spool.put(posting(mail()))


async def test_the_log_is_folded_into_the_file_and_stays_small(tmp_path: Path) -> None:
    """However much goes through: 40 MB of small mails and 40 MB in one."""
    async with opened(tmp_path, border_bytes=128 * 1024) as spool:
        await spool.put(posting(mail(bytes(40_000_000))))
        for _ in range(40):
            await asyncio.gather(*(spool.put(posting(mail(bytes(100_000)))) for _ in range(10)))

        assert (tmp_path / "spool.db-wal").stat().st_size < 20_000_000


async def test_a_large_mail_needs_no_second_buffer(tmp_path: Path) -> None:
    """It is written in pieces from where it lies, and read once."""
    content = bytes(40_000_000)
    async with opened(tmp_path) as spool:
        one = mail(content)
        before = apsw.memory_used()
        apsw.memory_high_water(True)  # from here on: other tests of this process had theirs
        await spool.put(posting(one))
        assert apsw.memory_high_water() - before < 4_000_000
        kept = await spool.content(one.id)

    assert kept == content


async def test_room_goes_back_to_the_disk(tmp_path: Path) -> None:
    """The file of an outage does not stay as large for ever."""
    async with opened(tmp_path, border_bytes=128 * 1024) as spool:
        await asyncio.gather(*(spool.put(posting(mail(bytes(100_000)))) for _ in range(200)))
        parcels = await spool.claim("", 1e9, 2e9, 1000)
        await asyncio.gather(*map(spool.settle, parcels))
        for _ in range(5):
            await spool.forget(0.0)
            assert spool._writer._ledger.connection.pragma("freelist_count") >= 2000, "these it keeps for deliveries"

    assert (tmp_path / "spool.db").stat().st_size < 12_000_000


def test_the_names_that_the_order_test_watches_are_those_in_use() -> None:
    assert bodies.os is schema.os is os  # type: ignore[attr-defined]  # modules they import
