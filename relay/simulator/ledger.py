"""What came in: the messages taken and those turned away, bounded by number and by bytes.

The oldest go first; the counters never do, so nothing that arrived is forgotten by number.
"""

from __future__ import annotations

import asyncio
from collections import deque

from relay.simulator.explanation import Decision
from relay.simulator.words import Called, Received, TurnedAway


class Ledger:
    """The last `keep` messages of at most `keep_bytes` bytes together; the newest is always kept."""

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._bytes = 0
        self._received: deque[Received] = deque()
        self._turned_away: deque[TurnedAway] = deque(maxlen=keep)
        self._called: deque[Called] = deque(maxlen=keep)
        self._decisions: deque[Decision] = deque(maxlen=keep)
        self._grown = asyncio.Event()
        self.total = 0

    @property
    def received(self) -> tuple[Received, ...]:
        """The messages still kept, oldest first."""
        return tuple(self._received)

    @property
    def turned_away(self) -> tuple[TurnedAway, ...]:
        """The refusals still kept, oldest first."""
        return tuple(self._turned_away)

    @property
    def called(self) -> tuple[Called, ...]:
        """The calls still kept that were not messages, oldest first."""
        return tuple(self._called)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions still kept, oldest first."""
        return tuple(self._decisions)

    def decide(self, decision: Decision) -> None:
        """Keep a decision, at the cost of the oldest."""
        self._decisions.append(decision)

    def call(self, call: Called) -> None:
        """Keep a call, at the cost of the oldest."""
        self._called.append(call)

    def add(self, message: Received) -> None:
        """Keep a message, at the cost of the oldest."""
        self._received.append(message)
        self._bytes += len(message.raw)
        while len(self._received) > 1 and (len(self._received) > self._keep or self._bytes > self._keep_bytes):
            self._bytes -= len(self._received.popleft().raw)
        self.total += 1
        self._grown.set()
        self._grown = asyncio.Event()

    def refuse(self, refusal: TurnedAway) -> None:
        """Keep a refusal, at the cost of the oldest."""
        self._turned_away.append(refusal)

    def find(self, message_id: str) -> Received | None:
        """The message with that id, if it is still kept."""
        return next((message for message in self._received if message.message_id == message_id), None)

    def clear(self) -> None:
        """Forget everything; counting starts again at 0."""
        self._received.clear()
        self._turned_away.clear()
        self._called.clear()
        self._decisions.clear()
        self._bytes = self.total = 0

    async def wait_for(self, count: int, timeout_s: float) -> tuple[Received, ...]:
        """Return when `count` messages have come since the start or the last clear; TimeoutError otherwise."""
        async with asyncio.timeout(timeout_s):
            while self.total < count:
                await self._grown.wait()
        return self.received
