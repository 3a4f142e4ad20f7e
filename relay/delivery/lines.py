"""Whose turn it is among the claimed parcels of the queue: one line for each identity, and how its mail is held.

Owns the order in which parcels are brought to the gates: within an identity the oldest first, between identities in
turn, so that one with a long backlog keeps nobody from going. At most a few wait at each gate, since what waits there
goes before the mail that clients bring now. An identity that SES refuses is held: one parcel asks again at a time.

Pure: seconds of a steady clock are handed in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final

from relay.delivery.leases import Lease
from relay.model import Identity, Parcel
from relay.policy.parcels import pack
from relay.policy.retrying import PROBES
from relay.policy.suspension import Suspension

AHEAD: Final = 4  # parcels of the queue that wait at one gate

Way = tuple[str, str]  # credentials and region, as gates have them


@dataclass(eq=False, slots=True)
class Flight:
    """A claimed parcel on its way to SES, since when, under which rule; `turn`: whether its turn has come."""

    lease: Lease
    identity: Identity
    lane: str
    since: float
    parcel: Parcel = field(init=False)
    turn: bool = False

    def __post_init__(self) -> None:
        spooled = self.lease.parcel
        self.parcel = pack(spooled.id, self.identity, spooled.envelope.sender, spooled.part.recipients)

    @property
    def way(self) -> Way:
        """Which gate it has to pass."""
        return self.identity.credentials, self.identity.region


class Lines:
    """Everything that was claimed and has not yet been brought to its gate."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Flight]] = {}  # in the order of their turns
        self._holds: dict[str, Suspension] = {}
        self._at_gate: Counter[Way] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, flight: Flight) -> None:
        """It waits behind the others of its identity."""
        self._lines.setdefault(flight.identity.name, deque()).append(flight)

    def next(self, now: float) -> Flight | None:
        """Who is to go to its gate now; `came_through` must follow, whatever becomes of it."""
        for name, line in self._lines.items():
            if self._at_gate[line[0].way] < AHEAD and self.opens_at(name) <= now:
                flight = line.popleft()
                del self._lines[name]
                if line:
                    self._lines[name] = line  # behind the others
                self._at_gate[flight.way] += 1
                self.hold(name).begin(flight.parcel)
                return flight
        return None

    def came_through(self, flight: Flight) -> None:
        """It no longer waits at its gate."""
        if not flight.turn:
            flight.turn = True
            self._at_gate[flight.way] -= 1

    def clear(self, before: float = inf) -> Iterator[Flight]:
        """Take out what has been waiting since before then."""
        for name in list(self._lines):
            line = self._lines[name]
            while line and line[0].since < before:
                yield line.popleft()
            if not line:
                del self._lines[name]

    # Identities that SES refuses

    def hold(self, identity: str) -> Suspension:
        """Whether and how the identity's mail is held."""
        hold = self._holds.get(identity)
        if hold is None:
            hold = self._holds[identity] = Suspension(PROBES)
        return hold

    def release(self, identity: str) -> bool:
        """Hold the identity's mail no longer; whether it was."""
        hold = self._holds.pop(identity, None)
        return hold is not None and hold.reason is not None

    def opens_at(self, identity: str) -> float:
        """When the next parcel of the identity may go; infinite while one asks."""
        hold = self._holds.get(identity)
        return -inf if hold is None or hold.reason is None else hold.opens_at

    def is_held(self, identity: str) -> bool:
        """Whether its mail waits for one parcel to get through."""
        hold = self._holds.get(identity)
        return hold is not None and hold.reason is not None

    def next_probe(self, now: float) -> float:
        """When the next of the held identities may ask again, of those that may not yet."""
        opening = (hold.opens_at for hold in self._holds.values() if hold.reason is not None)
        return min((opens_at for opens_at in opening if opens_at > now), default=inf)
