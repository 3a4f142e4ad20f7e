"""The fault campaigns in small: dozens of kills lose nothing that was acknowledged, and neither do orderly ends."""

from pathlib import Path

import endings
import pytest

KILLS = 50
TERMS = 8


pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signals by pidfd_open(2), of Linux")


async def test_kills_at_random_times_lose_nothing_that_was_acknowledged() -> None:
    """And repeat at most what was leased at a kill, or whose answer was lost."""
    result = await endings.kill(KILLS, seed=1)

    assert result.holds, "\n".join(result.lines())
    assert result.balance.figures["acknowledged"] > KILLS
    assert result.balance.figures["told as bounced"] > 0
    assert result.balance.figures["queued"] == 0


async def test_sigterm_with_mail_in_flight_drops_nothing() -> None:
    """It is answered or spooled; nothing is repeated but what SES took without the relay hearing of it."""
    result = await endings.terminate(TERMS, seed=2)

    assert result.holds, "\n".join(result.lines())
    assert result.balance.figures["acknowledged"] > TERMS
    assert (
        result.balance.figures["bound: leased at kills"]
        == result.balance.figures["bound: places for calls at kills"]
        == 0
    )
