"""What the tests of the spool are made of: mails, spools in a folder, and a disk that can be told to fail."""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import apsw

from relay.model import Cause, Client, Envelope, Reply
from relay.spool.interface import Mail, Part, Posting, Query, Spooled, Verdict
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool

CLIENT = Client("session-1", "192.0.2.7", "billing", user="billing", helo="app", tls=True)
LATER = Verdict(50.0, Reply(451, "4.4.1", "not now"), Cause.UNAVAILABLE, "503 from somewhere")
NEVER = Verdict(60.0, Reply(554, "5.7.1", "no"), Cause.IDENTITY, "MessageRejected")
BORDER = 4096
EVERYTHING = Query(limit=1_000_000)

_numbers = count(1)


def mail(content: bytes = b"Subject: x\r\n\r\nhello\r\n", *recipients: str, **more: Any) -> Mail:
    number = next(_numbers)
    envelope = Envelope("app@example.com", recipients or ("someone@customer.example",))
    return replace(Mail(f"mail{number}", 1.0, CLIENT, envelope, content), **more)


def posting(one: Mail, *parts: Part, leased: float | None = None) -> Posting:
    """A mail to be delivered at once, in one part unless others are given."""
    return Posting(one, parts or (Part(one.envelope.recipients, one.arrived),), leased)


@asynccontextmanager
async def opened(folder: Path, now: float = 0.0, **options: Any) -> AsyncIterator[SqliteSpool]:
    spool = open_spool(Opening(folder / "spool.db", **({"border_bytes": BORDER} | options)), now)
    try:
        yield spool
    finally:
        await spool.close()


async def everything(spool: SqliteSpool) -> dict[str, Spooled]:
    """All parcels by their ids."""
    return {one.id: one for one in await spool.inspect(EVERYTHING)}


def contents(folder: Path) -> list[str]:
    """The files of large contents."""
    return sorted(path.name for path in (folder / "spool.db.contents").iterdir())


async def contents_now(spool: SqliteSpool, folder: Path) -> list[str]:
    """Likewise, when the writer has done what it does after its answers."""
    await spool.probe(1.0)
    return contents(folder)


class Disk:
    """A SQLite interface to the disk that notes what is done to it, and fails when it is told to.

    `fails` is asked before each "write", "sync" and "read" with the kind of file, "db" or "wal"; it may raise. `room`:
    by how many bytes files may grow in all.
    """

    def __init__(self) -> None:
        self.name = f"disk{next(_numbers)}"
        self.events: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], None] = lambda _action, _file: None
        self.room = 1 << 60

    def note(self, action: str, file: str) -> None:
        self.fails(action, file)
        self.events.append((action, file))

    def grow(self, size: int) -> None:
        """A file is to be longer or, by a negative number, shorter."""
        if size > self.room:
            raise apsw.FullError("database or disk is full")
        self.room -= size


def io_error(code: int) -> apsw.IOError:
    """What SQLite reports for a failure of this extended code."""
    error: Any = apsw.IOError("disk I/O error")
    error.extendedresult, error.result = code, apsw.SQLITE_IOERR
    return cast("apsw.IOError", error)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, kind: str, name: Any, flags: list[int]) -> None:
        self._disk, self._kind = disk, kind
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's names
        self._disk.note("write", self._kind)
        self._disk.grow(max(offset + len(data) - self.xFileSize(), 0))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        before = self.xFileSize()
        super().xTruncate(newsize)
        self._disk.grow(self.xFileSize() - before)

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        if op != apsw.SQLITE_FCNTL_SIZE_HINT:
            return super().xFileControl(op, ptr)
        size, before = ctypes.c_int64.from_address(ptr).value, self.xFileSize()
        self._disk.grow(max(size - before, 0))
        done = super().xFileControl(op, ptr)
        self._disk.room -= self.xFileSize() - max(size, before)  # SQLite rounds up
        return done

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.note("sync", self._kind)
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.fails("read", self._kind)
        return super().xRead(amount, offset)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        kind = "wal" if flags[0] & apsw.SQLITE_OPEN_WAL else "db" if flags[0] & apsw.SQLITE_OPEN_MAIN_DB else "other"
        return _File(self._disk, kind, name, flags)


@contextmanager
def watched_disk() -> Iterator[Disk]:
    """A disk that a spool can be opened on by its name."""
    disk = Disk()
    vfs = _Vfs(disk)
    try:
        yield disk
    finally:
        vfs.unregister()
