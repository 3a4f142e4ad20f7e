"""Large contents, one file each, in a folder beside the database.

Guarantees: when `write` returns, the file is on disk under its name, complete and synced, and so is the name; a row
may point to it then. A file that no row points to is rubbish, which `sweep` removes at the next start: a crash leaves
at most that, and yet it may be what is left of mail whose row somebody else has removed: a complete one is kept for
`KEPT_S`. Content is written in pieces, so that 40 MB need no second buffer, and never passes through the log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.model import Buffer
from relay.spool.schema import sync_folder

# Measured (tests/bench/bench_spool.py): below, a row costs less than a file and its two syncs; above, a file does.
BORDER_BYTES: Final = 128 * 1024
KEPT_S: Final = 7 * 86_400.0  # for whoever finds out that yesterday's database was restored
_PIECE: Final = 1024 * 1024
_UNFINISHED: Final = ".part"


@dataclass(frozen=True, slots=True)
class Swept:
    """Of the files that nothing needs, how many were removed or put aside, how many kept; which of the needed lack."""

    gone: int
    kept: int
    missing: list[str]


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

    def read(self, name: str, size: int | None = None) -> bytearray:
        """What a file has; raises OSError, and ValueError, before anything is read, for one that has not this size."""
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{self.folder / name} is no file")
            if size is not None and found.st_size != size:
                raise ValueError(f"it has {found.st_size} bytes and had {size}")
            content = bytearray(found.st_size)
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

    def sweep(self, needed: Collection[str], now: float, aside: Path | None = None) -> Swept:
        """Remove all files but these, once they are old enough, or put them aside at once."""
        present = {entry.name: entry.stat().st_mtime for entry in os.scandir(self.folder)}
        missing = [name for name in needed if name not in present]
        rest = present.keys() - set(needed)
        if aside is not None:
            self._put_aside(rest, aside)
            return Swept(len(rest), 0, missing)
        young = {name for name in rest if present[name] > now - KEPT_S and not name.endswith(_UNFINISHED)}
        self.remove(rest - young)
        return Swept(len(rest - young), len(young), missing)

    def _put_aside(self, names: Collection[str], aside: Path) -> None:
        if names:
            aside.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            (self.folder / name).rename(aside / name)

    def _fill(self, path: Path, content: Buffer) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest[:_PIECE]) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
