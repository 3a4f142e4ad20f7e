"""What a client's message comes to while the client waits: direct first, spool when needed; or the spool at once.

Three ways, one for each kind of configuration. Guarantees: a client hears 250 only when each of its recipients is
with SES or on disk; it waits no longer than `hold_s` for SES, after which what is not delivered is committed, leased
to the attempts that are still under way; an attempt that was begun is concluded whoever waits. Refusals for good are
told to the client if there is nothing else to tell; as soon as some of its recipients were delivered or queued, the
others get a bounce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from relay import replies
from relay.delivery.courier import Courier
from relay.delivery.leases import LEASE_S, Lease, Leases
from relay.delivery.settlement import STOPPED, Settlement
from relay.model import Buffer, Cause, Deferred, Delivered, Failed, Identity, Outcome, Parcel, Reply
from relay.observe.log import Journal
from relay.policy.parcels import pack, share_out
from relay.policy.retrying import refuses_recipients
from relay.spool.interface import Mail, Part, Posting, Spool
from relay.spool.trouble import Kind, SpoolTrouble

STUCK_S: Final = 10.0  # a write that waits for the disk for so long: no more mail meanwhile


HandOn = Callable[[Coroutine[None, None, Any]], Any]
Content = tuple[Buffer, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a client hears, and the outcome behind it, if there is one already; `queued`: some of it is in the spool."""

    reply: Reply
    outcome: Outcome | None = None
    queued: bool = False


class Acceptance(Protocol):
    """One way."""

    async def take(self, mail: Mail, identity: Identity, content: Content, courier: Courier, hand_on: HandOn) -> Taken:
        """Deliver a message, `content` being what SES is to get, or store it; never raises but for cancellation."""

    def refusal(self) -> Reply | None:
        """Why no mail can be taken at this moment."""

    def hurry(self) -> None:
        """The relay is to end: nobody is to be kept waiting for SES any more."""


class WithoutSpool:
    """One parcel, and the answer is SES's."""

    async def take(self, mail: Mail, identity: Identity, content: Content, courier: Courier, hand_on: HandOn) -> Taken:
        """Try until it is delivered or the hold is over; whatever comes of it is the client's answer."""
        del hand_on
        envelope = mail.envelope
        outcome = await courier.deliver(pack(mail.id, identity, envelope.sender, envelope.recipients, content))
        return Taken(_reply(outcome), outcome)

    def refusal(self) -> Reply | None:
        """Always takes mail."""
        return None

    def hurry(self) -> None:
        """Nothing can be done: an answer is needed."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What both ways with a spool need.

    Args:
        spool: for what cannot be delivered now.
        leases: what this relay works on.
        settlement: how attempts at spooled parcels end.
        journal: hears of a spool that fails.
        wall: seconds since 1970.
        wake: tells the queue that something is due.
        heard: tells the queue what SES has said to a parcel, of which client and sender.
        ending: done when nobody is to be kept waiting for SES any more, whichever way was in force when it came.
    """

    spool: Spool
    leases: Leases
    settlement: Settlement
    journal: Journal
    wall: Callable[[], float]
    wake: Callable[[], None]
    heard: Callable[[Parcel, Outcome, str, str], None]
    ending: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def hurry(self) -> None:
        """The relay is to end."""
        if not self.ending.done():
            self.ending.set_result(None)

    def refusal(self) -> Reply | None:
        """Why the spool takes no mail at this moment."""
        standing = self.spool.standing
        if standing.full and standing.trusted:
            return replies.SPOOL_FULL
        if standing.trouble is not None or standing.waiting_s > STUCK_S:
            return replies.SPOOL_FAILING
        return None

    def not_stored(self, trouble: SpoolTrouble, outcome: Outcome | None = None) -> Taken:
        """The client has to keep its message."""
        self.journal.spool_trouble(str(trouble))
        return Taken(replies.SPOOL_FULL if trouble.kind is Kind.FULL else replies.SPOOL_FAILING, outcome)


