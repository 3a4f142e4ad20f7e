"""The parcels of the spool that this relay is working on, and its leases on them.

Guarantees that nobody begins to work on a parcel twice: a claim that brings one which is in hand already, as happens
when the clock is set forward, hands its newer ticket to the work that is under way. That a lease does not end while
the work goes on. And that a parcel which was given back, and claimed again before its old work heard that it was
written, is worked on anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.spool.interface import Spool, Spooled

LEASE_S: Final = 900.0


@dataclass(eq=False, slots=True)
class Lease:
    """One parcel in hand; `parcel` has the newest ticket, and its lease ends at `until`.

    `ended`: the parcel, with its ticket, by which the lease was ended in the spool, once it was.
    """

    parcel: Spooled
    until: float
    ended: Spooled | None = None


class Leases:
    """All of one relay's, by the ids of their parcels: a number may be a newer parcel's as soon as one is gone."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: dict[str, Lease] = {}
        self.claimed_again: Callable[[Spooled, float], None] = lambda _parcel, _until: None

    def __len__(self) -> int:
        return len(self._held)

    def take(self, parcel: Spooled, until: float) -> Lease | None:
        """Begin to work on a parcel; None when that is being done already."""
        held = self._held.get(parcel.id)
        if held is not None:
            held.parcel, held.until = parcel, until
            return None
        lease = self._held[parcel.id] = Lease(parcel, until)
        return lease

    def done(self, lease: Lease) -> None:
        """The work has ended; if the parcel has been claimed since it was given back, `claimed_again` is told."""
        self._held.pop(lease.parcel.id, None)
        if lease.ended is not None and lease.parcel is not lease.ended:
            self.claimed_again(lease.parcel, lease.until)

    async def keep(self, now: float) -> None:
        """Renew what would end soon, with as few syncs as that takes. Raises SpoolTrouble."""
        ending = [lease for lease in self._held.values() if lease.until < now + LEASE_S / 2]
        await asyncio.gather(*(self._renew(lease, now + LEASE_S) for lease in ending))

    async def _renew(self, lease: Lease, until: float) -> None:
        if await self._spool.renew(lease.parcel, until):
            lease.until = until
