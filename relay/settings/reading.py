"""Reads the files of a configuration: the file itself, `users_file`, and those of secrets.

Guarantees that reading comes to an end, whatever stands at the path: at most `LONGEST` bytes are read, a pipe
without a writer is empty instead of waited for, and what is neither a file nor a pipe is refused. Pipes are taken,
since shells hand over what a command prints as one (`--config <(...)`, `--config /dev/stdin`).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LONGEST = 10_000_000  # bytes


class Unreadable(ValueError):
    """There is nothing to read; `found` and `allowed` are for an operator."""

    def __init__(self, found: str, allowed: str = "a file that can be read") -> None:
        super().__init__(found)
        self.found = found
        self.allowed = allowed


def read_file(path: Path) -> tuple[bytes, int]:
    """Read a whole file; returns its content and its mode. Raises Unreadable."""
    with _opened(path) as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise Unreadable("a device")
        content = stream.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise Unreadable("more than 10 MB", "a file of at most 10 MB")
    return content, mode


def mode_of(path: Path) -> int:
    """The mode of a file that somebody else will read, and again on reload: a pipe would not do. Raises Unreadable."""
    with _opened(path) as stream:
        mode = os.fstat(stream.fileno()).st_mode
    if not stat.S_ISREG(mode):
        raise Unreadable("a pipe or a device")
    return mode


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb", opener=_open) as stream:
            yield stream
    except OSError as error:
        raise Unreadable((error.strerror or "error").lower()) from None


def _open(path: str, flags: int) -> int:
    """Open without waiting for somebody at the other end of a pipe; reading from it may wait for its writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
