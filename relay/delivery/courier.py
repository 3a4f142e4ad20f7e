"""Delivers parcels: chooses the transport, keeps within the concurrency of a region, tries again while held.

Guarantees: at most `concurrency` parcels at once per credentials and region; no attempt starts after `hold_s`,
and one that has started is waited for (the transports bound it); an attempt whose answer was lost is never
repeated; nothing but an outcome comes out. Owns no socket and no sleep: clock and pause are passed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from relay import replies
from relay.model import Cause, Deferred, Outcome, Parcel, TransportName
from relay.observe.log import Journal
from relay.policy.backoff import pause_in_hold


class Transport(Protocol):
    """One attempt at one parcel."""

    async def send(self, parcel: Parcel) -> Outcome:
        """Never raises but for cancellation."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from; `now` in seconds, monotonic."""

    now: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]


class Courier:
    """One per configuration: a reload makes a new one, the old one finishes what it has."""

    def __init__(
        self,
        transports: Mapping[TransportName, Transport],
        journal: Journal,
        clock: Clock,
        *,
        hold_s: float,
        concurrency: int,
    ) -> None:
        self._transports = transports
        self._journal = journal
        self._clock = clock
        self._hold_s = hold_s
        self._concurrency = concurrency
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._lanes: dict[tuple[str, str], asyncio.Semaphore] = {}

    async def deliver(self, parcel: Parcel) -> Outcome:
        """Try now, and again within the hold where that is safe."""
        self._under_way += 1
        self._quiet.clear()
        try:
            return await self._deliver(parcel, self._clock.now() + self._hold_s)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def close(self) -> None:
        """Let go of the transports' connections, when nothing is under way any more."""
        await self._quiet.wait()
        for transport in self._transports.values():
            await transport.close()

    async def _deliver(self, parcel: Parcel, give_up: float) -> Outcome:
        lane = self._lane(parcel)
        if not await self._enter(lane):
            return Deferred(replies.SENDING_AT_LIMIT, Cause.PACE, "no free connection within hold_s")
        try:
            return await self._attempts(parcel, give_up)
        finally:
            lane.release()

    async def _attempts(self, parcel: Parcel, give_up: float) -> Outcome:
        attempts = 0
        while True:
            outcome = await self._transports[parcel.transport].send(parcel)
            attempts += 1
            if not isinstance(outcome, Deferred):
                return outcome
            pause = pause_in_hold(outcome, attempts, give_up - self._clock.now(), self._clock.chance())
            if pause is None:
                return outcome
            self._journal.attempt_deferred(parcel, outcome, pause)
            await self._clock.pause(pause)

    async def _enter(self, lane: asyncio.Semaphore) -> bool:
        try:
            async with asyncio.timeout(self._hold_s):
                await lane.acquire()
        except TimeoutError:
            return False
        return True

    def _lane(self, parcel: Parcel) -> asyncio.Semaphore:
        key = (parcel.credentials, parcel.region)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = asyncio.Semaphore(self._concurrency)
        return lane
