"""Whose turn it is among the claimed parcels of the queue: one line for each identity, and how its mail is held.

Owns the order in which parcels are brought to the gates: within an identity the oldest first, between identities in
turn, so that one with a long backlog keeps nobody from going. At most a few wait at each gate, since what waits there
goes before the mail that clients bring now. An identity that SES refuses is held: one parcel asks again at a time,
of whichever client and sender were refused the longest ago or never, so that nobody keeps others from asking.

Pure: seconds of a steady clock are handed in.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from relay.delivery.holds import Holds
from relay.delivery.leases import Lease
from relay.model import Identity, Parcel
from relay.policy.lanes import lane_below, words_of
from relay.policy.parcels import pack

AHEAD: Final = 4  # parcels of the queue that wait at one gate
REST_S: Final = 5.0  # how long a gate is left alone that has sent one away

Way = tuple[str, str]  # credentials and region, as gates have them


@dataclass(eq=False, slots=True)
class Flight:
    """A claimed parcel on its way to SES, since when, under which rule.

    `turn`: whether it waits at its gate no longer; `sent`: SES may have it.
    """

    lease: Lease
    identity: Identity
    lane: str
    since: float
    parcel: Parcel = field(init=False)
    turn: bool = False
    sent: bool = False

    def __post_init__(self) -> None:
        spooled = self.lease.parcel
        self.parcel = pack(spooled.id, self.identity, spooled.envelope.sender, spooled.part.recipients)

    @property
    def origin(self) -> str:
        """The lane for what this client sends as this sender."""
        spooled = self.lease.parcel
        return lane_below(self.identity.name, spooled.client.name, spooled.envelope.sender)

    @property
    def way(self) -> Way:
        """Which gate it has to pass."""
        return self.identity.credentials, self.identity.region


class Lines:
    """Everything that was claimed and has not yet been brought to its gate."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._lines: dict[str, deque[Flight]] = {}  # in the order of their turns
        self._at_gate: Counter[Way] = Counter()
        self._rests: dict[Way, float] = {}  # until when nobody is brought there

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, flight: Flight) -> None:
        """It waits behind those of its identity that are older."""
        insort(self._lines.setdefault(flight.identity.name, deque()), flight, key=lambda one: one.lease.parcel.since)

    def next(self, now: float) -> Flight | None:
        """Who is to go to its gate now; `came_through` must follow, whatever becomes of it."""
        for name, line in self._lines.items():
            flight = self._first(name, line, now) if self._has_place(line[0].way, now) else None
            if flight is not None:
                line.remove(flight)
                del self._lines[name]
                if line:
                    self._lines[name] = line  # behind the others
                self._at_gate[flight.way] += 1
                self._holds.begin(flight.origin, flight.parcel)
                return flight
        return None

    def _first(self, name: str, line: Iterable[Flight], now: float) -> Flight | None:
        """The oldest that may go; while the identity is held, of those that were refused the longest ago or never."""
        if self._holds.opens_at(name) > now:
            return None
        may_go = (flight for flight in line if self._holds.opens_at(flight.origin) <= now)
        if not self._holds.is_held(name):
            return next(may_go, None)
        return min(may_go, key=lambda flight: self._holds.refused_at(flight.origin), default=None)

    def _has_place(self, way: Way, now: float) -> bool:
        return self._at_gate[way] < AHEAD and self._rests.get(way, -inf) <= now

    def rest(self, way: Way, now: float) -> None:
        """A gate has sent somebody away without an attempt: it would the next one, too."""
        self._rests[way] = now + REST_S

    def came_through(self, flight: Flight) -> None:
        """It no longer waits at its gate."""
        if not flight.turn:
            flight.turn = True
            self._at_gate[flight.way] -= 1

    def take_out(self, word: str) -> list[Flight]:
        """Take out what waits under a word of lanes: an identity's mail, or what one client sends as one sender."""
        found = [flight for line in self._lines.values() for flight in line if word in words_of(flight.origin)]
        for flight in found:
            line = self._lines[flight.identity.name]
            line.remove(flight)
            if not line:
                del self._lines[flight.identity.name]
        return found

    def clear(self, before: float = inf) -> list[Flight]:
        """Take out what has been waiting since before then."""
        waiting = [(name, flight) for name, line in self._lines.items() for flight in line]
        self._lines.clear()
        for name, flight in waiting:
            if flight.since >= before:
                self._lines.setdefault(name, deque()).append(flight)
        return [flight for _, flight in waiting if flight.since < before]
