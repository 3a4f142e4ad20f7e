"""How long a connection waits for its server.

Owns one timer per connection, for all of its waits, one after the other. A timer per wait would cost as much as
the rest of a small message: this one stays where it is while waits come and go, and moves on when it fires too
early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Calls `on_silence` when a wait lasts too long; one wait at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_silence: Callable[[float], None]) -> None:
        self._loop, self._on_silence = loop, on_silence
        self._seconds = self._due = self._fires = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False

    def wait(self, seconds: float) -> None:
        """Call `on_silence` in so many seconds unless `rest` comes first."""
        self._waiting, self._seconds, self._due = True, seconds, self._loop.time() + seconds
        if self._timer is not None and self._due < self._fires:
            self.stop()
        if self._timer is None:
            self._arm()

    def rest(self) -> None:
        """The wait is over."""
        self._waiting = False

    def stop(self) -> None:
        """No more timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._fires = self._due
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._loop.time() < self._due:
            self._arm()
        else:
            self._waiting = False
            self._on_silence(self._seconds)
