"""The gate before SES: who may make an attempt, and when. One `Gate` per account and region.

Owns the queue of those who wait, in order of arrival, and the number of attempts under way; `Conditions` knows when
the next may go. Guarantees that a parcel waits no longer than its client does, and is told no as soon as that is
certain; that parcels which cannot go now hold up none that can; that a place that was given is given back, whatever
becomes of its parcel. It waits in timers of the event loop and does not know whether a client or a spool is behind
a parcel: an arrival may have any deadline, or none.
"""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf

from relay.delivery.conditions import Conditions
from relay.model import Deferred, Outcome, Parcel


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from; `now` in seconds, the event loop's own clock."""

    now: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a parcel came, as a number that grows, and the time after which no attempt may start (or infinity)."""

    order: int
    give_up: float


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody in the queue; `turn` becomes None for "go", or the reason why not."""

    parcel: Parcel
    arrival: Arrival
    turn: asyncio.Future[Deferred | None]


class Gate:
    """Lets the parcels of one account and region through, at most `concurrency` at once."""

    def __init__(self, conditions: Conditions, clock: Clock, concurrency: int) -> None:
        self.conditions = conditions
        self._clock = clock
        self._concurrency = concurrency
        self._under_way = 0
        self._queue: list[_Waiter] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate(self) -> float:
        """Recipients per second at this moment."""
        return self.conditions.rate(self._clock.now())

    def change(self, concurrency: int) -> None:
        """Hold to another concurrency; what is under way stays."""
        self._concurrency = concurrency
        self._admit()

    def permit(self, rate: float | None) -> None:
        """So many recipients per second are permitted; None: that is not known."""
        self.conditions.permit(rate, self._clock.now())
        self._admit()

    async def enter(self, parcel: Parcel, arrival: Arrival) -> Deferred | None:
        """Wait for the parcel's turn. Returns None when it has come: `attempt` must follow; else why it will not."""
        now = self._clock.now()
        place = bisect(self._queue, arrival.order, key=lambda waiter: waiter.arrival.order)
        refusal = self.conditions.refusal(parcel, arrival.give_up, self._ahead(place), now)
        if refusal is not None:
            return refusal
        loop = asyncio.get_running_loop()
        waiter = _Waiter(parcel, arrival, loop.create_future())
        self._queue.insert(place, waiter)
        self.conditions.queue(parcel, 1)
        self._admit()
        if waiter.turn.done():
            return None
        alarm = loop.call_later(arrival.give_up - now, self._expire, waiter) if arrival.give_up < inf else None
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()

    async def attempt(self, parcel: Parcel, send: Callable[[Parcel], Awaitable[Outcome]]) -> Outcome:
        """Let the parcel, whose turn it is, be sent, and learn from what comes of it."""
        outcome = None
        try:
            outcome = await send(parcel)
            return outcome
        finally:
            self._leave(parcel, outcome)

    def _ahead(self, place: int) -> int:
        """Recipients that go before whoever lines up at `place`."""
        if place == len(self._queue):
            return self.conditions.queued()
        return sum(
            len(waiter.parcel.recipients)
            for waiter in self._queue[:place]
            if not self.conditions.is_suspended(waiter.parcel)
        )

    def _admit(self) -> None:
        """Let in all that may go now, and come back when the next may."""
        now = self._clock.now()
        wake, gave_way = self._let_in_all(now, others_first=True)
        if gave_way:
            wake, _ = self._let_in_all(now, others_first=False)
        self._wake_at(wake, now)

    def _let_in_all(self, now: float, *, others_first: bool) -> tuple[float, bool]:
        """Let in all that may go now; when the next may, and whether somebody has let others ask first, if any do."""
        wake, place, gave_way = inf, 0, False
        while place < len(self._queue) and self._under_way < self._concurrency:
            waiter = self._queue[place]
            opens_at = self.conditions.opens_at(waiter.parcel)
            if opens_at > now:
                place, wake = place + 1, min(wake, opens_at)
                continue
            if others_first and self.conditions.asked_last(waiter.parcel):
                place, gave_way = place + 1, True
                continue
            wait_s = self.conditions.wait_s(waiter.parcel, now)
            if wait_s > 0:
                wake = min(wake, now + wait_s)
                break
            self._let_in(waiter, now)
        return wake, gave_way

    def _let_in(self, waiter: _Waiter, now: float) -> None:
        self._take_out(waiter)
        if not waiter.turn.done():  # else cancelled, and not yet withdrawn
            self._under_way += 1
            self.conditions.begin(waiter.parcel, now)
            waiter.turn.set_result(None)

    def _wake_at(self, when: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(when - now, self._admit) if when < inf else None

    def _leave(self, parcel: Parcel, outcome: Outcome | None) -> None:
        self._under_way -= 1
        now = self._clock.now()
        if self.conditions.learn(parcel, outcome, now):
            self._review(now)
        self._admit()

    def _review(self, now: float) -> None:
        """Things have become slower: send those away whose turn cannot come in time any more."""
        ahead = 0
        for waiter in list(self._queue):
            refusal = self.conditions.refusal(waiter.parcel, waiter.arrival.give_up, ahead, now)
            if refusal is not None:
                self._send_away(waiter, refusal)
            elif not self.conditions.is_suspended(waiter.parcel):
                ahead += len(waiter.parcel.recipients)

    def _expire(self, waiter: _Waiter) -> None:
        if not waiter.turn.done():
            self._send_away(waiter, self.conditions.expired(waiter.parcel, self._clock.now()))
            self._admit()

    def _send_away(self, waiter: _Waiter, refusal: Deferred) -> None:
        self._take_out(waiter)
        if not waiter.turn.done():
            waiter.turn.set_result(refusal)

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter in self._queue:
            self._take_out(waiter)
            self._admit()
        elif not waiter.turn.cancelled() and waiter.turn.result() is None:
            self._leave(waiter.parcel, None)

    def _take_out(self, waiter: _Waiter) -> None:
        self._queue.remove(waiter)
        self.conditions.queue(waiter.parcel, -1)
