"""The loop's lag, on a clock of our own."""

from __future__ import annotations

import pytest

from relay.observe.loop_lag import INTERVAL_S, watch


class Over(Exception):
    """The script of wakings has ended."""


class Script:
    """A clock whose every pause lasts as long as it should and the next scripted delay."""

    def __init__(self, *late: float) -> None:
        self.time = 0.0
        self.late = list(late)

    def now(self) -> float:
        return self.time

    async def pause(self, seconds: float) -> None:
        if not self.late:
            raise Over
        self.time += seconds + self.late.pop(0)


async def reported(*late: float) -> list[float]:
    """What `watch` reports when its wakings are late by these seconds."""
    script, seen = Script(*late), list[float]()
    with pytest.raises(Over):
        await watch(seen.append, now=script.now, pause=script.pause)
    return seen


async def test_the_worst_of_the_last_wakings_is_reported() -> None:
    """A stall of two seconds stays visible after the loop is well again."""
    assert await reported(0.0, 2.0, 0.1) == pytest.approx([0.0, 2.0, 2.0])


async def test_an_old_stall_is_forgotten_after_fifteen_seconds() -> None:
    """It is a gauge of now, not of ever, and keeps no more readings than that."""
    readings = int(15 / INTERVAL_S)
    seen = await reported(2.0, *[0.0] * readings)

    assert seen[readings - 1] == pytest.approx(2.0)
    assert seen[readings] == pytest.approx(0.0)


async def test_a_waking_that_is_early_counts_as_none() -> None:
    """A clock that steps back makes no negative lag."""
    assert await reported(-0.2) == [0.0]
