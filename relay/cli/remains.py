"""What damage has left beside a spool: files that nobody needs but a person who looks for lost mail.

A spool that is mended keeps its old file (`damaged`) and writes what is left of mails that are not whole (`lost`);
contents that no mail of the new file has are put aside (`missing`, `without-log`, or with the old file). Only their
names and sizes are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from relay.cli.wording import size

_KINDS: Final = ("damaged", "lost", "missing", "without-log")
_PARTS: Final = re.compile(r"(-wal|-shm|-log|\.contents)$")  # of one damaged spool


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is of one kind: `name` ends in * if it is several. A spool counts with its log and its contents."""

    name: str
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.name if self.files == 1 else f'{self.files} files {self.name}'} ({size(self.bytes)})"


def remains_of(spool: Path) -> tuple[Remains, ...]:
    """What lies beside a spool. Raises OSError when its folder cannot be looked at."""
    return tuple(one for kind in _KINDS for one in _of_kind(spool, f"{spool.name}.{kind}-"))


def told(remains: Sequence[Remains]) -> str:
    """The same for people."""
    return f"{', '.join(map(str, remains))}: what damage has left; remove it when you have looked at it"


def facts(remains: Sequence[Remains]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(one) for one in remains]


def _of_kind(spool: Path, prefix: str) -> Iterator[Remains]:
    entries = [entry for entry in spool.parent.iterdir() if entry.name.startswith(prefix)]
    wholes = {_PARTS.sub("", entry.name) for entry in entries}
    if not entries:
        return
    name = f"{prefix}*" if len(wholes) > 1 else min(entry.name for entry in entries)
    yield Remains(name, len(wholes), sum(map(_bytes, entries)))


def _bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(one.stat().st_size for one in files)
