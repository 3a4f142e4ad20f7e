"""Room that is taken beforehand: on a disk that is full to the last byte, what waits is delivered all the same."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from spool_parts import EVERYTHING, LATER, NEVER, Disk, everything, mail, opened, posting, watched_disk

from relay.model import Reply
from relay.spool import reserve, writer
from relay.spool.interface import Action, Part, Spooled
from relay.spool.opening import Opening
from relay.spool.reserve import AHEAD, FREE_PAGES, LOG_ROOM
from relay.spool.sqlite import SqliteSpool, share_spool
from relay.spool.trouble import Kind, SpoolTrouble

WAITING = 500
LANES = [f"lane{number}" for number in range(5)]
LONGER = replace(LATER, reply=Reply(451, "4.4.1", "not now, " * 10), detail="503 from somewhere, " * 20)


@dataclass(frozen=True, slots=True)
class Room:
    """What statvfs says, as far as anybody asks."""

    f_bavail: int
    f_frsize: int = 1
    f_files: int = 0
    f_favail: int = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk of its own size, as everybody sees it."""
    with watched_disk() as disk:
        disk.room = 500_000_000
        monkeypatch.setattr(os, "statvfs", lambda _: Room(max(disk.room, 0)))
        yield disk


async def waiting(spool: SqliteSpool, number: int = WAITING, size: int = 1500) -> None:
    """So many mails wait in several lanes."""
    mails = [mail(b"x" * size) for _ in range(number)]
    parts = [Part(one.envelope.recipients, 1.0, LANES[n % len(LANES)]) for n, one in enumerate(mails)]
    await asyncio.gather(*(spool.put(posting(one, part)) for one, part in zip(mails, parts, strict=True)))


async def claimed(spool: SqliteSpool, now: float, limit: int = 32) -> list[Spooled]:
    """What the queue would claim at once."""
    batches = await asyncio.gather(*(spool.claim(lane, now, now + 600, limit) for lane in LANES))
    return [parcel for batch in batches for parcel in batch]


async def settled(spool: SqliteSpool, now: float = 10.0) -> int:
    """Have everything delivered, each by itself; how many parcels that was."""
    count = 0
    while parcels := await claimed(spool, now):
        for parcel in parcels:
            assert await spool.settle(parcel)
        count += len(parcels)
    return count


async def given_up(spool: SqliteSpool, size: int) -> int:
    """Have one after the other be given up, with bounces of this size, until there is no room; how many that was."""
    for count in range(WAITING):
        [one] = await spool.claim(LANES[count % len(LANES)], 10.0, 600.0, 1)
        try:
            await spool.settle(one, dead=NEVER, notices=[posting(mail(b"x" * size))])
        except SpoolTrouble as trouble:
            if trouble.kind is not Kind.FULL:
                raise
            return count
    raise AssertionError("there was room for all")


async def test_a_full_disk_stops_no_delivery(tmp_path: Path, disk: Disk) -> None:
    """Filled by somebody else, all at once, while some mail is only in the log yet."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await spool.make_room()
        await waiting(spool, size=7000)
        disk.room = 0

        assert await settled(spool) == WAITING
        assert await everything(spool) == {}
        assert spool.standing.full


async def test_an_orderly_restart_on_a_full_disk_gives_nothing_back(tmp_path: Path, disk: Disk) -> None:
    """Whatever is given back somebody else takes, while no relay runs."""
    options: dict[str, Any] = {"vfs": disk.name, "border_bytes": 1 << 20}
    async with opened(tmp_path, **options) as spool:
        await spool.make_room()
        await waiting(spool, size=7000)
        disk.room = 0

    disk.room = 0
    async with opened(tmp_path, **options) as spool:
        await spool.make_room()
        assert await settled(spool) == WAITING
        assert await everything(spool) == {}


async def test_without_the_reserve_it_would(tmp_path: Path, disk: Disk) -> None:
    """The disk of these tests can be full."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await waiting(spool)
        disk.room = 0
        with pytest.raises(SpoolTrouble) as caught:
            await settled(spool)
        assert caught.value.kind is Kind.FULL
        disk.room = 500_000_000


async def test_what_ses_does_not_take_is_put_off_and_given_up_on_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    """With longer words than before; and a bounce finds room."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await spool.make_room()
        await waiting(spool)
        disk.room = 0
        count = 0
        while parcels := await claimed(spool, 10.0):
            later = [[replace(one.part, due=5000.0, last=LONGER)] for one in parcels]
            await asyncio.gather(*map(spool.reschedule, parcels, later))
            count += len(parcels)
        assert count == WAITING

        [mine] = await spool.claim(LANES[0], 6000.0, 7000.0, 1)
        assert await spool.settle(mine, dead=NEVER, notices=[posting(mail(b"a bounce" * 500))])
        assert await settled(spool, 6000.0) == WAITING - 1
        assert len(await everything(spool)) == 2


async def test_the_last_room_is_kept_for_deliveries(tmp_path: Path, disk: Disk) -> None:
    """However much is given up and bounced meanwhile: that waits, and goes on when deliveries have made room."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await spool.make_room()
        await waiting(spool)
        disk.room = 0
        bounced = [await given_up(spool, size) for size in (20_000, 3000, 100)]

        assert bounced[0] > 10
        await spool.make_room()
        assert await settled(spool, 1000.0) == WAITING - sum(bounced)
        one, *_ = await spool.claim("", 2000.0, 3000.0, 1)
        assert await spool.settle(one, dead=NEVER, notices=[posting(mail(b"x" * 10_000))])


