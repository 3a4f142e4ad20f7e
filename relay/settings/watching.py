"""Whether the files of a configuration are others than before (`reload.watch`).

A file is known by its inode, size and time of change, where its links lead to: editors and deployments put new files
in the place of old ones, and Kubernetes turns a link. Guarantees that a file that is being written counts as changed
only when it has been left alone between two looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_Looks = dict[Path, tuple[int, ...] | None]


class FileWatch:
    """What some files looked like when they were last read."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._read = self._last = _look(files)

    def has_changed(self) -> bool:
        """Look at them: are they others than when they were read, and the same as at the last look? Blocks."""
        last, self._last = self._last, _look(self._read)
        return self._last != self._read and self._last == last

    def look_again(self) -> None:
        """They are going to be read: what changes from now on is new."""
        self._read = self._last = _look(self._read)

    def follow(self, files: Iterable[Path]) -> None:
        """These have been read since; those that are new to us are looked at now."""
        self._read = self._last = {path: self._read.get(path) or _sight(path) for path in files}


def _look(files: Iterable[Path]) -> _Looks:
    return {path: _sight(path) for path in files}


def _sight(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
