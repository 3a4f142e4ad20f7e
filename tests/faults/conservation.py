"""Nothing disappears: what clients were promised, held against what SES has and what the spool still holds.

Pure. The evidence comes from outside the relay: the clients' own notes of what they offered and what was answered, the
record of the simulator, and the spool's file. In these campaigns each recipient of each message has an address of its
own, so that an address is one (message, recipient), and a copy of it is one delivery.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Evidence:
    """Everything that is known about each address.

    `offered`: a client began to send it. `acknowledged`: it heard 250 to the message; `refused`: 5yz; `put_off`: 4yz.
    `delivered`: copies that SES has; of those `unanswered` ones the relay was never told. `in_flight`: how often an
    attempt may have been under way when the relay was killed. `queued`, `held`, `dead`: in the spool at the end.
    `bounced`: failures that the sender was told of, or that wait in the spool to be told. `damaged`: copies whose
    content is not what the client sent, and copies of one message in the name of another.

    In calls to SES instead of addresses: `calls_repeated` brought what SES had already, `calls_unanswered` were taken
    and the relay never told, and at the kills at most `calls_at_kills` can have been under way.
    """

    offered: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    put_off: set[str] = field(default_factory=set)
    delivered: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    queued: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    bounced: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    calls_repeated: int = 0
    calls_unanswered: int = 0
    calls_at_kills: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """The account that is drawn up: figures by name, and the addresses that break each rule."""

    figures: dict[str, int]
    broken: dict[str, tuple[str, ...]]

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return not self.broken

    def lines(self) -> list[str]:
        """For people: a figure each, then what is broken, with some of its addresses."""
        width = max(map(len, self.figures))
        told = [f"  {name.ljust(width)}  {value:>8}" for name, value in self.figures.items()]
        return told + [
            f"  BROKEN: {rule}: {len(found)}: {' '.join(found[:5])}{' ...' if len(found) > 5 else ''}"
            for rule, found in self.broken.items()
        ]


def balance(evidence: Evidence) -> Balance:
    """Draw up the account."""
    broken = {rule: tuple(sorted(found)) for rule, found in _broken(evidence).items() if found}
    if evidence.calls_repeated > evidence.calls_at_kills + evidence.calls_unanswered:
        broken["more calls repeated than were in flight or not answered"] = (f"{evidence.calls_repeated}",)
    return Balance(_figures(evidence), broken)


def _broken(evidence: Evidence) -> dict[str, set[str]]:
    """Each rule, and the addresses that break it."""
    delivered, bounced = set(evidence.delivered), set(evidence.bounced)
    spooled = evidence.queued + evidence.held + evidence.dead
    uncertain = set(evidence.unanswered) | set(evidence.in_flight)
    return {
        "acknowledged and lost": evidence.acknowledged - delivered - bounced - set(spooled),
        "repeated more often than kills and lost answers explain": {
            address for address, copies in evidence.delivered.items() if copies - 1 > _excuses(evidence, address)
        },
        "twice in the spool": {address for address, parcels in spooled.items() if parcels > 1},
        "delivered or kept, though nobody sent it": (delivered | set(spooled)) - evidence.offered,
        "delivered or kept, though the client heard 5yz": evidence.refused & (delivered | set(spooled)),
        "delivered or kept, though the client heard 4yz and will send it again": (
            evidence.put_off & (delivered | set(spooled)) - uncertain
        ),
        "told as failed, though SES said that it was delivered": (bounced & delivered) - uncertain,
        "given up, and nobody told": set(evidence.dead) - bounced,
        "damaged": set(evidence.damaged),
    }


def _excuses(evidence: Evidence, address: str) -> int:
    """How many repeats of it are permitted."""
    return evidence.unanswered[address] + evidence.in_flight[address]


def _figures(evidence: Evidence) -> dict[str, int]:
    return {
        "acknowledged": len(evidence.acknowledged),
        "delivered": len(evidence.delivered),
        "told as bounced": len(evidence.bounced),
        "dead": evidence.dead.total(),
        "queued": evidence.queued.total(),
        "held": evidence.held.total(),
        "refused with 5yz": len(evidence.refused),
        "put off with 4yz": len(evidence.put_off),
        "delivered, never acknowledged": len(set(evidence.delivered) - evidence.acknowledged),
        "repeats": sum(copies - 1 for copies in evidence.delivered.values()),
        "bound: leased at kills": evidence.in_flight.total(),
        "bound: answers lost": evidence.unanswered.total(),
        "calls repeated": evidence.calls_repeated,
        "bound: places for calls at kills": evidence.calls_at_kills,
        "bound: calls not answered": evidence.calls_unanswered,
    }
