"""`ses-relay hash-password`: an argon2 hash for `users`."""

import sys

import click

from relay.smtp.auth import hash_password as make


@click.command("hash-password")
def hash_password() -> None:
    """Ask for a password (or read one line from standard input) and print its hash for `users`."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty")
    click.echo(make(password))
