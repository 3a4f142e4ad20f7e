"""The `--config` option that commands share, and where the configuration is when nobody says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT = "SES_RELAY_CONFIG"
PLACES = (Path("config/relay.yaml"), Path("/etc/ses-relay/relay.yaml"))


def find_config(given: Path | None, places: Iterable[Path] = PLACES) -> Path:
    """The path given, or else the first of the usual places that exists.

    A path that was given is not looked for: reading it tells best what is wrong with it.

    Raises:
        click.UsageError: None was given, and none of the places exists.
    """
    places = tuple(places)
    found = given or next((place for place in places if place.is_file()), None)
    if found is None:
        looked = " and ".join(map(str, places))
        raise click.UsageError(
            f"there is no configuration: name one by --config or {ENVIRONMENT} (looked for {looked})"
        )
    return found


def _find(_context: click.Context, _option: click.Parameter, value: Path | None) -> Path:
    return find_config(value)


def config_option(command: F) -> F:
    """Give a command the parameter `config`: the path of the configuration."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar=ENVIRONMENT,
        callback=_find,
        help=f"Configuration file.  [env: {ENVIRONMENT}; default: {', then '.join(map(str, PLACES))}]",
    )(command)
