"""Delivers parcels: brings each through the gate of its account and region to its transport, again while held.

Guarantees: no attempt starts without its turn at the gate, which keeps to the concurrency, the pace and the pauses
of account and region, or after `hold_s`; one that has started is waited for (the transports bound it); an attempt
whose answer was lost is never repeated; nothing but an outcome comes out. While a parcel pauses between attempts it
takes up no place, and afterwards it goes before those that came later. What comes from the spool is made ready only
when its turn has come, so that mail that waits takes up no memory. Owns no socket and no sleep: clock and pause are
passed in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

from relay.delivery.gates import Gates
from relay.delivery.pace import Arrival, Clock
from relay.model import Deferred, Outcome, Parcel, TransportName
from relay.observe.log import Journal
from relay.policy.backoff import pause_in_hold

__all__ = ["Clock", "Courier", "Prepare", "Transport"]

Prepare = Callable[[Parcel], Awaitable[Parcel | Outcome]]


class Transport(Protocol):
    """One attempt at one parcel."""

    async def send(self, parcel: Parcel) -> Outcome:
        """Never raises but for cancellation."""

    async def close(self) -> None:
        """Let go of connections."""


class Courier:
    """One per configuration: a reload makes a new one, the old one finishes what it has.

    Args:
        transports: by name.
        journal: hears of attempts that are made again.
        clock: the event loop's, and how to pause.
        hold_s: seconds in which attempts may start, unless `deliver` is told otherwise.
        gates: of the relay, which outlive the courier.
    """

    def __init__(
        self,
        transports: Mapping[TransportName, Transport],
        journal: Journal,
        clock: Clock,
        *,
        hold_s: float,
        gates: Gates,
    ) -> None:
        self._transports = transports
        self._journal = journal
        self._clock = clock
        self._hold_s = hold_s
        self._gates = gates
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def hold_s(self) -> float:
        """Seconds in which attempts may start."""
        return self._hold_s

    async def deliver(self, parcel: Parcel, hold_s: float | None = None) -> Outcome:
        """Try now, and again within the hold where that is safe; who is in no hurry has another `hold_s`."""
        hold_s = self._hold_s if hold_s is None else hold_s
        with self._counted():
            return await self._attempts(parcel, self._gates.arrive(hold_s))

    async def deliver_once(self, parcel: Parcel, hold_s: float, prepare: Prepare) -> Outcome:
        """Make one attempt; at its turn `prepare` fills the parcel, or says what becomes of it without an attempt."""

        async def send(parcel: Parcel) -> Outcome:
            ready = await prepare(parcel)
            return await self._transports[parcel.transport].send(ready) if isinstance(ready, Parcel) else ready

        with self._counted():
            gate = self._gates.of(parcel)
            refusal = await gate.enter(parcel, self._gates.arrive(hold_s))
            return refusal if refusal is not None else await gate.attempt(parcel, send)

    async def close(self) -> None:
        """Let go of the transports' connections, when nothing is under way any more."""
        await self._quiet.wait()
        for transport in self._transports.values():
            await transport.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def _attempts(self, parcel: Parcel, arrival: Arrival) -> Outcome:
        attempts = 0
        while True:
            gate = self._gates.of(parcel)
            refusal = await gate.enter(parcel, arrival)
            if refusal is not None:
                return refusal
            outcome = await gate.attempt(parcel, self._transports[parcel.transport].send)
            attempts += 1
            if not isinstance(outcome, Deferred):
                return outcome
            pause = pause_in_hold(outcome, attempts, arrival.give_up - self._clock.now(), self._clock.chance())
            if pause is None:
                return outcome
            self._journal.attempt_deferred(parcel, outcome, pause)
            await self._clock.pause(pause)
