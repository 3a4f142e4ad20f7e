"""A whole examination: looks at what a configuration needs, sends if it is ordered to, and can be broken off.

Guarantees that what has been found so far can be had at any time, in the order of the plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.doctor.findings import Finding
from relay.doctor.looking import Looking
from relay.doctor.plan import plan_of
from relay.doctor.proof import Order, prove
from relay.doctor.tools import tools_for
from relay.model import Identity
from relay.settings.model import Settings


class Examination:
    """Of these identities of the settings; `everything` adds credentials that none of them uses.

    `progress` hears how many of how many things are done, at first and after each.
    """

    def __init__(
        self,
        settings: Settings,
        identities: Sequence[Identity],
        order: Order | None,
        *,
        everything: bool,
        progress: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> None:
        self._settings, self._identities, self._order = settings, identities, order
        self._plan = plan_of(settings, identities, everything=everything)
        self._progress, self._done = progress, 0
        self._looking: Looking | None = None
        self._proofs: dict[str, Finding] = {}

    @property
    def found(self) -> list[Finding]:
        """The findings until now."""
        looked = self._looking.found if self._looking else []
        return looked + [self._proofs[one.name] for one in self._identities if one.name in self._proofs]

    async def run(self) -> list[Finding]:
        """Do it all."""
        self._progress(0, self._size)
        tools = await asyncio.to_thread(tools_for, self._settings)
        try:
            self._looking = Looking(
                self._settings, self._plan, tools, proving=self._order is not None, looked=self._one_more
            )
            await self._looking.look()
            if self._order is not None:
                callers = self._looking.callers
                await prove(self._settings, self._identities, self._order, callers, tools, self._proved)
        finally:
            await tools.close()
        return self.found

    @property
    def _size(self) -> int:
        return self._plan.size + (len(self._identities) if self._order else 0)

    def _one_more(self) -> None:
        self._done += 1
        self._progress(self._done, self._size)

    def _proved(self, name: str, finding: Finding) -> None:
        self._proofs[name] = finding
        self._one_more()
