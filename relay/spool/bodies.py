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
    """The folder, which need not be there: without it there are no contents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Make the folder where there is none. Raises OSError."""
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700)
            sync_folder(self.folder.parent)

    def write(self, content: Buffer) -> str:
        """Store a content and return the name of its file. Raises OSError; then there is no such file."""
        self.make()  # whoever removed it took what was in it; that is no reason to take no more
        name = secrets.token_hex(16)
        unfinished = self.folder / (name + _UNFINISHED)
        try:
            self._fill(unfinished, content)
            unfinished.rename(self.folder / name)
            sync_folder(self.folder)
        except BaseException:
            self.remove([unfinished.name, name])
            raise
        return name

    def read(self, name: str) -> bytearray:
        """What a file has; raises OSError."""
        with (self.folder / name).open("rb", buffering=0) as file:
            content = bytearray(os.fstat(file.fileno()).st_size)
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
                (self.folder / name).unlink()

    def sweep(self, needed: Collection[str], aside: Path | None = None) -> tuple[int, list[str]]:
        """Remove all files but these, or put them aside; how many there were, and which of the needed are missing."""
        present = {entry.name for entry in os.scandir(self.folder)}
        rubbish = present.difference(needed)
        if aside is None:
            self.remove(rubbish)
        elif rubbish:
            aside.mkdir(mode=0o700, exist_ok=True)
            for name in rubbish:
                (self.folder / name).rename(aside / name)
        return len(rubbish), [name for name in needed if name not in present]

    def _fill(self, path: Path, content: Buffer) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest[:_PIECE]) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
