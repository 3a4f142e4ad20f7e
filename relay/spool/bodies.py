"""Large contents, one file each, in a folder beside the database.

Guarantees: when `write` returns, the file is on disk under its name, complete and synced, and so is the name; a row
may point to it then. A file that no row points to is rubbish, which `sweep` removes at the next start: a crash leaves
at most that. Content is written in pieces, so that 40 MB need no second buffer, and never passes through the log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from relay.model import Buffer
from relay.spool.schema import sync_folder

# Measured (tests/bench/bench_spool.py): below, a row costs less than a file and its two syncs; above, a file does.
BORDER_BYTES: Final = 128 * 1024
_PIECE: Final = 1024 * 1024
_UNFINISHED: Final = ".part"


class Bodies:
    """The folder; made where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)

    def write(self, content: Buffer) -> str:
        """Store a content and return the name of its file. Raises OSError; then there is no such file."""
        name = secrets.token_hex(16)
        unfinished = self._folder / (name + _UNFINISHED)
        try:
            self._fill(unfinished, content)
            unfinished.rename(self._folder / name)
            sync_folder(self._folder)
        except BaseException:
            self.remove([unfinished.name, name])
            raise
        return name

    def read(self, name: str, size: int | None = None) -> bytearray:
        """A content; raises OSError, also when it has not the size that it had: nobody is to get half a message."""
        with (self._folder / name).open("rb", buffering=0) as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                raise OSError(f"{name} has {found} bytes and had {size}")
            content = bytearray(found)
            view = memoryview(content)
            while view and (count := file.readinto(view)):
                view = view[count:]
        if view:
            raise OSError(f"{name} is shorter than it was")
        return content

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that cannot be removed is left to the next sweep."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()

    def sweep(self, needed: Collection[str], aside: Path | None = None) -> tuple[int, set[str]]:
        """Remove all files but these, or put them aside; how many there were, and which of the needed are missing."""
        present = {entry.name for entry in os.scandir(self._folder)}
        rubbish = present.difference(needed)
        if aside is None:
            self.remove(rubbish)
        elif rubbish:
            aside.mkdir(mode=0o700, exist_ok=True)
            for name in rubbish:
                (self._folder / name).rename(aside / name)
        return len(rubbish), set(needed) - present

    def _fill(self, path: Path, content: Buffer) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest[:_PIECE]) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
