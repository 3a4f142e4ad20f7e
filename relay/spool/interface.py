"""The spool as the rest of the relay sees it: what is kept, and what an engine promises.

A *mail* is a message as its client submitted it; *parcels* of it, at most 50 recipients each, wait for delivery one by
one. Whoever works on a parcel holds a *lease* on it: a ticket, which is void once somebody else has claimed the parcel
or an operator has dropped it. A *lane* is a word by which whoever delivers finds parcels that go the same way; the
spool gives it no meaning, so that routing can be computed anew at each attempt, but one: a lane stands below another
when its name begins with the other's and goes on with U+001F.

All times are seconds since 1970, by the clock of the caller: an engine reads no clock. Every method may raise
`SpoolTrouble`; then nothing of what was asked for has happened, as far as anybody may rely on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from relay.model import Buffer, Cause, Client, Envelope, Reply


class State(StrEnum):
    """Where a parcel stands: to be delivered, kept back by an operator, or given up."""

    QUEUED = "queued"
    HELD = "held"
    DEAD = "dead"


class Action(StrEnum):
    """What an operator may do to parcels.

    `retry`: due at once, but ten minutes after the last attempt when SES may have it; a dead one begins anew.
    `hold`: a queued one waits for `release`.
    `drop`: it is gone, whatever its state.
    """

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as a client submitted it; `id` is unique and is what the client hears as "queued as"."""

    id: str
    arrived: float
    client: Client
    envelope: Envelope
    content: Buffer = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return len(self.content)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the last attempt, and when."""

    at: float
    reply: Reply
    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True)
class Part:
    """Some recipients of a mail that wait together: when they are next due, and what has been tried.

    `attempts` were begun, and of `lost` ones the answer never came. `warned`: the sender has been told of the delay.
    """

    recipients: tuple[str, ...]
    due: float
    lane: str = ""
    attempts: int = 0
    lost: int = 0
    warned: bool = False
    last: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """A mail and the parts of it that are to be delivered; `leased` gives each part to whoever posts it, until then."""

    mail: Mail
    parts: tuple[Part, ...]
    leased: float | None = None


@dataclass(frozen=True, slots=True)
class Spooled:
    """One parcel in the spool, without its content. `id` is unique and begins with the id of its mail.

    `number` orders parcels by when they were made. `since` is when its lifetime began: when the mail arrived, or when
    an operator revived it. `leased`: somebody has it in hand; once it is claimed, `part.due` is the lease's end.
    `ticket` is 0 but for whoever holds the lease.
    """

    number: int
    id: str
    mail: str
    arrived: float
    since: float
    client: Client
    envelope: Envelope
    size: int
    state: State
    part: Part
    leased: bool = False
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane that has queued parcels, when the first is due, and when an operator last asked for a retry of any."""

    name: str
    due: float
    retried: float | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """All parcels of one state; `oldest` is the earliest `since` among them."""

    state: State
    parcels: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Tally:
    """A query's parcels of one state and lane, with those below; `oldest`: when the first of their mails arrived.

    `refused` of them met at their last attempt what SES refuses of their identity, not of them.
    """

    state: State
    lane: str
    parcels: int
    recipients: int
    oldest: float
    refused: int


@dataclass(frozen=True, slots=True)
class Query:
    """Which parcels; each criterion that is given must be met. `ids` are of parcels or mails. `lane`: and those below.

    `sender` and `recipient` are patterns in the form that `relay.policy.patterns.check_pattern` gives them: an address,
    "@example.com", "@.example.com" (its subdomains), "*" (any address), or "<>" (no sender). Mails arrived before the
    one time, and at the other or later. At most `limit` parcels, by their numbers, from the one after `after`.
    """

    ids: tuple[str, ...] = ()
    state: State | None = None
    lane: str | None = None
    sender: str | None = None
    recipient: str | None = None
    arrived_before: float | None = None
    arrived_since: float | None = None
    after: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """How the spool is. Mail should not be accepted while `trouble` says why not; the next write that works ends it.

    `trusted` is False once a sync has failed or damage was found: mail is refused until the engine has been mended,
    while deliveries go on. `waiting_s` is how long the oldest write has been waiting for the disk.
    `full`: it is room that is lacking.
    """

    trusted: bool
    trouble: str | None
    waiting_s: float
    full: bool = False


class Spool(Protocol):
    """An engine. What a method has changed is on disk, synced, when it returns; cancelling it undoes nothing."""

    async def put(self, posting: Posting) -> tuple[Spooled, ...]:
        """Take a mail in. When this returns, its client may hear 250."""

    async def claim(self, lane: str, now: float, until: float, limit: int) -> tuple[Spooled, ...]:
        """Lease the parcels of a lane that are due, the longest due first; an expired lease counts as none.

        Each counts as attempted from now on. At a cost that does not depend on how many others wait.
        """

    async def claim_old(
        self, since: float, now: float, until: float, limit: int, *, unwarned: bool
    ) -> tuple[Spooled, ...]:
        """Lease queued parcels that have waited since then or longer, whichever lane, and which nobody works on.

        For telling about them, not for delivery: none counts as attempted, and `part.due` stays what it was.
        `unwarned`: only those whose sender has not been told.
        """

    async def renew(self, parcel: Spooled, until: float) -> bool:
        """Keep a lease for longer; False when it is void."""

    async def settle(self, parcel: Spooled, *, dead: Verdict | None = None, notices: Sequence[Posting] = ()) -> bool:
        """End a leased parcel: delivered, so that it is gone, or `dead` and kept.

        `notices`, such as a bounce, are put in the same step: neither without the other. False when the lease is void;
        then nothing happens.
        """

    async def reschedule(self, parcel: Spooled, parts: Sequence[Part], *, notices: Sequence[Posting] = ()) -> bool:
        """Give a leased parcel back, to be tried again: as one part, or split into several of the same recipients.

        Of several parts the first keeps the parcel's id. False when the lease is void; then nothing happens.
        """

    async def agenda(self) -> tuple[Lane, ...]:
        """Every lane that has queued parcels, whether they are due or not."""

    async def inspect(self, query: Query) -> tuple[Spooled, ...]:
        """Look at parcels, without leasing them."""

    async def totals(self) -> tuple[Total, ...]:
        """How many parcels there are of each state that has any."""

    async def tally(self, query: Query) -> tuple[Tally, ...]:
        """How many parcels of a query there are of each lane and state, whatever its `limit`."""

    async def content(self, mail: str) -> Buffer | None:
        """The content of a mail just as it was put, None when the mail is gone.

        One that is missing, or of which a byte has changed, is a trouble of kind DAMAGED: that of this mail alone.
        """

    async def alter(self, query: Query, action: Action, now: float) -> int:
        """Do what an operator asks for to all parcels of a query; how many it was done to."""

    async def hasten(self, latest: float) -> int:
        """Nothing that is queued is due later than that, for when the clock was set back; how many were."""

    async def recall(self, lane: str, now: float) -> int:
        """What SES has refused in a lane, or below, for its identity is due, for when it takes it again; how many."""

    async def forget(self, died_before: float) -> int:
        """Remove dead parcels that have been kept for long enough; how many."""

    async def probe(self, now: float) -> None:
        """Write and sync something small, so that `standing` tells how it is now; for whoever waits for it to mend."""

    @property
    def standing(self) -> Standing:
        """How it is, at this moment; never waits."""

    async def close(self) -> None:
        """End, when everything that was asked for has been done."""
