"""Room in memory for the contents of spooled mail that is being delivered, first come, first served."""

from __future__ import annotations

import asyncio
from typing import Final

QUEUE_BYTES: Final = 64_000_000


class MemoryRoom:
    """At most so many bytes at once; one message that is larger goes when it is alone."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self._limit = limit
        self._taken = 0
        self._entry = asyncio.Lock()
        self._left = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait for room; `release` must follow."""
        async with self._entry:
            while self._taken and self._taken + size > self._limit:
                self._left.clear()
                await self._left.wait()
            self._taken += size

    def release(self, size: int) -> None:
        """The content is gone."""
        self._taken -= size
        self._left.set()


class Stay:
    """One message's place in the room, which it leaves whether or not it came to enter."""

    def __init__(self, room: MemoryRoom) -> None:
        self._room = room
        self._size = 0

    async def enter(self, size: int) -> None:
        """Wait for a place."""
        await self._room.take(size)
        self._size = size

    def leave(self) -> None:
        """Give the place up, if there is one."""
        self._room.release(self._size)
        self._size = 0
