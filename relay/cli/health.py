"""`ses-relay health`: an exit status for probes, from the running relay's own /readyz.

Status 0: it would accept mail now. 1: it would not, or nobody answers. 2: the configuration is bad or has no admin
endpoint to ask.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from relay.cli.config_option import config_option
from relay.settings.addresses import TcpAddress
from relay.settings.load import load
from relay.settings.problems import ConfigurationError

TIMEOUT_S = 3.0
UPSTREAM_S = 8.0  # the relay may have to find out
_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Health:
    """What the relay says of itself; `status` is the HTTP status, None when nobody answered."""

    ready: bool
    status: int | None
    text: str


@click.command("health")
@config_option
@click.option("--upstream", is_flag=True, help="Ask whether SES takes mail, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def health(config: Path, *, upstream: bool, as_json: bool) -> None:
    """Exit with 0 when the running relay would accept mail now, else with 1."""
    endpoint = _endpoint(config, os.environ)
    answer = probe_upstream(endpoint) if upstream else probe(endpoint, "/readyz")
    click.echo(json.dumps(asdict(answer)) if as_json else answer.text)
    sys.exit(0 if answer.ready else 1)


def probe_upstream(bind: TcpAddress) -> Health:
    """Ask whether SES takes mail, too."""
    return probe(bind, "/readyz?upstream=1", UPSTREAM_S)


def probe(bind: TcpAddress, path: str, timeout_s: float = TIMEOUT_S) -> Health:
    """Ask the admin endpoint that is bound to `bind`; `timeout_s` is for each address of it.

    A wildcard needs no care: to connect to 0.0.0.0 or :: is to connect to this machine.
    """
    answer = Health(ready=False, status=None, text=f"no answer from {bind}")
    for host in bind.hosts:
        connection = http.client.HTTPConnection(host, bind.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read(_ANSWER_BYTES).decode("utf-8", "replace").strip()
            return Health(ready=response.status == http.HTTPStatus.OK, status=response.status, text=text)
        except (OSError, http.client.HTTPException) as error:
            answer = Health(ready=False, status=None, text=f"no answer from {bind}: {error or type(error).__name__}")
        finally:
            connection.close()
    return answer


def _endpoint(config: Path, environ: Mapping[str, str]) -> TcpAddress:
    try:
        settings = load(config, environ).settings
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if settings.admin is None:
        raise click.UsageError("admin is off in this configuration: there is nobody to ask")
    return settings.admin.bind
