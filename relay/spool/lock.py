"""One relay for each spool: a lock on a file beside it and on its folder, held for as long as the process lives.

The kernel lets go of it when the process ends, however it ends. Queue commands do not take it: they share the
database with the relay as SQLite lets them. They may look whether somebody has it, by `holder`, which keeps it for an
instant; a relay that starts in that instant tries again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final, NoReturn

from relay.spool.trouble import SpoolRefused

_TRIES: Final = 5
_PAUSE_S: Final = 0.02


class Lock:
    """Held from construction on. Raises SpoolRefused when another process has it, OSError when it cannot be made.

    `contents` is the folder of large contents, which is locked as well where it is there: the file may be removed.
    """

    def __init__(self, spool: Path, contents: Path) -> None:
        self._spool = spool
        self._folder: int | None = None
        self._descriptor = os.open(f"{spool}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if not _got(self._descriptor):
            self._refuse(_written(self._descriptor))
        try:
            if contents.is_dir():
                self.hold(contents)
        except OSError:
            self.release()
            raise
        with contextlib.suppress(OSError):  # on a full disk the number is missing, the lock is not
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def hold(self, contents: Path) -> None:
        """Lock the folder, unless it is locked already. Raises SpoolRefused, having let go of all, or OSError."""
        if self._folder is None:
            self._folder = os.open(contents, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                got = _got(self._folder)
            except OSError:  # a file system that locks files only: then the file's lock must do
                return
            if not got:
                self._refuse("unknown")  # whoever has it wrote its number into a file that was removed

    def release(self) -> None:
        """Let go of it; the file stays, since removing it could take it from under the next one's lock."""
        for descriptor in (self._folder, self._descriptor):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self._folder, self._descriptor = None, -1

    def _refuse(self, process: str) -> NoReturn:
        self.release()
        raise SpoolRefused(
            f"another relay (process {process}) uses the spool {self._spool}; each relay needs a spool of its own"
        )


def holder(spool: Path) -> str | None:
    """The process id of the relay that uses a spool, as it wrote it; None when none does. Raises OSError."""
    spool = Path(os.path.realpath(spool))
    try:
        descriptor = os.open(f"{spool}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _written(descriptor)
    finally:
        os.close(descriptor)


def _got(descriptor: int) -> bool:
    return any(_locked(descriptor, fcntl.LOCK_EX, pause_s) for pause_s in [0.0] + [_PAUSE_S] * _TRIES)


def _locked(descriptor: int, kind: int, pause_s: float = 0.0) -> bool:
    """Try to lock, after a pause."""
    time.sleep(pause_s)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
