"""Postfix's smtp-source with many sessions at once: whatever it was told 250 for has arrived, once.

A tap between the two keeps every message and every answer. Nothing is timed here.
"""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest
from foreign_tools import run, running
from mails import ROUTES, Route, below_the_block
from relay_process import PATIENCE_S, Bench
from wiretap import Tap, tapped

pytestmark = pytest.mark.interop

SESSIONS = 20
MANY = 100_000  # more than can be sent until SIGTERM comes


def load(route: Route, tap: Tap, messages: int, *more: str) -> list[str]:
    """The command: as many sessions as may be, every message different by its Message-Id; -c counts the 250s."""
    where = f"127.0.0.1:{tap.port}"
    count = ["-s", str(SESSIONS), "-m", str(messages), "-c", *more]
    return ["smtp-source", *count, "-f", route.sender, "-t", "ann@customer.example", where]


def counted(output: str) -> int:
    """The last number of the counter that smtp-source keeps on its screen."""
    return max(map(int, re.findall(r"\d+", output)), default=0)


def arrived(bench: Bench, route: Route) -> Counter[bytes]:
    """What SES took, without the relay's block, each with how often it came."""
    assert bench.ses.total == len(bench.ses.received)
    return Counter(below_the_block(got.raw, route) for got in bench.ses.received)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.interface)
@pytest.mark.parametrize("more", [(), ("-d",)], ids=["a session each", "sessions reused"])
async def test_2000_messages_arrive_exactly_once(bench: Bench, route: Route, more: tuple[str, ...]) -> None:
    relay = await bench.start()
    async with tapped(("127.0.0.1", relay.port)) as tap:
        ran = await run(*load(route, tap, 2000, *more))
        sent = tap.transactions

    assert (ran.status, counted(ran.output)) == (0, 2000), ran
    assert {transaction.code for transaction in sent} == {250}
    assert arrived(bench, route) == Counter(transaction.content for transaction in sent)
    assert len({transaction.content for transaction in sent}) == 2000


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.interface)
@pytest.mark.parametrize("more", [(), ("-d",)], ids=["a session each", "sessions reused"])
async def test_sigterm_under_load_loses_nothing(bench: Bench, route: Route, more: tuple[str, ...]) -> None:
    """The relay goes down cleanly; what was acknowledged has arrived, and nothing has arrived twice."""
    relay = await bench.start()
    async with tapped(("127.0.0.1", relay.port)) as tap, running(*load(route, tap, MANY, *more)) as source:
        await bench.ses.wait_for(200, PATIENCE_S)
        relay.tell(signal.SIGTERM)
        status = await relay.end()
        output, _ = await source.communicate()
    got = arrived(bench, route)
    acknowledged = Counter(t.content for t in tap.transactions if t.code == 250)

    assert (status, relay.log[-1]["event"]) == (0, "stopped")
    assert got.total() < MANY
    assert acknowledged <= got
    assert set(got.values()) == {1}
    assert 200 - SESSIONS <= counted(output.decode()) <= acknowledged.total()
    assert got.total() - acknowledged.total() <= SESSIONS
