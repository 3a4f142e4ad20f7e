"""`ses-relay smtp-password`: the SES SMTP password that belongs to a secret access key, in one region.

Owns how the secret comes in: typed without echo, from standard input, or from a file; never as an argument, which
other users of the machine could read in the process list. Exit status 2 when what came in cannot be a secret key.
"""

from __future__ import annotations

import re
import sys
from typing import Final, TextIO

import click

from relay.aws.smtp_password import derive

_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_ACCESS_KEY_ID: Final = re.compile(r"A(KI|SI)A[A-Z0-9]{12,}")


@click.command("smtp-password")
@click.option("--region", required=True, help="The region whose SMTP endpoint is used; passwords differ per region.")
@click.option(
    "--secret-file",
    type=click.File("r", encoding="ascii", errors="replace"),
    help="A file with the secret access key. Without it: typed, or from standard input.",
)
def smtp_password(region: str, secret_file: TextIO | None) -> None:
    """Print the SES SMTP password for an IAM user's secret access key.

    The SMTP user name is the access key id. Keys of roles, which come with a session token, do not work in SMTP.
    """
    if not _REGION.fullmatch(region):
        raise click.BadParameter(f"{region!r} is not the name of a region, such as eu-west-1", param_hint="--region")
    click.echo(derive(_check(_read(secret_file)), region))


def _read(secret_file: TextIO | None) -> str:
    if secret_file:
        return secret_file.read().strip()
    if sys.stdin.isatty():
        return str(click.prompt("Secret access key", hide_input=True, err=True)).strip()
    return sys.stdin.read().strip()


def _check(secret: str) -> str:
    if not secret:
        raise click.UsageError("the secret access key is empty")
    if _ACCESS_KEY_ID.fullmatch(secret):
        raise click.UsageError("this is an access key id, which is the SMTP user name; the secret key is wanted")
    if len(secret.split()) > 1 or not secret.isascii() or not secret.isprintable():
        raise click.UsageError("the secret access key must be one word of printable ASCII")
    return secret
