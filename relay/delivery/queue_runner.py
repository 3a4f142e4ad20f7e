"""Delivers what the spool holds: claims what is due, brings it to the gates in turn, has each attempt concluded.

Guarantees: everything that is due is tried as soon as the pace of its account and region allows; nothing is tried
twice at once; a message's content is in memory only while its turn lasts, and all of them together take a bounded
room; routing and headers are those of the rules of that moment, and whatever they refuse waits for better rules. The
spool's troubles stop it for a moment, never for good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Final

from relay import replies
from relay.delivery.claims import Claims
from relay.delivery.courier import Courier
from relay.delivery.healing import against_the_rules, finished
from relay.delivery.holds import Holds
from relay.delivery.leases import LEASE_S, Lease, Leases
from relay.delivery.lines import Flight, Lines
from relay.delivery.memory_room import MemoryRoom, Stay
from relay.delivery.pace import Clock
from relay.delivery.settlement import STOPPED, Settlement
from relay.errors import Rejection
from relay.model import Cause, Deferred, Delivered, Identity, Outcome, Parcel
from relay.observe.log import Journal
from relay.policy.lanes import identity_of, lane_below
from relay.policy.retrying import refuses_identity
from relay.policy.rulebook import RuleBook
from relay.spool.interface import Query, Spool, Spooled, State
from relay.spool.trouble import Kind, SpoolTrouble

SOONEST_S: Final = 0.01
POLL_S: Final = 2.0  # how soon what a queue command has changed is noticed
STAY_S: Final = 300.0  # how long a parcel waits for its turn before it is given back


class _CalledOffError(Exception):
    """No attempt is to be made: an operator has taken the parcel away, its identity is held, its rule is another."""


class QueueRunner:
    """One per relay; `run` is its life.

    Args:
        spool: where mail waits.
        leases: what this relay works on.
        settlement: how attempts end.
        courier: how they are made; swapped on reload, as is the book.
        book: the rules of the moment.
        journal: for what goes wrong.
        clock: steady seconds, pauses, chance.
        wall: seconds since 1970.
    """

    def __init__(
        self, spool: Spool, leases: Leases, settlement: Settlement, courier: Courier, book: RuleBook,
        journal: Journal, clock: Clock, wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self._spool, self._leases, self._settlement = spool, leases, settlement
        self._courier, self._book, self._journal = courier, book, journal
        self._clock, self._wall = clock, wall
        leases.claimed_again = self._claimed_again
        self._holds = Holds()
        self._lines = Lines(self._holds)
        self._claims = Claims(self._holds)
        self._room = MemoryRoom()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_air: dict[asyncio.Task[None], Flight] = {}
        self._woken = asyncio.Event()
        self._ending = False

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            try:
                wait_s = await self._round()
            except SpoolTrouble:  # the watch of the spool says so
                wait_s = POLL_S
            except Exception as error:  # noqa: BLE001 - mail must go on whatever it was
                self._journal.internal_error("queue", error)
                wait_s = POLL_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def change(self, book: RuleBook, courier: Courier) -> None:
        """Hold to other rules; what has not yet gone to its gate is routed anew."""
        self._book, self._courier = book, courier
        for lane in self._holds.clear():  # whoever changes the rules may have mended what was refused
            self._journal.released(lane)
        for flight in self._lines.clear():
            self._line(flight.lease, flight.lane)
        self.wake()

    def heard(self, parcel: Parcel, outcome: Outcome, client: str, sender: str) -> None:
        """What SES has said to a parcel of this client and sender, and so of its identity."""
        origin = lane_below(parcel.identity, client, sender)
        if isinstance(outcome, Delivered):
            for lane in self._holds.taken(origin):
                self._journal.released(lane)
                if not self._ending:
                    self._start(self._recall(identity_of(lane)))
        elif refuses_identity(outcome, parcel.sender, parcel.recipients):
            reason = Deferred(outcome.reply, outcome.cause, outcome.detail)
            for lane in self._holds.refused(origin, parcel, reason, self._clock.now(), self._clock.chance()):
                self._journal.held(lane, reason)
                for flight in self._lines.take_out(lane):
                    self._start(self._give_back(flight))
            if not self._ending:
                self._start(self._settlement.tell_of_refusal(parcel.identity, reason))
        else:
            self._holds.unknown(origin, parcel)

    async def _recall(self, identity: str) -> None:
        """SES takes mail of an identity again: what it has refused goes before all that came later."""
        with contextlib.suppress(SpoolTrouble):  # then it comes at its own time
            await self._spool.recall(identity, self._wall())
        self.wake()

    def give_back_old(self) -> None:
        """Let go of what has waited in line for long, so that lifetimes and warnings reach it."""
        for flight in self._lines.clear(self._clock.now() - STAY_S):
            self._start(self._give_back(flight))

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, let attempts end for a moment, then conclude what is under way as unknown."""
        self._ending = True
        for task in [task for task, flight in self._in_air.items() if not flight.sent]:
            task.cancel()
        for flight in self._lines.clear():
            self._start(self._give_back(flight))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Claiming

    async def _round(self) -> float:
        """Claim what is due and there is a place for; returns after how many seconds to look again."""
        if self._book.dry_run or self._ending:
            return POLL_S
        now, agenda = self._wall(), await self._spool.agenda()
        due = self._claims.due(agenda, now, self._clock.now())
        await asyncio.gather(*(self._claim(lane, now, len(due)) for lane in due))
        self._line_up()
        later = [lane.due - now for lane in agenda if lane.due > now]
        steady = self._clock.now()
        return max(min([POLL_S, *later, self._holds.next_opening(steady) - steady]), SOONEST_S)

    async def _claim(self, lane: str, now: float, lanes: int) -> None:
        limit = self._claims.places(lane, lanes)
        if limit <= 0:
            return
        until = now + LEASE_S
        claimed = await self._spool.claim(lane, now, until, limit)
        self._claims.claimed(lane, all_places=len(claimed) == limit)
        for parcel in claimed:
            self._take_up(parcel, until)

    def _take_up(self, parcel: Spooled, until: float) -> None:
        """Work on a parcel that has been claimed, unless that is being done already."""
        lease, lane = self._leases.take(parcel, until), parcel.part.lane
        if lease is not None:
            self._claims.ahead(lane)
            self._line(lease, lane)

    def _claimed_again(self, parcel: Spooled, until: float) -> None:
        """A parcel came back before its old work had quite ended."""
        self._take_up(parcel, until)
        self.wake()

    def _line(self, lease: Lease, lane: str) -> None:
        """Route a claimed parcel by the rules of now."""
        try:
            identity = self._book.router.route(lease.parcel.envelope.sender)
        except Rejection as refused:
            self._start(self._refused(lease, lane, against_the_rules(refused)))
        else:
            flight = Flight(lease, identity, lane, self._clock.now())
            if self._lane_of(flight) in {lane, identity.name}:
                self._lines.add(flight)
            else:
                self._start(self._give_back(flight))

    def _line_up(self) -> None:
        while not self._ending and (flight := self._lines.next(self._clock.now())) is not None:
            self._in_air[self._start(self._fly(flight))] = flight

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._in_air.pop(task, None)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._journal.internal_error("queue", error)

    def _no_longer_ahead(self, lane: str) -> None:
        """One of the parcels that were claimed ahead is in its turn, or gone."""
        if self._claims.no_longer_ahead(lane):
            self.wake()

    # One parcel

    async def _fly(self, flight: Flight) -> None:
        try:
            outcome = await self._attempt(flight)
        except asyncio.CancelledError:
            outcome = STOPPED if flight.sent else None
        finally:
            self._came_through(flight)
        if outcome is not None:
            self.heard(flight.parcel, outcome, *_who(flight.lease.parcel))
            if isinstance(outcome, Deferred) and not outcome.tried:
                self._lines.rest(flight.way, self._clock.now())
        else:
            self._holds.unknown(flight.origin, flight.parcel)
        await self._concluded(flight.lease, outcome, flight.identity, self._lane_of(flight))

    async def _attempt(self, flight: Flight) -> Outcome | None:
        """One attempt; None when there was none."""
        room = Stay(self._room)
        try:
            return await self._courier.deliver_once(flight.parcel, STAY_S, lambda _: self._prepare(flight, room))
        except _CalledOffError:
            return None
        except SpoolTrouble as trouble:
            return self._unreadable(flight.lease.parcel, trouble)
        except Exception as error:  # noqa: BLE001 - one odd message must not stop the queue
            self._journal.internal_error(flight.parcel.id, error)
            return Deferred(replies.INTERNAL, Cause.OUR_FAULT, "see internal_error")
        finally:
            room.leave()

    def _unreadable(self, spooled: Spooled, trouble: SpoolTrouble) -> Deferred:
        """It may be put back, or read when the disk is well."""
        is_damaged = trouble.kind is Kind.DAMAGED
        if is_damaged and not self._ending:
            self._start(self._settlement.tell_of_damage(spooled, trouble.detail))
        reply = replies.MESSAGE_DAMAGED if is_damaged else replies.INTERNAL
        return Deferred(reply, Cause.OUR_FAULT, f"its content cannot be read: {trouble}")

    async def _prepare(self, flight: Flight, room: Stay) -> Parcel | Outcome:
        """Its turn has come: read the message, and finish it by the rules of now."""
        self._came_through(flight)
        self._line_up()
        spooled = flight.lease.parcel
        if self._holds.is_off(flight.origin, flight.parcel) or await self._was_taken_away(spooled):
            raise _CalledOffError
        await room.enter(spooled.size)
        content = await self._spool.content(spooled.mail)
        if content is None:
            return Deferred(replies.INTERNAL, Cause.OUR_FAULT, "its content is gone")
        if self._is_rerouted(flight):
            raise _CalledOffError
        ready = finished(self._book, flight.parcel, spooled, flight.identity, content)
        flight.sent = isinstance(ready, Parcel)
        return ready

    def _is_rerouted(self, flight: Flight) -> bool:
        """Whether the rules have become others while it waited at its gate."""
        try:
            return self._book.router.route(flight.lease.parcel.envelope.sender) != flight.identity
        except Rejection:
            return True

    async def _was_taken_away(self, spooled: Spooled) -> bool:
        """Whether an operator has dropped it or holds it."""
        found = await self._spool.inspect(Query(ids=(spooled.id,)))
        return not found or found[0].state is not State.QUEUED

    def _came_through(self, flight: Flight) -> None:
        if not flight.turn:
            self._lines.came_through(flight)
            self._no_longer_ahead(flight.lane)

    def _lane_of(self, flight: Flight) -> str:
        """Where the parcel is to wait: what SES refuses of an identity keeps out of the others' way."""
        return flight.origin if self._holds.waits_apart(flight.origin) else flight.identity.name

    async def _refused(self, lease: Lease, lane: str, outcome: Deferred) -> None:
        self._no_longer_ahead(lane)
        await self._concluded(lease, outcome, None, lane)

    async def _give_back(self, flight: Flight) -> None:
        self._no_longer_ahead(flight.lane)
        await self._concluded(flight.lease, None, flight.identity, self._lane_of(flight))

    async def _concluded(self, lease: Lease, outcome: Outcome | None, identity: Identity | None, lane: str) -> None:
        try:
            if outcome is not None:
                await self._settlement.conclude(lease, outcome, identity, lane)
            else:
                await self._settlement.give_back(lease, lane)
        finally:
            self._leases.done(lease)


def _who(parcel: Spooled) -> tuple[str, str]:
    """Whose mail it is: the client and the sender."""
    return parcel.client.name, parcel.envelope.sender
