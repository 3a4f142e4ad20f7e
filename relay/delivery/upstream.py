"""Whether SES is up in each region that the configuration uses, for whoever asks: probes of readiness, and metrics.

Owns what is known of the regions. Guarantees that mail's own news come first; that a region without any is probed by
a connection only, and only because somebody asked, one probe at a time, whose result counts `KEPT_S`; that a probe
ends in its time and holds up nothing but the request that waits for it; that after a reload the regions are the new
configuration's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Final, Protocol

from relay.model import Identity, TransportName
from relay.observe.log import Journal
from relay.policy.reachability import News, is_up, works

KEPT_S: Final = 30.0
TIMEOUT_S: Final = 5.0  # for all connections of one probe


class Unreachable(Exception):
    """No connection is to be had; the text says why, for the log."""


class Reach(Protocol):
    """Makes a connection to SES and ends it."""

    async def __call__(self, region: str, transport: TransportName, timeout_s: float) -> None:
        """Connect within so many seconds. Raises Unreachable."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A way that mail may go."""

    region: str
    transport: TransportName
    credentials: str


def routes_of(identities: Iterable[Identity]) -> list[Route]:
    """The ways that mail of these identities goes."""
    return sorted({Route(identity.region, identity.transport, identity.credentials) for identity in identities})


@dataclass(eq=False, slots=True)
class _Region:
    """A region in use; `up` is what was known last, None before anything was."""

    routes: Sequence[Route]
    up: bool | None = None
    probed_at: float = -inf
    probe: asyncio.Task[None] | None = None


class Upstream:
    """One per relay; uses nothing before somebody asks.

    Args:
        journal: hears when a probe finds another state than what was known.
        now: seconds.
        news: what mail has met in a region, by a transport, with credentials of a name.
    """

    def __init__(
        self, journal: Journal, now: Callable[[], float], news: Callable[[str, TransportName, str], News]
    ) -> None:
        self._journal, self._now, self._news = journal, now, news
        self._regions: dict[str, _Region] = {}
        self._reach: Reach | None = None
        self._probes: set[asyncio.Task[None]] = set()

    def change(self, routes: Iterable[Route], reach: Reach) -> None:
        """Hold to these routes, and probe with `reach`. What was known of a region stays known till it is looked at."""
        known = {name: region.up for name, region in self._regions.items()}
        ways = groupby(sorted(routes), key=lambda route: route.region)
        self._regions = {name: _Region(tuple(here), known.get(name)) for name, here in ways}
        self._reach = reach
        self._stop()

    async def ask(self) -> dict[str, bool]:
        """For each region in use whether SES is up; waits for probes where that takes one."""
        while probes := self._look():  # ends, since what was probed is known for `KEPT_S`
            await asyncio.wait(probes)
        return {name: region.up is True for name, region in self._regions.items()}

    def glance(self) -> dict[str, bool]:
        """What is known at this moment; where that is old, it will be known better next time."""
        self._look()
        return {name: region.up for name, region in self._regions.items() if region.up is not None}

    async def close(self) -> None:
        """Probe no more."""
        self._reach = None
        self._stop()
        await asyncio.gather(*self._probes, return_exceptions=True)

    def _stop(self) -> None:
        for probe in self._probes:
            probe.cancel()

    def _look(self) -> list[asyncio.Task[None]]:
        """Take in what mail has met, and see to the idle regions; the probes that will tell more."""
        return [probe for name, region in self._regions.items() if (probe := self._look_at(name, region)) is not None]

    def _of(self, route: Route) -> News:
        return self._news(route.region, route.transport, route.credentials)

    def _met(self, region: _Region, now: float) -> bool | None:
        return is_up(map(self._of, region.routes), now)

    def _look_at(self, name: str, region: _Region) -> asyncio.Task[None] | None:
        now = self._now()
        met = self._met(region, now)
        if met is not None:
            region.up = met
            return None
        if region.probe is not None and not region.probe.done():
            return region.probe
        if self._reach is None or now - region.probed_at < KEPT_S:
            return None
        region.probe = asyncio.create_task(self._probe(name, region, self._reach))
        self._probes.add(region.probe)
        region.probe.add_done_callback(self._probes.discard)
        return region.probe

    async def _probe(self, name: str, region: _Region, reach: Reach) -> None:
        try:
            why_not = await self._try(name, self._idle(region), reach)
        finally:
            region.probed_at = self._now()
        self._conclude(name, region, why_not)

    def _idle(self, region: _Region) -> list[TransportName]:
        """The transports of which mail says nothing, each once."""
        now = self._now()
        return sorted({route.transport for route in region.routes if works(self._of(route), now) is None})

    async def _try(self, name: str, transports: Sequence[TransportName], reach: Reach) -> str:
        """Connect in one way after the other; why none works, "" when one does."""
        reasons = []
        for transport in transports:
            try:
                await reach(name, transport, TIMEOUT_S / len(transports))
            except Unreachable as reason:
                reasons.append(f"{transport}: {reason}")
            except Exception as error:  # noqa: BLE001 - nobody else would hear of it
                self._journal.internal_error("upstream", error)
                reasons.append(f"{transport}: {type(error).__name__}")
            else:
                return ""
        return "; ".join(reasons)

    def _conclude(self, name: str, region: _Region, why_not: str) -> None:
        if self._met(region, self._now()) is not None:
            return  # mail has been quicker
        before, region.up = region.up, not why_not
        if why_not and before is not False:
            self._journal.unreachable(name, why_not)
        elif before is False and not why_not:
            self._journal.reachable(name)