class SpoolFirst:
    """Commit it, then answer; the queue delivers."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def take(self, mail: Mail, identity: Identity, content: Content, courier: Courier, hand_on: HandOn) -> Taken:
        """Commit it."""
        del content, courier, hand_on
        groups = share_out(mail.envelope.recipients)
        parts = tuple(Part(recipients, due=mail.arrived, lane=identity.name) for recipients in groups)
        try:
            await self._queue.spool.put(Posting(mail, parts))
        except SpoolTrouble as trouble:
            return self._queue.not_stored(trouble)
        self._queue.wake()
        return Taken(replies.queued(mail.id), queued=True)

    def refusal(self) -> Reply | None:
        """Why the spool takes no mail at this moment."""
        return self._queue.refusal()

    def hurry(self) -> None:
        """Commit what clients wait for that came before a reload."""
        self._queue.hurry()


class DirectFirst:
    """Try it now; what SES has not taken within the hold is committed."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def refusal(self) -> Reply | None:
        """Why the spool takes no mail at this moment."""
        return self._queue.refusal()

    def hurry(self) -> None:
        """Commit what clients wait for now."""
        self._queue.hurry()

    async def take(self, mail: Mail, identity: Identity, content: Content, courier: Courier, hand_on: HandOn) -> Taken:
        """Try it now; `hand_on` runs what goes on after the answer."""
        parcels = _packed(mail, identity, content)
        attempts = [asyncio.ensure_future(self._attempt(courier, parcel)) for parcel in parcels]
        try:
            await self._hold(attempts, courier.hold_s)
            known = [attempt.result() if attempt.done() else None for attempt in attempts]
            for parcel, outcome in zip(parcels, known, strict=True):
                if isinstance(outcome, Delivered):
                    self._queue.heard(parcel, outcome, mail.client.name, mail.envelope.sender)
            answer = _answer(parcels, known)
            return answer or await self._store_rest(mail, identity, parcels, attempts, hand_on)
        except asyncio.CancelledError:
            await _cancel(attempts)
            raise

    async def _attempt(self, courier: Courier, parcel: Parcel) -> Outcome:
        try:
            return await courier.deliver(parcel)
        except Exception as error:  # noqa: BLE001 - a fault of ours costs no mail: it is kept
            self._queue.journal.internal_error(parcel.id, error)
            return Deferred(replies.INTERNAL, Cause.OUR_FAULT, "see internal_error")

    async def _hold(self, attempts: Sequence[asyncio.Future[Outcome]], hold_s: float) -> None:
        """Wait for all attempts, at most that long."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + hold_s
        pending: set[asyncio.Future[Any]] = set(attempts)
        while pending and not self._queue.ending.done() and (left := ends - loop.time()) >= 0:
            awaited = {*pending, self._queue.ending}
            done, _ = await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return
            pending -= done

    async def _store_rest(
        self, mail: Mail, identity: Identity, parcels: Sequence[Parcel], attempts: Sequence[asyncio.Future[Outcome]],
        hand_on: HandOn,
    ) -> Taken:  # fmt: skip
        """Commit what is not delivered, leased; each attempt's end is concluded like a queued parcel's."""
        rest = [pair for pair in zip(parcels, attempts, strict=True) if not _is_delivered(pair[1])]
        until = self._queue.wall() + LEASE_S
        parts = tuple(Part(parcel.recipients, due=until, lane=identity.name, attempts=1) for parcel, _ in rest)
        try:
            stored = await self._queue.spool.put(Posting(mail, parts, leased=until))
        except SpoolTrouble as trouble:
            return await self._without_spool(parcels, attempts, trouble)
        for spooled, (parcel, attempt) in zip(stored, rest, strict=True):
            lease = self._queue.leases.take(spooled, until)
            if lease is not None:
                hand_on(self._conclude(lease, parcel, attempt, identity))
        outcomes = [attempt.result() for _, attempt in rest if attempt.done()]
        return Taken(replies.queued(mail.id), outcomes[0] if outcomes else None, queued=True)

    async def _without_spool(
        self, parcels: Sequence[Parcel], attempts: Sequence[asyncio.Future[Outcome]], trouble: SpoolTrouble
    ) -> Taken:
        """The disk has failed at the wrong moment: wait for the attempts under way, and tell the client the worst."""
        outcomes = await asyncio.gather(*attempts)
        if all(isinstance(outcome, Delivered) for outcome in outcomes):
            return _answer(parcels, outcomes) or self._queue.not_stored(trouble)
        return self._queue.not_stored(trouble, next(one for one in outcomes if not isinstance(one, Delivered)))

    async def _conclude(
        self, lease: Lease, parcel: Parcel, attempt: asyncio.Future[Outcome], identity: Identity
    ) -> None:
        """The attempt's end, whenever that is; one that is cut short may have been delivered."""
        try:
            outcome = await attempt
        except asyncio.CancelledError:  # the drain is over: there is time for one write, not to wait for the disk
            outcome, self._queue.settlement.ending = STOPPED, True
        self._queue.heard(parcel, outcome, lease.parcel.client.name, lease.parcel.envelope.sender)
        try:
            await self._queue.settlement.conclude(lease, outcome, identity)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            self._queue.journal.internal_error(lease.parcel.id, error)
        finally:
            self._queue.leases.done(lease)
            self._queue.wake()


def _packed(mail: Mail, identity: Identity, content: Content) -> list[Parcel]:
    """The parcels of a message; a single one has the message's id."""
    groups, sender = share_out(mail.envelope.recipients), mail.envelope.sender
    if len(groups) == 1:
        return [pack(mail.id, identity, sender, groups[0], content)]
    return [pack(f"{mail.id}.{number}", identity, sender, group, content) for number, group in enumerate(groups, 1)]


def _reply(outcome: Outcome) -> Reply:
    return replies.accepted(outcome.message_id) if isinstance(outcome, Delivered) else outcome.reply


def _answer(parcels: Sequence[Parcel], outcomes: Sequence[Outcome | None]) -> Taken | None:
    """What the client hears if nothing needs the spool: SES has all of it, or has refused all of it."""
    first = outcomes[0]
    if isinstance(first, Delivered) and all(isinstance(outcome, Delivered) for outcome in outcomes):
        return Taken(replies.accepted(first.message_id), first)
    if isinstance(first, Failed) and all(map(_is_final, parcels, outcomes)):
        return Taken(first.reply, first)
    return None


def _is_final(parcel: Parcel, outcome: Outcome | None) -> bool:
    """Whether SES refuses it as a whole; of several recipients a bad one may have sunk the others."""
    if not isinstance(outcome, Failed):
        return False
    return len(parcel.recipients) == 1 or not refuses_recipients(outcome, parcel.sender, parcel.recipients)


def _is_delivered(attempt: asyncio.Future[Outcome]) -> bool:
    return attempt.done() and isinstance(attempt.result(), Delivered)


async def _cancel(attempts: Sequence[asyncio.Future[Outcome]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)
