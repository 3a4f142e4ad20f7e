"""The parcels of the spool that this relay is working on, and its leases on them.

Guarantees that nobody begins to work on a parcel twice: a claim that brings one which is in hand already, as happens
when the clock is set forward, hands its newer ticket to the work that is under way. And that a lease does not end
while the work goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.spool.interface import Spool, Spooled

LEASE_S: Final = 900.0


@dataclass(eq=False, slots=True)
class Lease:
    """One parcel in hand; `parcel` has the newest ticket, and its lease ends at `until`."""

    parcel: Spooled
    until: float


class Leases:
    """All of one relay's, by the numbers of their parcels."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: dict[int, Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, parcel: Spooled, until: float) -> Lease | None:
        """Begin to work on a parcel; None when that is being done already."""
        held = self._held.get(parcel.number)
        if held is not None:
            held.parcel, held.until = parcel, until
            return None
        lease = self._held[parcel.number] = Lease(parcel, until)
        return lease

    def done(self, lease: Lease) -> None:
        """The work has ended."""
        self._held.pop(lease.parcel.number, None)

    async def keep(self, now: float) -> None:
        """Renew what would end soon. Raises SpoolTrouble."""
        for lease in [lease for lease in self._held.values() if lease.until < now + LEASE_S / 2]:
            until = now + LEASE_S
            if await self._spool.renew(lease.parcel, until):
                lease.until = until
