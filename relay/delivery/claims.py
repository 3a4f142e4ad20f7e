"""Which lanes of the spool are claimed from, and how much: a little of each ahead of its turn, nothing of what is held.

Owns the count of parcels that were claimed and have not had their turn. Guarantees that what is claimed ahead is
bounded, for each lane and for all together; that of an identity that SES refuses only the parcel is claimed that is to
ask; and that it may ask at once when an operator has asked for that (`queue retry`).

Pure: seconds since 1970 for what is due, and those of a steady clock for holds, are handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from relay.delivery.holds import Holds
from relay.policy.lanes import identity_of
from relay.spool.interface import Lane

BATCH: Final = 32  # parcels of one lane that are claimed ahead
MOST: Final = 512  # of all lanes together, but for one of each


class Claims:
    """Of one relay."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._ahead: Counter[str] = Counter()  # by lane: parcels whose turn has not come
        self._retried: dict[str, float] = {}  # by lane: when operators asked for a retry, as far as we have heard
        self._more: set[str] = set()  # lanes that had more than there were places for

    def __len__(self) -> int:
        return self._ahead.total()

    def due(self, agenda: Sequence[Lane], now: float, steady: float) -> list[str]:
        """The lanes to claim from, as the spool's agenda tells."""
        self._more.intersection_update(lane.name for lane in agenda)
        self._hear_operators(agenda, steady)
        return [lane.name for lane in agenda if lane.due <= now and self._may_be_claimed(lane.name, steady)]

    def places(self, lane: str, lanes: int) -> int:
        """How many more parcels of a lane may be claimed, of so many that are due."""
        most = 1 if self._holds.is_held(lane) else max(1, min(BATCH, MOST // lanes))
        return most - self._ahead[lane]

    def claimed(self, lane: str, *, all_places: bool) -> None:
        """Parcels of a lane were claimed; whether as many as there were places for."""
        (self._more.add if all_places else self._more.discard)(lane)

    def ahead(self, lane: str) -> None:
        """A claimed parcel waits for its turn; `no_longer_ahead` must follow, whatever becomes of it."""
        self._ahead[lane] += 1

    def no_longer_ahead(self, lane: str) -> bool:
        """One of those is in its turn, or gone; whether more of its lane should be claimed."""
        self._ahead[lane] -= 1
        if not self._ahead[lane]:
            del self._ahead[lane]
        return lane in self._more and self._ahead[lane] <= BATCH // 2

    def _may_be_claimed(self, lane: str, steady: float) -> bool:
        """Not while it is held; but what waits at the top of an identity is sorted then, for one that may ask."""
        return lane == identity_of(lane) or self._holds.opens_at(lane) <= steady

    def _hear_operators(self, agenda: Sequence[Lane], steady: float) -> None:
        """Mail of which a retry was asked for since we last looked asks SES at once, even if it is held."""
        retried = {lane.name: lane.retried for lane in agenda if lane.retried is not None}
        for lane, at in retried.items():
            if at != self._retried.get(lane):
                self._holds.hasten(lane, steady)
        self._retried = retried
