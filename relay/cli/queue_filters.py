"""Which parcels a queue command is about: the options that `list` and the commands that act have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import click

from relay.policy.patterns import check_pattern
from relay.settings.scalars import parse_duration
from relay.spool.interface import Query, State

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _pattern(text: str) -> str:
    return _parsed(check_pattern, text)


def _duration(text: str) -> float:
    return _parsed(partial(parse_duration, positive=True), text)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """What a parser of the configuration makes of a word; its error is the option's."""
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS: Final = (
    click.option(
        "--state", type=click.Choice([str(state) for state in State]), help="To be delivered, held back, or given up."
    ),
    click.option(
        "--sender",
        type=_pattern,
        metavar="PATTERN",
        help='Address, @domain, @.domain (subdomains), "*", or "<>" (none).',
    ),
    click.option("--recipient", type=_pattern, metavar="PATTERN", help="Likewise; parcels that have such a recipient."),
    click.option("--identity", metavar="NAME", help="As which identity they go out, by its name."),
    click.option("--older-than", type=_duration, metavar="DURATION", help="Arrived longer ago: 90, 90s, 5m, 2h, 5d."),
    click.option("--younger-than", type=_duration, metavar="DURATION", help="Arrived since then."),
)
_NAMES: Final = ("state", "sender", "recipient", "identity", "older_than", "younger_than")


def filter_options(command: F) -> F:
    """Give a command the options, as keywords that `query_of` understands."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filtered(options: Mapping[str, Any]) -> bool:
    """Whether any of the options was given."""
    return any(options[name] is not None for name in _NAMES)


def query_of(options: Mapping[str, Any], now: float) -> Query:
    """What the options ask for; ages are counted back from `now`."""
    older, younger = options["older_than"], options["younger_than"]
    return Query(
        state=options["state"] and State(options["state"]),
        lane=options["identity"],
        sender=options["sender"],
        recipient=options["recipient"],
        arrived_before=None if older is None else now - older,
        arrived_since=None if younger is None else now - younger,
    )
