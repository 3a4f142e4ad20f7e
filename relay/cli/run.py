"""`ses-relay run`: the relay in the foreground, until SIGTERM or SIGINT."""

import os
import sys
from pathlib import Path

import click

from relay import service
from relay.cli.config_option import config_option
from relay.settings.problems import ConfigurationError


@click.command("run")
@config_option
def run(config: Path) -> None:
    """Run the relay in the foreground.

    SIGTERM and SIGINT let mail in hand finish for at most limits.drain_s; SIGHUP reads the configuration again.
    """
    try:
        status = service.run(config, os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        status = 2
    sys.exit(status)
