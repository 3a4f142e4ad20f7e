"""A local SES and relays in front of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from relay_process import Bench, local_ses


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A local SES in two regions, and relays in front of it."""
    async with local_ses(tmp_path) as bench:
        yield bench
