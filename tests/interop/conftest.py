"""A local SES, relays in front of it, and a word about where the tools come from."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from relay_process import Bench, local_ses


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A local SES in two regions that keeps all a test sends, and relays in front of it."""
    async with local_ses(tmp_path, keep=10_000) as bench:
        yield bench
