"""`ses-relay queue`: what is in the spool, while the relay runs and while it does not.

Owns the commands that look; those that act are in `queue_actions`, and `export` is in `queue_export`. Exit status 0,
also of an empty queue; 1 when an id is unknown, the spool does not work or a message cannot be read; 2 for usage and
configuration errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from relay.cli import queue_report
from relay.cli.config_option import config_option
from relay.cli.queue_actions import drop, hold, release, retry
from relay.cli.queue_export import export
from relay.cli.queue_filters import filter_options, filtered, query_of
from relay.cli.spool_access import as_found, ask, content_of, no_such, pages, relay_of, spool_of
from relay.cli.wording import printable
from relay.errors import Rejection
from relay.model import Buffer
from relay.policy import fields
from relay.spool.interface import Query, Spool, Spooled, Tally
from relay.spool.opening import Opening

_HEADER_BYTES: Final = 1024 * 1024  # more than any relay takes


class _InOrder(click.Group):
    """Looking before acting, not the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group("queue", cls=_InOrder)
def queue() -> None:
    """Look at the mail that waits, and act on it, while the relay runs or not.

    A mail waits in parcels of up to 50 recipients. An ID is that of a mail, as in "250 2.0.0 Ok queued as ID", or that
    of one parcel of it: ID.1.
    """


@click.command("list")
@config_option
@filter_options
@click.option("--limit", type=click.IntRange(min=0), default=1000, show_default=True, help="The most to show; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_parcels(config: Path, limit: int, *, as_json: bool, **options: Any) -> None:
    """List parcels, the oldest first.

    Of several filters each must be met. TRIES are the attempts that count against a parcel: throttling, outages and
    refused identities do not. NEXT says in how long it is due; "now" waits for its turn, for SES, or for a relay.
    """
    now, opening = time.time(), spool_of(config)
    query, relay = query_of(options, now), relay_of(opening)
    nothing = "nothing matches" if filtered(options) else "the queue is empty"

    async def listed(spool: Spool) -> None:
        tallies, shown = await spool.tally(query), 0
        printer = _Json() if as_json else _Table(now)
        async for page in pages(spool, query, limit):
            printer.page([as_found(parcel, relay, now) for parcel in page], first=not shown)
            shown += len(page)
        printer.end(shown, max(shown, sum(one.parcels for one in tallies)), tallies, nothing)

    ask(opening, listed)


@click.command("show")
@config_option
@click.argument("identifier", metavar="ID")
@click.option("--headers", is_flag=True, help="The header fields of the message, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(config: Path, identifier: str, *, headers: bool, as_json: bool) -> None:
    """Show all about a mail, or about one parcel."""
    opening, now = spool_of(config), time.time()
    relay = relay_of(opening)

    async def looked_up(spool: Spool) -> list[Spooled]:
        found = [parcel async for page in pages(spool, Query(ids=(identifier,))) for parcel in page]
        return [as_found(parcel, relay, now) for parcel in found]

    found = ask(opening, looked_up)
    if not found:
        raise click.ClickException(no_such(identifier))
    lines, complaint = _headers_of(opening, found[0].mail) if headers else (None, None)
    if as_json:
        facts: dict[str, Any] = {"mail": found[0].mail, "parcels": list(map(queue_report.facts, found))}
        click.echo(json.dumps(facts | {"headers": lines} if headers else facts, indent=2))
    else:
        click.echo("\n".join(queue_report.in_full(found, now)))
        if lines is not None:
            click.echo("\n".join(["Headers", *(f"  {printable(line)}" for line in lines)]))
    if complaint is not None:
        raise complaint


class _Table:
    """For people: a page at a time, so that a long queue begins to show at once."""

    def __init__(self, now: float) -> None:
        self._now = now

    def page(self, parcels: Sequence[Spooled], *, first: bool) -> None:
        rows = [queue_report.row(parcel, self._now) for parcel in parcels]
        click.echo("\n".join(queue_report.table(rows, heading=first)))

    def end(self, shown: int, matching: int, tallies: tuple[Tally, ...], nothing: str) -> None:
        if tallies:
            click.echo(("\n" if shown else "") + queue_report.totals(tallies, self._now))
            for line in queue_report.refusals(tallies):
                click.echo(printable(line))
        elif not shown:
            click.echo(nothing)
        if shown < matching:
            click.echo(f"showing {shown} of {matching}; --limit shows more")


class _Json:
    """For programs: one document, whatever its length."""

    def __init__(self) -> None:
        click.echo('{"parcels": [', nl=False)

    def page(self, parcels: Sequence[Spooled], *, first: bool) -> None:
        objects = ",\n".join(json.dumps(queue_report.facts(parcel)) for parcel in parcels)
        click.echo(("\n" if first else ",\n") + objects, nl=False)

    def end(self, shown: int, matching: int, tallies: tuple[Tally, ...], nothing: str) -> None:  # noqa: ARG002 - as above
        totals = json.dumps(queue_report.tally_facts(tallies))
        click.echo(f'\n], "shown": {shown}, "matching": {matching}, "totals": {totals}}}')


def _headers_of(opening: Opening, mail: str) -> tuple[list[str] | None, click.ClickException | None]:
    """The header lines of a mail, or why there are none to be had."""
    try:
        content = ask(opening, lambda spool: content_of(spool, mail))
    except click.ClickException as error:
        return None, error
    return None if content is None else list(_header_lines(content)), None


def _header_lines(content: Buffer) -> Iterator[str]:
    """The lines of the header section; the body is not looked at."""
    try:
        section = fields.read(content, _HEADER_BYTES)
    except Rejection as refused:
        yield f"(they cannot be read: {refused.reply.text})"
        return
    yield from section.raw.decode("utf-8", "replace").removesuffix("\r\n").split("\r\n")


for command in (list_parcels, show, export, retry, hold, release, drop):
    queue.add_command(command)
