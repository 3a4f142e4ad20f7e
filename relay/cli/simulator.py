"""`ses-relay simulator`: a local SES in the foreground, until SIGTERM or SIGINT.

Prints its endpoints and what to tell a relay. With `--config` it knows the identities, regions and keys of that
relay; without, example.com in two regions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from relay.model import Identity
from relay.settings.load import load
from relay.settings.model import CredentialSource, Settings
from relay.settings.problems import ConfigurationError
from relay.simulator import DELEGATE, AccessKey, Simulator, SmtpLogin

_PORT = click.IntRange(0, 65535)


@click.command("simulator")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Know the identities of this relay.")
@click.option("--identity", "identities", multiple=True, metavar="ARN", help="Know this identity; may be repeated.")
@click.option("--region", "regions", multiple=True, help="Serve this region; may be repeated.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, loopback only.")
@click.option("--http-port", default=8580, show_default=True, type=_PORT, help="Port of the APIs; 0: any free port.")
@click.option("--smtp-port", default=8587, show_default=True, type=_PORT, help="Port for SMTP with STARTTLS.")
@click.option("--smtps-port", default=8465, show_default=True, type=_PORT, help="Port for SMTP with implicit TLS.")
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the authority.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints as one line of JSON.")
def simulator(
    config: Path | None, identities: tuple[str, ...], regions: tuple[str, ...], as_json: bool, **places: Any
) -> None:
    """Run a local SES for tests and trials; nothing is sent anywhere."""
    named = {"identities": identities, "regions": regions}
    try:
        known = _from_settings(load(config, os.environ).settings) if config else {}
        ses = Simulator(**{**known, **{key: value for key, value in named.items() if value}, **places})
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
        "faults_url": f"{ses.api_url}/_sim/faults",
        "environment": ses.relay_environment(),
        "configuration": ses.relay_config(),
    }


def _instructions(ses: Simulator) -> str:
    places = _endpoints(ses)
    exports = "\n".join(f"export {name}={value}" for name, value in ses.relay_environment().items())
    return f"""\
A local SES for {", ".join(ses.regions)}. It stops with Ctrl-C.
  API       {places["api_url"]}  (SendRawEmail, SESv2 SendEmail with raw content)
  SMTP      {places["smtp"]}  (STARTTLS), {places["smtps"]}  (TLS)
  messages  {places["messages_url"]}
  faults    {places["faults_url"]}

# the environment of a relay that uses it
{exports}

# its configuration
{yaml.safe_dump(ses.relay_config(), sort_keys=False)}"""


def _from_settings(settings: Settings) -> dict[str, Any]:
    """The identities, regions, keys and logins that a relay with these settings expects SES to know."""
    arns = [
        arn for rule in settings.identities for arn in (rule.source_arn, rule.from_arn, rule.return_path_arn) if arn
    ]
    return {
        "identities": list(dict.fromkeys(map(str, arns))),
        "regions": list(dict.fromkeys(rule.region for rule in settings.identities)),
        "keys": [DELEGATE, *_keys(settings.credentials.values())],
        "logins": list(_logins(settings.identities, settings.credentials)),
    }


def _keys(sources: Iterable[CredentialSource]) -> Iterable[AccessKey]:
    for source in sources:
        if source.access_key_id and source.secret_access_key:
            yield replace(
                DELEGATE,
                access_key_id=source.access_key_id,
                secret_access_key=source.secret_access_key,
                session_token=source.session_token,
            )


def _logins(identities: Iterable[Identity], sources: Mapping[str, CredentialSource]) -> Iterable[SmtpLogin]:
    """Ready-made logins; the region is that of the first identity that uses one."""
    seen: set[str] = set()
    for rule in identities:
        source = sources[rule.credentials]
        if source.smtp_username and source.smtp_password and source.name not in seen:
            seen.add(source.name)
            owner = (DELEGATE.account, DELEGATE.principal)
            yield SmtpLogin(source.smtp_username, source.smtp_password, rule.region, *owner)