async def test_room_that_comes_back_is_used(tmp_path: Path, disk: Disk) -> None:
    """The file may grow again, and new mail is taken, as soon as the watch has looked."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await spool.make_room()
        await waiting(spool, 20)
        disk.room = 0
        await spool.make_room()
        for one in await claimed(spool, 10.0):
            with contextlib.suppress(SpoolTrouble):
                await spool.settle(one, dead=NEVER, notices=[posting(mail(b"x" * 700_000))])
        with pytest.raises(SpoolTrouble):
            await spool.put(posting(mail(b"x" * 500_000)))
        disk.room = 500_000_000
        await spool.probe(1.0)
        await spool.make_room()
        assert not spool.standing.full
        for _ in range(40):
            await spool.put(posting(mail(b"x" * 500_000)))


# The log


def log_bytes(folder: Path) -> int:
    return (folder / "spool.db-wal").stat().st_size


async def test_the_log_keeps_its_length_while_the_relay_runs(tmp_path: Path) -> None:
    """However often it is folded; it goes with the relay."""
    async with opened(tmp_path, border_bytes=1 << 20) as spool:
        await spool.make_room()
        assert log_bytes(tmp_path) == LOG_ROOM
        blocks = (tmp_path / "spool.db-wal").stat().st_blocks * 512
        assert blocks >= LOG_ROOM, "these bytes are on the disk"
        for _ in range(4):
            await asyncio.gather(*(spool.put(posting(mail(bytes(100_000)))) for _ in range(20)))
            assert log_bytes(tmp_path) == LOG_ROOM

    assert log_bytes(tmp_path) == 0
    async with opened(tmp_path) as spool:
        assert len(await everything(spool)) == 80


async def test_a_queue_command_leaves_the_log_its_length(tmp_path: Path) -> None:
    """Whatever it does; on a disk that is full it could not be made that long again."""
    async with opened(tmp_path) as spool:
        await spool.make_room()
        await spool.put(posting(mail()))
        command = share_spool(Opening(tmp_path / "spool.db"))
        assert await command.alter(EVERYTHING, Action.HOLD, 1.0) == 1
        await command.close()

        assert log_bytes(tmp_path) == LOG_ROOM


class Folded:
    """A connection to a file whose log somebody else is folding."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.tried = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def wal_checkpoint(self, **_: Any) -> None:
        self.tried += 1
        raise apsw.BusyError("database is locked")


async def test_whoever_else_folds_the_log_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue command does that now and then: mail is taken meanwhile."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 1)
    async with opened(tmp_path) as spool:
        ledger = spool._writer._ledger
        whole, folded = ledger.connection, Folded(ledger.connection)
        ledger.connection = folded  # type: ignore[assignment]  # it is one, but for that
        await spool.make_room()
        await spool.put(posting(mail()))
        await spool.probe(1.0)
        await asyncio.wrap_future(spool._writer.apart(lambda _: None))  # what follows a commit is done, too
        standing = spool.standing
        ledger.connection = whole

    assert folded.tried >= 2
    assert standing.trouble is None


async def test_there_are_free_pages_again_when_mail_has_used_them(tmp_path: Path) -> None:
    """And where there are enough, nothing is written."""
    with watched_disk() as disk:
        async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
            connection = spool._writer._ledger.connection
            await spool.make_room()
            await waiting(spool, 100, 10_000)
            used = connection.pragma("freelist_count")
            await spool.make_room()
            assert used < FREE_PAGES == connection.pragma("freelist_count")
            disk.events.clear()
            await spool.make_room()

    assert [event for event in disk.events if event == ("write", "wal")] == []


async def test_a_file_system_that_cannot_take_room_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    async with opened(tmp_path) as spool:
        await spool.make_room()
        assert spool.standing.trouble is None
        await spool.put(posting(mail()))
        assert log_bytes(tmp_path) < LOG_ROOM


async def test_no_more_is_taken_than_can_be_spared(tmp_path: Path, disk: Disk) -> None:
    """A disk too small for it is left to mail; when there is room later, it is taken then."""
    async with opened(tmp_path, vfs=disk.name) as spool:
        disk.room = 2 * 2 * FREE_PAGES * 4096 - 1_000_000
        await spool.make_room()
        small = log_bytes(tmp_path), (tmp_path / "spool.db").stat().st_size
        disk.room = 500_000_000
        await spool.make_room()

        assert max(small) < 100_000
        assert log_bytes(tmp_path) == LOG_ROOM
        assert (tmp_path / "spool.db").stat().st_size >= AHEAD + FREE_PAGES * 4096


async def test_a_disk_with_much_room_is_spared_the_work(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made longer than its pages only when the disk may be full soon: that costs time at each folding."""
    monkeypatch.setattr(reserve, "NEAR", 100_000_000)
    async with opened(tmp_path, vfs=disk.name) as spool:
        await spool.make_room()
        far = (tmp_path / "spool.db").stat().st_size
        disk.room = 90_000_000
        await spool.make_room()

        assert far < AHEAD <= (tmp_path / "spool.db").stat().st_size


async def test_a_new_file_has_its_reserve_too(tmp_path: Path, disk: Disk) -> None:
    """After it was mended."""
    async with opened(tmp_path, vfs=disk.name, border_bytes=1 << 20) as spool:
        await spool.make_room()
        await waiting(spool)
        await spool.mend(5.0)
        await spool.make_room()
        disk.room = 0

        assert await settled(spool) == WAITING
