"""`ses-relay queue retry|hold|release|drop`: what an operator does to parcels, by their ids or by a filter.

Guarantees that what is done is what was counted and confirmed: parcels that come to match later are left alone, and so
are those that no longer do. Whatever goes by a filter asks first, and so does dropping more than one; where nobody can
be asked, nothing is done without --yes. Works in steps, each of which is done as a whole, so that a long queue stops
no relay.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from relay.cli.config_option import config_option
from relay.cli.queue_filters import filter_options, filtered, query_of
from relay.cli.queue_report import IN_HAND
from relay.cli.spool_access import PAGE, ask, pages, relay_of, spool_of, words
from relay.cli.wording import counted, printable
from relay.spool.interface import Action, Query, Spool, Spooled, State
from relay.spool.opening import Opening
from relay.spool.trouble import SpoolTrouble

_DONE: Final = {
    Action.RETRY: "due now",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.DROP: "dropped",
}
# What an action leaves as it is, and why. What is left since it is so already is no failure.
_LEFT: Final[Mapping[Action, Mapping[str, str]]] = {
    Action.RETRY: {
        State.HELD: "held: release them first",
        IN_HAND: "in hand: an attempt is under way, or begins when the relay starts",
    },
    Action.HOLD: {State.HELD: "held already", State.DEAD: "dead: they are not tried any more"},
    Action.RELEASE: {State.QUEUED: "not held", State.DEAD: "dead: retry revives them"},
    Action.DROP: {},
}
_REFUSED: Final[frozenset[tuple[Action, str]]] = frozenset(
    {(Action.RETRY, State.HELD), (Action.HOLD, State.DEAD), (Action.RELEASE, State.DEAD)}
)
_OF_ATTEMPTS: Final = {
    Action.HOLD: "this attempt goes on, no other follows",
    Action.DROP: "SES may take it yet",
}


@dataclass(slots=True)
class Survey:
    """What an action would be done to, before it is done.

    `ids` are of parcels. `states` counts those, `left` the ones that it would leave alone, by why. `in_hand` ones are
    being delivered at this moment. `missing` ids are of nothing.
    """

    ids: dict[str, None] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    recipients: int = 0
    in_hand: int = 0
    missing: tuple[str, ...] = ()

    def add(self, action: Action, parcel: Spooled) -> None:
        """Count a parcel, once."""
        kind = IN_HAND if action is Action.RETRY and parcel.leased and parcel.state is not State.HELD else parcel.state
        if kind in _LEFT[action]:
            self.left[kind] += 1
        elif parcel.id not in self.ids:
            self.ids[parcel.id] = None
            self.states[kind] += 1
            self.recipients += len(parcel.part.recipients)
            self.in_hand += parcel.leased

    def __str__(self) -> str:
        states = ", ".join(f"{number} {state}" for state, number in self.states.items())
        return f"{counted(len(self.ids), 'parcel')} to {counted(self.recipients, 'recipient')}: {states}"


@dataclass(frozen=True, slots=True)
class Result:
    """What has been done: to how many, and what stopped it, if anything did."""

    done: int
    trouble: SpoolTrouble | None = None


def _acting(action: Action, words: str) -> click.Command:
    """The command of an action."""

    @click.command(str(action), help=words)
    @config_option
    @click.argument("identifiers", nargs=-1, metavar="[ID]...")
    @filter_options
    @click.option("--all", "every", is_flag=True, help="All there are.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def command(config: Path, identifiers: tuple[str, ...], **options: Any) -> None:
        by_filter = filtered(options) or options["every"]
        if bool(identifiers) == by_filter:
            raise click.UsageError("say which: by IDs, or by filters (--all: all there are)")
        query = query_of(options, time.time()) if by_filter else Query(ids=tuple(dict.fromkeys(identifiers)))
        _run(action, spool_of(config), query, options)

    return command


retry = _acting(
    Action.RETRY,
    """Try parcels at once; dead ones begin anew.

    Dead ones have a whole lifetime before them again. A running relay takes them up within seconds, as fast as its
    pace allows; without one they are tried when it starts. Held ones stay held.
    """,
)
hold = _acting(
    Action.HOLD,
    """Keep queued parcels back.

    They wait until they are released. An attempt that is under way goes on; there is no other. Their lifetime goes on
    meanwhile.
    """,
)
release = _acting(Action.RELEASE, """Let held parcels go on, at once.""")
drop = _acting(
    Action.DROP,
    """Remove parcels for good.

    Whatever their state, and nobody is told. Export what may yet be needed.
    """,
)


def _run(action: Action, opening: Opening, query: Query, options: dict[str, Any]) -> None:
    survey = ask(opening, lambda spool: surveyed(spool, query, action))
    if survey.ids and not options["yes"] and (not query.ids or (action is Action.DROP and len(survey.ids) > 1)):
        _confirm(action, survey)
    result = ask(opening, lambda spool: carried_out(spool, query, action, survey.ids)) if survey.ids else Result(0)
    relay = relay_of(opening) if action in (Action.RETRY, Action.RELEASE) else None
    if options["as_json"]:
        click.echo(json.dumps(_facts(action, survey, result), indent=2))
    else:
        click.echo("\n".join(_told(action, survey, result, relay)))
    for identifier in survey.missing:
        click.echo(f"there is no {printable(identifier)} in the queue", err=True)
    if result.trouble is not None:
        raise click.ClickException(words(opening.path, result.trouble))
    refused = any((action, kind) in _REFUSED for kind in survey.left)
    sys.exit(1 if survey.missing or (query.ids and refused) else 0)


async def surveyed(spool: Spool, query: Query, action: Action) -> Survey:
    """Look at all parcels of a query, changing nothing."""
    survey, known = Survey(), set[str]()
    async for page in pages(spool, query):
        for parcel in page:
            survey.add(action, parcel)
        if query.ids:
            known.update(name for parcel in page for name in (parcel.id, parcel.mail))
    survey.missing = tuple(one for one in query.ids if one not in known)
    return survey


async def carried_out(spool: Spool, query: Query, action: Action, ids: Iterable[str]) -> Result:
    """Act on these parcels, as far as they still meet the query; ends early when the spool fails."""
    whole, done, now = tuple(ids), 0, time.time()
    for start in range(0, len(whole), PAGE):
        step = whole[start : start + PAGE]
        try:
            done += await spool.alter(replace(query, ids=step, after=0, limit=len(step)), action, now)
        except SpoolTrouble as trouble:
            return Result(done, trouble)
    return Result(done)


def _confirm(action: Action, survey: Survey) -> None:
    """Ask; ends the command when the answer is no, or nobody is there to give one."""
    click.echo(survey, err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to confirm that: nothing was done; --yes does it without asking")
    if not click.confirm(f"{action} {'it' if len(survey.ids) == 1 else 'them'}?", err=True):
        click.echo("nothing was done", err=True)
        sys.exit(1)


def _told(action: Action, survey: Survey, result: Result, relay: str | None) -> Iterator[str]:
    if not survey.ids and not survey.left:
        yield "nothing was done" if survey.missing else "nothing matches"
        return
    yield f"{counted(result.done, 'parcel')} {_DONE[action]}"
    if result.done and action in (Action.RETRY, Action.RELEASE):
        yield f"the relay (process {relay}) takes them up within seconds" if relay else "no relay is running: start it"
        if relay:
            yield "(what SES has refused several times in a row: with its next probe, or after a reload)"
    if survey.in_hand and action in _OF_ATTEMPTS:
        yield f"{survey.in_hand} of them in hand: {_OF_ATTEMPTS[action]}"
    for kind, number in survey.left.items():
        yield f"{counted(number, 'parcel')} left alone, {_LEFT[action][kind]}"
    if changed := len(survey.ids) - result.done:
        yield f"{counted(changed, 'parcel')} left as {'it was' if changed == 1 else 'they were'}" + (
            "" if result.trouble else ": changed meanwhile"
        )


def _facts(action: Action, survey: Survey, result: Result) -> dict[str, Any]:
    """The same for programs."""
    return {
        "action": action, "done": result.done, "left_alone": dict(survey.left), "in_hand": survey.in_hand,
        "changed_meanwhile": len(survey.ids) - result.done, "missing": survey.missing,
    }  # fmt: skip
