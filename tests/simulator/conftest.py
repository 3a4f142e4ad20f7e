"""A local SES for each test; what touches sockets of its own runs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from relay.simulator import Simulator


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops for each test of this folder."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name == "test_simulator_smtp.py":
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def ses() -> AsyncIterator[Simulator]:
    """Two regions, example.com in both, delegated to the default key; a configuration set."""
    async with Simulator(configuration_sets=("events",)) as simulator:
        yield simulator
