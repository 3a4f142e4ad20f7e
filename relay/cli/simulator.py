"""`ses-relay simulator`: a local SES in the foreground, until SIGTERM or SIGINT.

Prints its endpoints and what to tell a relay. It knows the world of a file (`--world`), else the one that a relay's
configuration takes for granted (`--config`), else example.com in two regions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from relay.cli.check import report
from relay.settings.load import load
from relay.settings.problems import ConfigurationError, Problem
from relay.simulator import DELEGATE, Simulator
from relay.simulator.worlds.derived import derive
from relay.simulator.worlds.file import load_world

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("simulator")
@click.option("--world", type=_FILE, help="Know the accounts, policies and identities of this file.")
@click.option("--check-world", is_flag=True, help="Only say what is wrong with that file.")
@click.option("--config", type=_FILE, help="Know what this relay's configuration takes for granted.")
@click.option("--identity", "identities", multiple=True, metavar="ARN", help="Know this identity; may be repeated.")
@click.option("--region", "regions", multiple=True, help="Serve this region; may be repeated.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, loopback only.")
@click.option("--http-port", default=8580, show_default=True, type=_PORT, help="Port of the APIs; 0: any free port.")
@click.option("--smtp-port", default=8587, show_default=True, type=_PORT, help="Port for SMTP with STARTTLS.")
@click.option("--smtps-port", default=8465, show_default=True, type=_PORT, help="Port for SMTP with implicit TLS.")
@click.option("--ca-file", type=_FILE, help="Where to write the authority.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints, or what is wrong, as JSON.")
def simulator(world: Path | None, config: Path | None, *, check_world: bool, as_json: bool, **options: Any) -> None:
    """Run a local SES for tests and trials; nothing is sent anywhere.

    It decides as SES would, from identities, policies and quotas; GET /_sim/decisions tells why.
    """
    _check_options(world, config, check_world=check_world, options=options)
    if world is not None and check_world:
        _check(world, as_json=as_json)
    try:
        ses = Simulator(**_known(world, config), **{key: value for key, value in options.items() if value != ()})
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        asyncio.run(_serve(ses, as_json=as_json))
    except OSError as error:
        raise click.ClickException(f"cannot listen: {error}") from None


def _check_options(world: Path | None, config: Path | None, *, check_world: bool, options: dict[str, Any]) -> None:
    """A world says everything; nothing else may say it again."""
    if check_world and world is None:
        raise click.UsageError("--check-world needs --world FILE")
    said = ["--world"] * bool(world) + ["--config"] * bool(config)
    said += ["--identity or --region"] * bool(options["identities"] or options["regions"])
    if len(said) > 1:
        raise click.UsageError(f"{' and '.join(said)} cannot be combined")


def _check(path: Path, *, as_json: bool) -> None:
    """Print what is wrong with a world file, and leave: 2 when it cannot be used."""
    problems: Sequence[Problem] = ()
    errors = False
    try:
        problems = load_world(path, os.environ).warnings
    except ConfigurationError as error:
        problems, errors = error.problems, True
    click.echo(report(str(path), problems, as_json=as_json))
    sys.exit(2 if errors else 0)


def _known(world: Path | None, config: Path | None) -> dict[str, Any]:
    """The world to simulate, where there is a file to tell. Raises ConfigurationError."""
    if world is not None:
        return {"world": load_world(world, os.environ).world}
    if config is not None:
        return {"world": derive(load(config, os.environ).settings, os.environ, DELEGATE)}
    return {}


async def _serve(ses: Simulator, *, as_json: bool) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ses:
        click.echo(json.dumps(_endpoints(ses)) if as_json else _instructions(ses))
        await stop.wait()


def _endpoints(ses: Simulator) -> dict[str, Any]:
    return {
        "api_url": ses.api_url,
        "smtp": "{}:{}".format(*ses.smtp_address()),
        "smtps": "{}:{}".format(*ses.smtps_address()),
        "ca_file": str(ses.ca_file),
        "regions": list(ses.regions),
        "messages_url": f"{ses.api_url}/_sim/messages",
        "decisions_url": f"{ses.api_url}/_sim/decisions",
        "faults_url": f"{ses.api_url}/_sim/faults",
        "environment": ses.relay_environment(),
        "configuration": ses.relay_config(),
    }


def _instructions(ses: Simulator) -> str:
    places = _endpoints(ses)
    exports = "\n".join(f"export {name}={value}" for name, value in ses.relay_environment().items())
    return f"""\
A local SES for {", ".join(ses.regions)}. It stops with Ctrl-C.
  API        {places["api_url"]}  (SES v1 and v2 with raw content, STS)
  SMTP       {places["smtp"]}  (STARTTLS), {places["smtps"]}  (TLS)
  messages   {places["messages_url"]}
  decisions  {places["decisions_url"]}  (why each message was taken or refused)
  faults     {places["faults_url"]}

# the environment of a relay that uses it
{exports}

# its configuration
{yaml.safe_dump(ses.relay_config(), sort_keys=False)}"""
