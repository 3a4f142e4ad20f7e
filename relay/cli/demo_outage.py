"""The demo's second act: SES goes down, the applications notice nothing, SES comes back, the queue drains."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from relay.cli.demo_scene import Mail, outage_mails
from relay.simulator import Fault, Simulator

PATIENCE_S: Final = 30.0
_DOWN: Final = Fault(action="error")


@dataclass(frozen=True, slots=True)
class Outage:
    """What the applications heard while SES was down, and what SES had when it was back.

    `arrived` counts the messages by their subjects; `seconds` passed until the last of them was there.
    """

    answers: tuple[str, ...]
    taken_meanwhile: int
    arrived: dict[str, int]
    seconds: float

    @property
    def is_well(self) -> bool:
        """Each application heard 250 while SES took nothing, and SES got each message once."""
        heard = all(answer.startswith("250 2.0.0 Ok queued as ") for answer in self.answers)
        return heard and not self.taken_meanwhile and sorted(self.arrived.values()) == [1] * len(self.answers)


async def play(ses: Simulator, send: Callable[[Mail], str]) -> Outage:
    """Take SES down, let applications send, bring SES back, and wait for the queue."""
    mails, before = outage_mails(), ses.total
    ses.faults.add(_DOWN)
    answers = await asyncio.gather(*(asyncio.to_thread(send, mail) for mail in mails))
    taken = ses.total - before
    ses.faults.clear()
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):  # then `is_well` says no
        await ses.wait_for(before + len(mails), PATIENCE_S)
    subjects = Counter(dict(one.headers)["Subject"] for one in ses.received[before:])
    return Outage(tuple(answers), taken, dict(subjects), time.monotonic() - began)


def table(outage: Outage) -> Table:
    """What happened, in three rows."""
    shown = Table(title="An outage: SES goes down and comes back", title_justify="left", show_header=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    shown.add_row("SES is down", f"{len(outage.answers)} applications send; SES takes {outage.taken_meanwhile} of it")
    shown.add_row("relay", "\n".join(outage.answers))
    arrived = f"after {outage.seconds:.1f} s all {len(outage.arrived)} messages are there, each once"
    shown.add_row("SES is back", arrived if outage.is_well else f"not as it should be: {dict(outage.arrived)}")
    return shown
