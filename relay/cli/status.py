"""`ses-relay status`: how the relay is, for a person: does it run, would it take mail, what waits, is there room.

Asks the running relay by its admin endpoint, and looks into its spool, whether it runs or not. Exit status 0 when all
is well; 1 when it does not run, would not take mail now, or its spool does not work; 2 when the configuration is bad.
What SES does, what died, and what damage has left beside a spool that was mended is shown, and is no reason for 1: it
has not kept mail from being taken, and it will not.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from relay.cli import remains
from relay.cli.config_option import config_option
from relay.cli.health import Health, probe, probe_upstream
from relay.cli.queue_report import refusals, tally_facts
from relay.cli.remains import Remains, remains_of
from relay.cli.spool_access import ask, opening_of, relay_of, settings_of
from relay.cli.wording import printable, size, span
from relay.settings.model import Settings
from relay.spool.interface import Query, Spool, State, Tally
from relay.spool.opening import Opening


@dataclass(frozen=True, slots=True)
class Running:
    """What the relay says of itself; `process` is that of whoever uses the spool. `ready` is None: nobody to ask."""

    process: str | None
    alive: bool
    ready: Health | None = None
    upstream: str = ""

    @property
    def well(self) -> bool:
        """Whether it runs and, as far as it can be asked, would take mail."""
        return self.alive and (self.ready is None or self.ready.ready)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in the spool and beside it, and the room on its disk in bytes; `trouble` says what is wrong with it."""

    path: Path
    needed: int
    beside: tuple[Remains, ...] = ()
    tallies: tuple[Tally, ...] = ()
    free: int | None = None
    trouble: str | None = None


@click.command("status")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path, *, as_json: bool) -> None:
    """Sum up how the relay is: whether it runs and takes mail, what waits for which identity, and the room on disk.

    Exit status 1 when it does not run, takes no mail now, or its spool does not work.
    """
    settings = settings_of(config)
    opening = opening_of(settings)
    if opening is None and settings.admin is None:
        raise click.UsageError("admin is off and there is no spool in this configuration: there is nobody to ask")
    waiting = None if opening is None else _waiting(opening)
    running = _running(settings, opening)
    well = running.well and (waiting is None or waiting.trouble is None)
    if as_json:
        click.echo(json.dumps({"well": well} | _facts(running, waiting), indent=2))
    else:
        click.echo("\n".join(f"{name:<10}{printable(text)}" for name, text in _lines(running, waiting)))
    sys.exit(0 if well else 1)


def _process(opening: Opening | None) -> str | None:
    """The process that uses the spool; what is wrong with the spool itself is told elsewhere."""
    with contextlib.suppress(click.ClickException):
        return None if opening is None else relay_of(opening)
    return None


def _running(settings: Settings, opening: Opening | None) -> Running:
    process = _process(opening)
    if settings.admin is None:
        return Running(process, alive=process is not None)
    bind = settings.admin.bind
    alive = probe(bind, "/healthz")
    if not alive.ready:
        return Running(process, alive=False, ready=alive)
    return Running(process, alive=True, ready=probe(bind, "/readyz"), upstream=probe_upstream(bind).text)


def _waiting(opening: Opening) -> Waiting:
    """Look into the spool; what goes wrong is part of the answer."""

    async def look(spool: Spool) -> tuple[tuple[Tally, ...], int, str | None]:
        return await spool.tally(Query()), shutil.disk_usage(opening.path.parent).free, spool.standing.trouble

    found = opening.path, opening.min_free_bytes, _beside(opening.path)
    try:
        return Waiting(*found, *ask(opening, look))
    except click.ClickException as error:
        return Waiting(*found, trouble=error.message)


def _beside(spool: Path) -> tuple[Remains, ...]:
    with contextlib.suppress(OSError):
        return remains_of(spool)
    return ()


def _lines(running: Running, waiting: Waiting | None) -> Iterator[tuple[str, str]]:
    yield "relay", _relay(running)
    if running.well and running.upstream:
        yield "SES", ", ".join(running.upstream.splitlines())
    if waiting is None:
        yield "queue", "none: the configuration has no spool"
        return
    if waiting.free is not None:
        yield from _queue(waiting.tallies, time.time())
        yield "disk", f"{size(waiting.free)} free, {size(waiting.needed)} needed"
    yield "spool", str(waiting.path) if waiting.trouble is None else waiting.trouble
    if waiting.beside:
        yield "beside", remains.told(waiting.beside)


def _relay(running: Running) -> str:
    process = f" (process {running.process})" if running.process else ""
    if not running.alive:
        answer = f": {running.ready.text}" if running.ready else ""
        return f"runs{process}, but does not answer{answer}" if process else f"does not run{answer}"
    if running.ready is None:
        return f"runs{process}; admin is off, so that it cannot be asked whether it takes mail"
    return f"takes mail{process}" if running.ready.ready else f"takes no mail{process}: {running.ready.text}"


def _queue(tallies: Sequence[Tally], now: float) -> Iterator[tuple[str, str]]:
    """All parcels, then those of each identity."""
    yield "queue", _states(tallies, now) or "empty"
    for lane in dict.fromkeys(one.lane for one in tallies):
        yield "", f"{lane or '-'}: {_states([one for one in tallies if one.lane == lane], now)}"
    yield from (("", line) for line in refusals(tallies))
    if any(one.state is State.DEAD for one in tallies):
        yield "", "dead letters: ses-relay queue list --state dead"


def _states(tallies: Sequence[Tally], now: float) -> str:
    texts = []
    for state in State:
        some = [one for one in tallies if one.state is state]
        if some:
            oldest = span(now - min(one.oldest for one in some))
            texts.append(f"{sum(one.parcels for one in some)} {state} (the oldest {oldest} old)")
    return ", ".join(texts)


def _facts(running: Running, waiting: Waiting | None) -> dict[str, Any]:
    """The same for programs."""
    ready = running.ready
    spool = waiting and {
        "path": str(waiting.path), "trouble": waiting.trouble, "free_bytes": waiting.free,
        "min_free_bytes": waiting.needed,
        "parcels": {state: sum(one.parcels for one in waiting.tallies if one.state is state) for state in State},
        "identities": tally_facts(waiting.tallies), "beside": remains.facts(waiting.beside),
    }  # fmt: skip
    return {
        "relay": {
            "process": running.process, "alive": running.alive, "ready": ready and ready.ready,
            "text": ready and ready.text, "upstream": running.upstream.splitlines() if running.well else [],
        },
        "spool": spool,
    }  # fmt: skip
