"""Room that is taken while there is some, so that deliveries go on when the disk is full.

A claim and a settlement are writes, too. SQLite appends them to its log, so the log has its full length on disk before
it needs it: SQLite writes it from its start after each folding, takes zeros for its end, and cuts off only what is
above `schema.LOG_BYTES`. Rows that grow split pages, so there are free ones in the file. And the file is longer than
its pages, so that those that are only in the log yet can be folded into it, or else the log could not begin anew.

Begins only where twice as much is free, and goes on without where there is less: then all is well until the disk is
full. File systems that write nothing in its own place again (copy on write) may refuse even so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

import apsw

from relay.spool.room import shortage
from relay.spool.trouble import Kind, SpoolTrouble

LOG_ROOM: Final = 8 * 1024 * 1024  # twice what it grows to before it is folded (`writer.CHECKPOINT_PAGES`)
FREE_PAGES: Final = 512  # claims of all that is worked on at once split fewer; settlements give pages back
AHEAD: Final = 4 * 1024 * 1024  # what the file is longer by, at least; also the pieces that it grows in
NEAR: Final = 2 * 1024 * 1024 * 1024  # free; with more the disk is not full in a moment, and folding costs less
_FLOOR_PAGES: Final = FREE_PAGES // 2  # of all that is left, for claims and deliveries alone
_PAGE_BYTES: Final = 4096


class Reserve:
    """That of one spool; used by the thread that writes, outside of any transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ahead = False

    def take(self, connection: apsw.Connection) -> None:
        """Take what is lacking of it, as far as the disk has room. Raises apsw.Error."""
        self._limit(connection)
        connection.execute("BEGIN IMMEDIATE")  # nobody writes to the log meanwhile
        try:
            self._take_log()
            self._take_pages(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._ahead = self._ahead or self._is_to_spare(2 * AHEAD)  # it is rounded up
        # There is no room for what grew before there was a reserve, or a queue command is folding it
        with contextlib.suppress(apsw.FullError, apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self.lengthen(connection)

    def lengthen(self, connection: apsw.Connection) -> None:
        """Make the file longer than its pages, if that was begun and a full disk is near. Each folding cuts it."""
        if self._ahead and shortage(self._path.parent, NEAR) is not None:
            _lengthen(connection)
        self._limit(connection)

    def check(self, connection: apsw.Connection) -> None:
        """Raise SpoolTrouble when there is only room left for claims and for what gives room back."""
        if not self._ahead:
            return
        growth = connection.pragma("max_page_count") - connection.pragma("page_count")
        if growth + connection.pragma("freelist_count") < _FLOOR_PAGES:
            raise SpoolTrouble(Kind.FULL, f"no room is left in {self._path} and on its disk")

    def _limit(self, connection: apsw.Connection) -> None:
        """Have the file grow no more than the disk lets it: what does not fit fails by itself then, at its own step."""
        if not self._ahead:
            return
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._path)
            most = self._path.stat().st_size + disk.f_bavail * disk.f_frsize
            connection.pragma("max_page_count", most // _PAGE_BYTES)

    def _take_log(self) -> None:
        """Where that fails, be it that the file system cannot do it, it is not done."""
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{self._path}-wal", os.O_RDWR)
            try:
                lacking = LOG_ROOM - os.fstat(descriptor).st_size
                if lacking > 0 and self._is_to_spare(lacking):
                    os.posix_fallocate(descriptor, 0, LOG_ROOM)
            finally:
                os.close(descriptor)

    def _take_pages(self, connection: apsw.Connection) -> None:
        lacking, whole = FREE_PAGES - connection.pragma("freelist_count"), FREE_PAGES * _PAGE_BYTES
        if lacking > 0 and self._is_to_spare(2 * whole):  # in the log, and in the file
            connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (whole,))  # in what is free, and in new ones
            connection.execute("DELETE FROM reserve")

    def _is_to_spare(self, size: int) -> bool:
        return shortage(self._path.parent, 2 * size) is None


def _lengthen(connection: apsw.Connection) -> None:
    piece = ctypes.c_int(AHEAD)
    size = ctypes.c_int64(connection.pragma("page_count") * _PAGE_BYTES + AHEAD)
    with contextlib.suppress(apsw.Error):  # there is no room for it now
        connection.file_control("main", apsw.SQLITE_FCNTL_CHUNK_SIZE, ctypes.addressof(piece))
        connection.file_control("main", apsw.SQLITE_FCNTL_SIZE_HINT, ctypes.addressof(size))
