"""Sessions with one SES SMTP endpoint under one login: opened when needed, kept while they are good.

Owns how many there are at once, and for how long each is kept: SES closes sessions that are idle for 10 s, and
asks clients to replace them now and then (SES developer guide, "Troubleshooting SMTP"). Guarantees that waiting
is fair (first come, first served); that work which meets a session the server has given up is done once more on
a fresh one, and only once; that a session whose work was cancelled or went wrong midway is never kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from relay.delivery.smtp_client import Stale

IDLE_S: Final = 5.0
MAX_AGE_S: Final = 300.0
MAX_USES: Final = 100
GOODBYE_S: Final = 2.0


class Session(Protocol):
    """What the pool must know of a session."""

    @property
    def reusable(self) -> bool:
        """Whether it is at rest, and as good as fresh."""

    @property
    def uses(self) -> int:
        """How often it was used."""

    def abort(self) -> None:
        """End it at once."""

    def part(self) -> None:
        """End it politely, without waiting."""

    async def quit(self, deadline_s: float) -> None:
        """End it politely, and wait no longer than `deadline_s`."""


S = TypeVar("S", bound=Session)
R = TypeVar("R")


@dataclass(slots=True)
class _Kept(Generic[S]):
    session: S
    born: float
    idle_since: float = 0.0


class Pool(Generic[S]):
    """Lends sessions that `open_session` makes, at most `concurrency` at a time. `clock` counts seconds."""

    def __init__(self, open_session: Callable[[], Awaitable[S]], concurrency: int, clock: Callable[[], float]) -> None:
        self._open = open_session
        self._slots = asyncio.Semaphore(concurrency)
        self._clock = clock
        self._idle: list[_Kept[S]] = []  # the longest idle first
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, work: Callable[[S], Awaitable[R]]) -> R:
        """Do `work` with a session; what `open_session` and `work` raise comes through."""
        async with self._slots:
            kept = self._take()
            if kept:
                try:
                    return await self._lend(kept, work)
                except Stale:
                    pass  # nothing was taken: a fresh session may do, and must
            session = await self._open()
            return await self._lend(_Kept(session, self._clock()), work)

    async def close(self) -> None:
        """Part with all idle sessions. Work under way ends by itself, and its session is not kept."""
        self._closed = True
        if self._sweeping:
            self._sweeping.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(kept.session.quit(GOODBYE_S) for kept in idle))

    async def _lend(self, kept: _Kept[S], work: Callable[[S], Awaitable[R]]) -> R:
        try:
            return await work(kept.session)
        finally:
            self._give_back(kept)

    def _take(self) -> _Kept[S] | None:
        """The session used last, so that the others may grow old."""
        self._sweep()
        while self._idle:
            kept = self._idle.pop()
            if kept.session.reusable:
                return kept
            kept.session.abort()
        return None

    def _give_back(self, kept: _Kept[S]) -> None:
        now = self._clock()
        if not kept.session.reusable:
            kept.session.abort()
        elif self._closed or kept.session.uses >= MAX_USES or now - kept.born >= MAX_AGE_S:
            kept.session.part()
        else:
            kept.idle_since = now
            self._idle.append(kept)
            self._sweep_later()

    def _sweep(self) -> None:
        """Part with sessions that the server will soon close, before a message runs into that."""
        oldest = self._clock() - IDLE_S
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).session.part()

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_S, self._on_timer)

    def _on_timer(self) -> None:
        self._sweeping = None
        self._sweep()
        if self._idle:
            self._sweep_later()
