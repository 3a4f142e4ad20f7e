"""One relay for each spool: a lock on a file beside it, held for as long as the process lives.

The kernel lets go of it when the process ends, however it ends. Queue commands do not take it: they share the
database with the relay as SQLite lets them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from relay.spool.trouble import SpoolRefused


class Lock:
    """Held from construction on. Raises SpoolRefused when another process has it, OSError when it cannot be made."""

    def __init__(self, spool: Path) -> None:
        self._descriptor = os.open(f"{spool}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise SpoolRefused(
                f"another relay (process {holder}) uses the spool {spool}; each relay needs a spool of its own"
            ) from None
        with contextlib.suppress(OSError):  # on a full disk the number is missing, the lock is not
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of it; the file stays, since removing it could take it from under the next one's lock."""
        os.close(self._descriptor)
