"""What an operator's action would be done to, counted before it is done: so that it can be confirmed, and explained.

Changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.cli.queue_report import IN_HAND, INTERRUPTED
from relay.cli.spool_access import pages
from relay.cli.wording import counted
from relay.policy.retrying import CONFIGURATION, LOST_APART_S
from relay.spool.interface import Action, Query, Spool, Spooled, State

# What an action leaves as it is, and why. What is left since it is so already is no failure.
LEFT: Final[Mapping[Action, Mapping[str, str]]] = {
    Action.RETRY: {
        State.HELD: "held: release first",
        IN_HAND: "in hand: an attempt is under way, or waits for its turn",
        INTERRUPTED: "in hand when the relay ended: due as soon as it starts",
    },
    Action.HOLD: {State.HELD: "held already", State.DEAD: "dead: not tried any more"},
    Action.RELEASE: {State.QUEUED: "not held", State.DEAD: "dead: retry revives them"},
    Action.DROP: {},
}


@dataclass(slots=True)
class Survey:
    """What an action would be done to, before it is done.

    `ids` are of parcels; of `waiting` ones a retry can only let their identity ask. `states` counts those, `left` the
    ones that it would leave alone, by why. `leased` ones are in the hand of `relay`, its process id, or were in that of
    one that has ended. Of `lost` ones SES's answer was lost a moment ago; `refused` ones SES refused at last for their
    identity or its account. `missing` ids are of nothing.
    """

    relay: str | None = None
    ids: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    recipients: int = 0
    leased: int = 0
    lost: int = 0
    refused: int = 0
    missing: tuple[str, ...] = ()

    @property
    def hand(self) -> str:
        """What leased parcels are."""
        return INTERRUPTED if self.relay is None else IN_HAND

    def add(self, action: Action, parcel: Spooled, now: float) -> None:
        """Count a parcel, once."""
        is_leased = action is Action.RETRY and parcel.leased and parcel.state is not State.HELD
        kind = self.hand if is_leased else parcel.state
        if kind in LEFT[action]:
            self.left[kind] += 1
            self.waiting |= {parcel.id: None} if kind == IN_HAND else {}
        elif parcel.id not in self.ids:
            self.ids[parcel.id] = None
            self.states[kind] += 1
            self.recipients += len(parcel.part.recipients)
            self.leased += parcel.leased
            self.lost += _is_lately_lost(parcel, now)
            self.refused += parcel.part.last is not None and parcel.part.last.cause in CONFIGURATION

    def __str__(self) -> str:
        states = ", ".join(f"{number} {state}" for state, number in self.states.items())
        return f"{counted(len(self.ids), 'parcel')} to {counted(self.recipients, 'recipient')}: {states}"


async def surveyed(spool: Spool, query: Query, action: Action, relay: str | None) -> Survey:
    """Look at all parcels of a query, changing nothing; `relay` is the process that has the spool, if one runs."""
    survey, known, now = Survey(relay), set[str](), time.time()
    async for page in pages(spool, query):
        for parcel in page:
            survey.add(action, parcel, now)
        if query.ids:
            known.update(name for parcel in page for name in (parcel.id, parcel.mail))
    survey.missing = tuple(one for one in query.ids if one not in known)
    return survey


def _is_lately_lost(parcel: Spooled, now: float) -> bool:
    """Whether SES may have it without our knowing, and it is too early to send it once more."""
    part = parcel.part
    return part.lost > 0 and part.last is not None and part.last.at + LOST_APART_S > now
