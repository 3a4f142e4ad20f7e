"""Between a relay and its disk: fails when it is told to. Python imports this by itself where PYTHONPATH leads to it.

The relay runs as it is. The file that DISK_ORDERS names, in the folder of the spool, tells what fails, as JSON: `write`
or `sync` with the name of an error number; while there is no such file, nothing does. SQLite's files fail through
an interface to the disk of its own, others by way of `os`.
"""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

import apsw

_ORDERS = Path(os.environ["DISK_ORDERS"])
_UNIX = apsw.vfs_names()[0]  # SQLite's own
_WRITE, _FSYNC = os.write, os.fsync


def _ordered(action: str) -> int:
    """The error number with which an action fails now; 0 for none."""
    with contextlib.suppress(OSError):
        return int(getattr(errno, json.loads(_ORDERS.read_text("ascii")).get(action, ""), 0))
    return 0


def _of_the_spool(descriptor: int) -> bool:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(str(_ORDERS.parent))


def _write(descriptor: int, data: Any) -> int:
    if (number := _ordered("write")) and _of_the_spool(descriptor):
        raise OSError(number, os.strerror(number))
    return _WRITE(descriptor, data)


def _fsync(descriptor: Any) -> None:
    if (number := _ordered("sync")) and _of_the_spool(descriptor):
        raise OSError(number, os.strerror(number))
    _FSYNC(descriptor)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int]) -> None:
        super().__init__(_UNIX, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's names
        _fail_write(_ordered("write"))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if _ordered("sync"):
            raise _io_error(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)


class _Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("disk that fails", _UNIX, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        return _File(name, flags)


def _fail_write(number: int) -> None:
    """As SQLite's own interface to Unix reports such a failure."""
    if number == errno.ENOSPC:
        raise apsw.FullError("database or disk is full")
    if number:
        raise _io_error(apsw.SQLITE_IOERR_WRITE)


def _io_error(code: int) -> Exception:
    error: Any = apsw.IOError("disk I/O error")
    error.extendedresult, error.result = code, apsw.SQLITE_IOERR
    return error  # type: ignore[no-any-return] # apsw's attributes are not declared


vars(os).update(write=_write, fsync=_fsync)
_disk = _Disk()
