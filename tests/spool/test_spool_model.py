"""The spool against a simple model: whatever is done in whatever order, both have the same parcels."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from spool_parts import BORDER, EVERYTHING, NEVER, contents, mail, posting

from relay.spool.interface import Action, Lane, Part, Query, Spooled, State
from relay.spool.opening import Opening
from relay.spool.schema import damage
from relay.spool.sqlite import SqliteSpool, open_spool

T = TypeVar("T")

LANES = st.sampled_from(["", "a", "b"])
DUES = st.integers(0, 100).map(float)
PEOPLE = tuple(f"r{number}@customer.example" for number in range(4))
CUTS = st.integers(1, len(PEOPLE))


@dataclass
class Kept:
    """What the model knows of one parcel; `lease` is the claim that it is leased to, None when it is nobody's."""

    part: Part
    mail: str
    state: State = State.QUEUED
    lease: Spooled | None = None


class Machine(RuleBasedStateMachine):
    """One spool, one model."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.loop = asyncio.new_event_loop()
        self.kept: dict[str, Kept] = {}
        self.made: dict[str, int] = {}
        self.large: set[str] = set()
        self.retried: dict[str, float] = {}
        self.spool = self.open()

    def open(self) -> SqliteSpool:
        return open_spool(Opening(self.folder / "spool.db", border_bytes=BORDER, longest_wait_s=1e6), 0.0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.spool.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(cut=CUTS, due=DUES, lane=LANES, size=st.sampled_from([0, 10, BORDER, BORDER + 1]))
    def put(self, cut: int, due: float, lane: str, size: int) -> None:
        one = mail(b"x" * size, *PEOPLE)
        parts = [Part(people, due, lane) for people in (PEOPLE[:cut], PEOPLE[cut:]) if people]
        self.run(self.spool.put(posting(one, *parts)))
        self.made[one.id] = len(parts)
        self.large |= {one.id} if size > BORDER else set()
        self.kept |= {f"{one.id}.{number}": Kept(part, one.id) for number, part in enumerate(parts, 1)}

    @rule(target=claims, lane=LANES, now=DUES, length=st.integers(1, 50), limit=st.integers(1, 3))
    def claim(self, lane: str, now: float, length: int, limit: int) -> Any:
        """The longest due of the lane, each with a lease that voids the one before."""
        found = self.run(self.spool.claim(lane, now, now + length, limit))
        due = [one for one in self.queued(lane) if one.part.due <= now]
        assert [one.part.due for one in due][:limit] == [self.kept[one.id].part.due for one in found]
        for one in found:
            kept = self.kept[one.id]
            kept.part = replace(kept.part, due=now + length, attempts=kept.part.attempts + 1)
            kept.lease = one
        return multiple(*found)

    @rule(claim=claims, dead=st.booleans())
    def settle(self, claim: Spooled, dead: bool) -> None:
        done = self.run(self.spool.settle(claim, dead=NEVER if dead else None))
        assert done == self.valid(claim)
        if done and dead:
            kept = self.kept[claim.id]
            kept.part, kept.state, kept.lease = replace(kept.part, due=NEVER.at, last=NEVER), State.DEAD, None
        elif done:
            del self.kept[claim.id]

    @rule(claim=claims, due=DUES, lane=LANES, cut=CUTS)
    def reschedule(self, claim: Spooled, due: float, lane: str, cut: int) -> None:
        people = claim.envelope.recipients
        part = replace(claim.part, due=due, lane=lane)
        parts = [replace(part, recipients=some) for some in (people[:cut], people[cut:]) if some]
        done = self.run(self.spool.reschedule(claim, parts))
        assert done == self.valid(claim)
        if done:
            kept = self.kept[claim.id]
            kept.part, kept.lease = parts[0], None
            for other in parts[1:]:
                self.made[claim.mail] += 1
                self.kept[f"{claim.mail}.{self.made[claim.mail]}"] = Kept(other, claim.mail, kept.state)

    @rule(action=st.sampled_from(Action), lane=LANES, now=DUES)
    def alter(self, action: Action, lane: str, now: float) -> None:
        ids = [identifier for identifier, kept in self.kept.items() if kept.part.lane == lane]
        changed = [identifier for identifier in ids if self.altered(identifier, action, now)]
        assert self.run(self.spool.alter(Query(lane=lane), action, now)) == len(changed)
        if action in {Action.RETRY, Action.RELEASE} and self.queued(lane):
            self.retried[lane] = now

    def altered(self, identifier: str, action: Action, now: float) -> bool:
        """Do it to the model; whether it was done."""
        kept = self.kept[identifier]
        if action is Action.DROP:
            del self.kept[identifier]
        elif action is Action.HOLD and kept.state is State.QUEUED:
            kept.state = State.HELD
        elif action is Action.RELEASE and kept.state is State.HELD:
            kept.state = State.QUEUED
            kept.part = kept.part if kept.lease else replace(kept.part, due=now)
        elif action is Action.RETRY and kept.state is not State.HELD and not kept.lease:
            begun = 0 if kept.state is State.DEAD else kept.part.attempts
            kept.part, kept.state = replace(kept.part, due=now, attempts=begun), State.QUEUED
        else:
            return False
        return True

    @rule(before=DUES)
    def forget(self, before: float) -> None:
        old = [one for one, kept in self.kept.items() if kept.state is State.DEAD and kept.part.due < before]
        assert self.run(self.spool.forget(before)) == len(old)
        for identifier in old:
            del self.kept[identifier]

    @rule()
    def restart(self) -> None:
        """Every lease ends; nothing else changes."""
        self.run(self.spool.close())
        self.spool = self.open()
        assert (self.spool.found.rubbish, self.spool.found.missing) == (0, ())
        assert len(contents(self.folder)) == len(self.large & {kept.mail for kept in self.kept.values()})
        self.retried.clear()
        leased = [kept for kept in self.kept.values() if kept.lease]
        assert self.spool.found.leases == len(leased)
        for kept in leased:
            kept.lease, kept.part = None, replace(kept.part, due=0.0)

    @invariant()
    def both_have_the_same(self) -> None:
        found = {one.id: (one.part, one.state) for one in self.run(self.spool.inspect(EVERYTHING))}
        assert found == {identifier: (kept.part, kept.state) for identifier, kept in self.kept.items()}

    @invariant()
    def mails_know_how_many_parcels_they_have(self) -> None:
        """Those that were ever made into several; the others have one, or are gone."""
        connection = self.spool._writer._ledger.connection
        known = dict(connection.execute("SELECT id, parcels_left FROM mails"))
        left = Counter(kept.mail for kept in self.kept.values())
        assert known == {mail: left[mail] if self.made[mail] > 1 else None for mail in left}
        assert damage(connection) is None

    @invariant()
    def the_agenda_is_that_of_the_queued(self) -> None:
        lanes = {kept.part.lane for kept in self.kept.values() if kept.state is State.QUEUED}
        due = tuple(Lane(lane, self.queued(lane)[0].part.due, self.retried.get(lane)) for lane in sorted(lanes))
        assert self.run(self.spool.agenda()) == due

    def queued(self, lane: str) -> list[Kept]:
        """The queued parcels of a lane, the first due first."""
        queued = [kept for kept in self.kept.values() if (kept.state, kept.part.lane) == (State.QUEUED, lane)]
        return sorted(queued, key=lambda one: one.part.due)

    def valid(self, claim: Spooled) -> bool:
        """Whether a claim is still the one that its parcel is leased to."""
        kept = self.kept.get(claim.id)
        return kept is not None and kept.lease is not None and kept.lease.ticket == claim.ticket


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_any_order_of_steps = Machine.TestCase
