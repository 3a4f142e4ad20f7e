"""What lies in the folder of contents under the name of one, and is none: the trouble of that one mail."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from spool_parts import BORDER, contents, mail, opened, posting

from relay.spool.trouble import Kind, SpoolTrouble

HUGE = 1 << 40


def a_pipe(path: Path) -> None:
    """Whoever opened it would wait for somebody who writes."""
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    """A hole of a terabyte, which memory would have to hold."""
    os.truncate(path, HUGE)


def cut_short(path: Path) -> None:
    os.truncate(path, 1)


@pytest.mark.parametrize(
    ("become", "told"),
    [
        (a_pipe, "is no file"),
        (huge, f"it has {HUGE} bytes and had {2 * BORDER}"),
        (cut_short, f"it has 1 bytes and had {2 * BORDER}"),
    ],
)
async def test_what_is_no_content_is_not_read(tmp_path: Path, become: Callable[[Path], None], told: str) -> None:
    async with opened(tmp_path) as spool:
        one, other = mail(bytes(2 * BORDER)), mail(b"other")
        await spool.put(posting(one))
        await spool.put(posting(other))
        [name] = contents(tmp_path)
        become(tmp_path / "spool.db.contents" / name)
        tracemalloc.start()
        try:
            with pytest.raises(SpoolTrouble, match=told) as caught:
                await spool.content(one.id)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
        assert caught.value.kind is Kind.DAMAGED
        assert spool.standing.trouble is None
        assert await spool.content(other.id) == b"other"
