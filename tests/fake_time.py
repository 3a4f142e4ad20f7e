"""An event loop whose clock jumps to the next timer whenever nothing else is left to do.

Sockets on loopback are real and served first; only waiting is skipped. Not for code that uses threads, whose
results would come after the clock has jumped.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for no longer than it takes the kernel to hand over what is on its way."""
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, 0.005))
        if not ready:
            self.skipped += timeout
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour takes no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds, real ones and skipped ones."""
        return super().time() + self._jumping.skipped


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in fake time."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(work)
