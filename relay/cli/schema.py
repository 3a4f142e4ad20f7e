"""`ses-relay schema`: JSON Schema of the configuration, for editors."""

import json

import click

from relay.settings.schema import json_schema


@click.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration, with which editors complete and explain its keys."""
    click.echo(json.dumps(json_schema(), indent=2))
