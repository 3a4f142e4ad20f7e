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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import click

from relay.cli.config_option import config_option
from relay.cli.queue_filters import filter_options, filtered, query_of
from relay.cli.queue_report import IN_HAND, INTERRUPTED
from relay.cli.queue_survey import LEFT, Survey, surveyed
from relay.cli.spool_access import PAGE, ask, no_such, relay_of, spool_of, words
from relay.cli.wording import counted
from relay.policy.retrying import LOST_APART_S
from relay.spool.interface import Action, Query, Spool, State
from relay.spool.opening import Opening
from relay.spool.trouble import SpoolTrouble

_DONE: Final = {
    Action.RETRY: "due now",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.DROP: "dropped",
}
_WHICH: Final = (
    "Name parcels or mails by their IDs, or choose by filters, of which each must be met: then they are counted, and "
    "you are asked."
)
_REFUSED: Final[frozenset[tuple[Action, str]]] = frozenset(
    {(Action.RETRY, State.HELD), (Action.HOLD, State.DEAD), (Action.RELEASE, State.DEAD)}
)
# What is to be said of parcels that are worked on, or were when the relay ended.
_OF_ATTEMPTS: Final = {
    (Action.HOLD, IN_HAND): "in hand: an attempt that is under way goes on, no other follows",
    (Action.HOLD, INTERRUPTED): "in hand when the relay ended: may have been delivered, no attempt is under way",
    (Action.DROP, IN_HAND): "in hand: may be delivered all the same",
    (Action.DROP, INTERRUPTED): "in hand when the relay ended: may have been delivered",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What has been done: to how many, and what stopped it, if anything did."""

    done: int
    trouble: SpoolTrouble | None = None


def _acting(action: Action, words: str) -> click.Command:
    """The command of an action."""

    @click.command(str(action), help=f"{cleandoc(words)}\n\n{_WHICH}")
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
    pace allows; without one they are tried when it starts. Held ones stay held. Where the answer of SES was lost, ten
    minutes pass between two tries. Where SES refuses the identity, one message asks at once, for all.
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
    relay = relay_of(opening)
    survey = ask(opening, lambda spool: surveyed(spool, query, action, relay))
    if survey.ids and not options["yes"] and (not query.ids or (action is Action.DROP and len(survey.ids) > 1)):
        _confirm(action, survey)
    ids = [*survey.ids, *survey.waiting]
    result = ask(opening, lambda spool: carried_out(spool, query, action, ids)) if ids else Result(0)
    if options["as_json"]:
        click.echo(json.dumps(_facts(action, survey, result), indent=2))
    else:
        click.echo("\n".join(_told(action, survey, result)))
    for identifier in survey.missing:
        click.echo(no_such(identifier), err=True)
    if result.trouble is not None:
        raise click.ClickException(words(opening.path, result.trouble))
    refused = any((action, kind) in _REFUSED for kind in survey.left)
    sys.exit(1 if survey.missing or (query.ids and refused) else 0)


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


def _told(action: Action, survey: Survey, result: Result) -> Iterator[str]:
    if not survey.ids and not survey.left:
        yield "nothing was done" if survey.missing else "nothing matches"
        return
    yield f"{counted(result.done, 'parcel')} {_DONE[action]}"
    if result.done and action in (Action.RETRY, Action.RELEASE):
        yield from _what_follows(survey)
    if survey.leased and (action, survey.hand) in _OF_ATTEMPTS:
        yield f"{survey.leased} of them {_OF_ATTEMPTS[action, survey.hand]}"
    for kind, number in survey.left.items():
        yield f"{counted(number, 'parcel')} left alone, {LEFT[action][kind]}"
    if (changed := len(survey.ids) - result.done) > 0:
        yield f"{counted(changed, 'parcel')} left as {'it was' if changed == 1 else 'they were'}" + (
            "" if result.trouble else ": changed meanwhile"
        )


def _what_follows(survey: Survey) -> Iterator[str]:
    """When parcels that are due are tried."""
    relay = survey.relay
    yield f"the relay (process {relay}) takes them up within seconds" if relay else "no relay is running: start it"
    if survey.lost:
        yield (
            f"but {survey.lost} of them not before {LOST_APART_S / 60:.0f} minutes have passed since the last try: "
            "the answer of SES was lost, and it may have been yes"
        )
    if survey.refused and relay:
        yield (
            f"{survey.refused} of them refused by SES for the identity or the account: "
            "one asks at once, the others follow when it gets through"
        )


def _facts(action: Action, survey: Survey, result: Result) -> dict[str, Any]:
    """The same for programs."""
    goes_on = action in (Action.RETRY, Action.RELEASE)
    return {
        "action": action, "done": result.done, "left_alone": dict(survey.left), "relay": survey.relay,
        "in_hand": survey.leased if survey.relay else 0, "interrupted": 0 if survey.relay else survey.leased,
        "answer_lost": survey.lost if goes_on else 0, "refused_as_identity": survey.refused if goes_on else 0,
        "changed_meanwhile": max(len(survey.ids) - result.done, 0), "missing": survey.missing,
    }  # fmt: skip
