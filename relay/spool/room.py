"""Whether a file system has room for more mail: bytes and inodes that an ordinary user may still use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MB: Final = 1_000_000


def shortage(folder: Path, bytes_needed: int) -> str | None:
    """What is lacking, in words for the log; None when there is room. An unreachable folder lacks everything."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return f"cannot ask for free space: {error}"
    free = found.f_bavail * found.f_frsize
    if free < bytes_needed:
        return f"{free / _MB:.1f} MB are free in {folder}, {bytes_needed / _MB:.1f} MB are needed"
    if found.f_files and not found.f_favail:  # some file systems count no inodes
        return f"no inode is free in {folder}"
    return None
