"""A new file in the place of one that is damaged, or that is not trusted any more after a failed sync.

Guarantees: the new file is complete and synced before it takes the old one's place; a crash on the way loses neither,
since `finish` goes on where it was; the old file is kept beside it under another name. Relies on our connections not
folding their log when they close (`schema`), which would take the new file's log for theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from relay.spool.bodies import Bodies
from relay.spool.salvage import copy, take_out
from relay.spool.schema import make_plain, sync_folder

_MAGIC: Final = b"SQLite format 3\0"
_VERSIONS: Final = (b"\1\1\0\x40\x20\x20", b"\2\2\0\x40\x20\x20")  # how it is written, and constants


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of it: parcels that were saved, mails of which something is lost, and where the old file is now.

    What is left of those mails is in files whose names begin with `remains`. `unreadable`: nothing of the old file
    could be read, so that nobody knows how many mails are lost.
    """

    parcels: int
    lost: tuple[str, ...]
    old: Path
    remains: Path | None = None
    unreadable: bool = False


def mend(old: apsw.Connection | None, path: Path, bodies: Bodies, now: float) -> Mended:
    """Put a new file in the place of the one at `path`, with all that can be read through `old`.

    Whoever has `old` open opens `path` anew. Raises apsw.Error or OSError while the disk is ill; then `old` is still
    the one that counts.
    """
    unfinished = path.with_name(f"{path.name}.mending")
    remains = path.with_name(f"{path.name}.lost-{now:.0f}")
    _discard(unfinished)
    fresh = make_plain(unfinished)
    try:
        readable = old is not None and copy(old, fresh)
        lost = take_out(fresh, remains, bodies)
        parcels = int(fresh.execute("SELECT count(*) FROM parcels").get)
    finally:
        fresh.close(True)
    _sync(unfinished)
    unfinished.rename(_mended(path))
    sync_folder(path.parent)
    return Mended(parcels, lost, finish(path, now) or path, remains if lost else None, not readable)


def finish(path: Path, now: float) -> Path | None:
    """Put a mended file in its place, where there is one; returns where the old one is then."""
    if not _mended(path).exists():
        return None
    old = path.with_name(f"{path.name}.damaged-{now:.0f}")
    for suffix in ("-wal", "-shm", ""):  # a log that stayed would be taken for the new file's
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{old}{suffix}")
    _mended(path).rename(path)
    sync_folder(path.parent)
    return old


def padded_copy(path: Path) -> apsw.Connection | None:
    """A copy of a file that cannot be opened because its end is missing, with zeros there: what it has can be read.

    Its first bytes may be anything if the rest of its header is that of a database. None when even its first page
    says nothing. Whoever has it removes it by `discard_copy`.
    """
    with path.open("rb") as file:
        head = file.read(32)
    page = int.from_bytes(head[16:18], "big")
    if len(head) < 32 or head[18:24] not in _VERSIONS or page & (page - 1) or not (page == 1 or page >= 512):
        return None
    size = (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    copied = _copy_of(path)
    discard_copy(path)
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{suffix}", f"{copied}{suffix}")
    with copied.open("r+b") as file:
        file.write(_MAGIC)
    if copied.stat().st_size < size:
        os.truncate(copied, size)
    return apsw.Connection(str(copied), flags=apsw.SQLITE_OPEN_READWRITE)


def discard_copy(path: Path) -> None:
    """Remove what `padded_copy` made."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{_copy_of(path)}{suffix}").unlink()


def _copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.readable")


def _mended(path: Path) -> Path:
    return path.with_name(f"{path.name}.mended")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    for suffix in ("", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").unlink()
