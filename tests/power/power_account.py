"""What a campaign of power cuts is to do, and what came of it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

from conservation import Balance, Evidence, balance
from power_guest import Sabotage
from stage import CALLS_AT_ONCE

_LOST: Final = ("acknowledged and lost", "damaged")
_OF_THE_SPOOL: Final = ("queued", "held", "dead", "bounced", "damaged")


@dataclass(frozen=True, slots=True)
class Plan:
    """One campaign. It has to lose mail if it is sabotaged or its disk lies, else it must not."""

    name: str
    cuts: int
    sabotage: tuple[Sabotage, ...] = ()
    lies: bool = False

    @property
    def loses(self) -> bool:
        """Whether it must."""
        return bool(self.sabotage) or self.lies


@dataclass(slots=True)
class Account:
    """What came of it. `notes`: what was seen outside the guest; `lost`: recipients whose mail was gone, by report.

    `sectors`: what the disk forgot at each cut, the one that ends the campaign included. `trouble`: what else should
    not be. `drained_s`: how many seconds it took in the end until nothing waited, None when that never came.
    """

    plan: Plan
    notes: Evidence = field(default_factory=Evidence)
    lost: list[int] = field(default_factory=list)
    sectors: list[int] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    drained_s: float | None = None
    _known: set[str] = field(default_factory=set)
    balance: Balance = field(default_factory=lambda: balance(Evidence()))

    def draw_up(self, report: dict[str, Any]) -> str:
        """After a cut, from what the guest found in the spool; a line about it."""
        if "trouble" in report:
            self.trouble.append(f"the spool could not be read: {report['trouble']}")
        self.notes.in_flight.update(report.get("in_flight", {}))
        self.notes.calls_at_kills = CALLS_AT_ONCE * len(self.sectors)
        found = {name: getattr(self.notes, name) + Counter(report.get(name, {})) for name in _OF_THE_SPOOL}
        self.balance = balance(replace(self.notes, **found))
        lost = {address for rule in _LOST for address in self.balance.broken.get(rule, ())} & self.notes.acknowledged
        self.lost.append(len(lost - self._known))
        self._known |= lost
        figures = self.balance.figures
        told = ", ".join(f"{figures[name]} {name}" for name in ("acknowledged", "delivered", "queued"))
        return f"cut {len(self.sectors)}: {told}, {self.lost[-1]} lost; the disk forgot {self.sectors[-1]} sectors"

    @property
    def holds(self) -> bool:
        """Whether all is as it must be."""
        if self.plan.loses:
            return any(self.lost)
        kept = self.balance.holds and not any(self.lost) and not self.trouble
        return kept and len(self.sectors) > self.plan.cuts and self.drained_s is not None

    def lines(self) -> list[str]:
        """For people."""
        cuts = min(len(self.sectors), self.plan.cuts)
        told = [
            f"{self.plan.name}: {cuts} power cuts; acknowledged mail was lost after {sum(map(bool, self.lost))}",
            f"  its recipients {sum(self.lost)}, all of an unreadable spool included; trouble {len(self.trouble)}",
            f"  sectors that the disk forgot {sum(self.sectors)}",
        ]
        troubles = [f"  {trouble}" for trouble in self.trouble]
        if self.plan.loses:
            return [*told, "  as it must"] if self.holds else [*told, *troubles, "  BROKEN: it has to lose mail"]
        if self.drained_s is not None:
            told.append(f"  after the last boot all was delivered, or told as failed, in {self.drained_s:.0f} s")
        told += [*self.balance.lines(), *troubles]
        return told if self.holds else [*told, "  BROKEN: it has to keep all mail, and to come up after each cut"]
