"""The command line: one file per command, loaded only when it is asked for, so that `--help` and probes are quick.

Exit status: 0 done, 1 the thing asked about is not well, 2 usage or configuration error.
"""

import importlib

import click

from relay import __version__

_COMMANDS = {
    "run": "run",
    "check": "check",
    "explain": "explain",
    "doctor": "doctor",
    "policy": "policy",
    "send": "send",
    "queue": "queue",
    "status": "status",
    "health": "health",
    "schema": "schema",
    "smtp-password": "smtp_password",
    "hash-password": "hash_password",
    "demo": "demo",
    "simulator": "simulator",
}


class _Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in _COMMANDS:
            return None
        word = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"relay.cli.{word}"), word)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ses-relay")
def main() -> None:
    """Relay mail of applications that speak SMTP to Amazon SES, as identities of other accounts."""
