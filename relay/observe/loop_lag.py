"""How late the event loop is: everything that blocks it (long regular expressions, big pages, a busy host) shows here.

Owns nothing but numbers; reports the worst delay of the last 15 s, so that a scrape cannot miss a short stall.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

INTERVAL_S = 0.5
_READINGS = 30  # of 0.5 s: the usual time between two scrapes


async def watch(
    report: Callable[[float], None],
    *,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Wake twice a second until cancelled, and report in seconds how late the worst of the last wakings was."""
    recent: deque[float] = deque(maxlen=_READINGS)
    while True:
        due = now() + INTERVAL_S
        await pause(INTERVAL_S)
        recent.append(max(0.0, now() - due))
        report(max(recent))
