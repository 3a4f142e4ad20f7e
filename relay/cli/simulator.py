"""`ses-relay simulator`: a local SES in the foreground, until SIGTERM or SIGINT.

Prints its endpoints and what to tell a relay: a configuration, or with `--config` what that one needs besides. It
knows the world of a file (`--world`), else the one that a relay's configuration takes for granted (`--config`), else
example.com in two regions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from relay.cli.check import report
from relay.settings.load import load
from relay.settings.model import CredentialSource, Settings
from relay.settings.problems import ConfigurationError, Problem
from relay.simulator import DELEGATE, Simulator, World
from relay.simulator.worlds.derived import derive
from relay.simulator.worlds.file import load_world
from relay.simulator.worlds.profiles import written_keys

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to know it from; both None: nothing but the command line."""

    world: World | None = None
    settings: Settings | None = None


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
        known = _known(world, config)
        ses = Simulator(world=known.world, **{key: value for key, value in options.items() if value != ()})
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        asyncio.run(_serve(ses, known.settings, as_json=as_json))
    except OSError as error:
        if error.filename is not None:  # the authority's; sockets have none
            words = (error.strerror or str(error)).lower()
            raise click.ClickException(f"cannot write {error.filename}: {words}") from None
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


def _known(world: Path | None, config: Path | None) -> Known:
    """The world to simulate, where there is a file to tell; its warnings are told. Raises ConfigurationError."""
    if world is not None:
        loaded = load_world(world, os.environ)
        for warning in loaded.warnings:
            click.echo(warning, err=True)
        return Known(loaded.world)
    if config is not None:
        settings = load(config, os.environ).settings
        return Known(derive(settings, os.environ, DELEGATE), settings)
    return Known()


async def _serve(ses: Simulator, settings: Settings | None, *, as_json: bool) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ses:
        click.echo(json.dumps(_endpoints(ses, settings)) if as_json else _instructions(ses, settings))
        await stop.wait()


def _endpoints(ses: Simulator, settings: Settings | None) -> dict[str, Any]:
    return {
        "api_url": ses.api_url,
        "smtp": "{}:{}".format(*ses.smtp_address()),
        "smtps": "{}:{}".format(*ses.smtps_address()),
        "ca_file": str(ses.ca_file),
        "regions": list(ses.regions),
        "messages_url": f"{ses.api_url}/_sim/messages",
        "decisions_url": f"{ses.api_url}/_sim/decisions",
        "faults_url": f"{ses.api_url}/_sim/faults",
        **told_to(ses, settings),
    }


def told_to(ses: Simulator, settings: Settings | None) -> dict[str, Any]:
    """What to tell a relay; one that has a configuration keeps it, but for where SES is."""
    if settings is None:
        return {"environment": ses.relay_environment(), "configuration": ses.relay_config()}
    without_keys = any(
        not (source.profile or source.smtp_username or written_keys(source, os.environ))
        for source in _signing(settings.credentials, {rule.credentials for rule in settings.identities})
    )
    return {
        "environment": ses.relay_environment(keys=without_keys),
        "configuration": {"ses": ses.relay_endpoints(settings.ses.smtp_tls)},
    }


def _signing(sources: Mapping[str, CredentialSource], names: set[str]) -> Iterator[CredentialSource]:
    """The entries whose own keys are used: for a role those that assume it."""
    for name in names:
        source = sources[name]
        if source.assume_role:
            yield from _signing(sources, {source.source})
        else:
            yield source


def _instructions(ses: Simulator, settings: Settings | None) -> str:
    places = _endpoints(ses, settings)
    exports = "\n".join(f"export {name}={value}" for name, value in places["environment"].items())
    heading = "its configuration" if settings is None else "in its configuration, other keys of ses may stay"
    return f"""\
A local SES for {", ".join(ses.regions)}. It stops with Ctrl-C.
  API        {places["api_url"]}  (SES v1 and v2 with raw content, STS)
  SMTP       {places["smtp"]}  (STARTTLS), {places["smtps"]}  (TLS)
  messages   {places["messages_url"]}
  decisions  {places["decisions_url"]}  (why each message was taken or refused)
  faults     {places["faults_url"]}

# the environment of a relay that uses it
{exports}

# {heading}
{yaml.safe_dump(places["configuration"], sort_keys=False)}"""
