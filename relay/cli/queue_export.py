"""`ses-relay queue export`: a message of the spool as a file that mail programs open (RFC 5322).

Guarantees that it is the client's message byte for byte, so that `ses-relay send --file` sends just that again. The
envelope is printed beside it, and goes into the file only when asked for: `X-Envelope-To` would tell every recipient
who the others are. A file is complete and synced or not there, it is its owner's alone, and no other is overwritten
unless that is asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import sys
from pathlib import Path

import click

from relay.cli.config_option import config_option
from relay.cli.spool_access import ask, content_of, no_such, pages, spool_of
from relay.cli.wording import printable
from relay.errors import Rejection
from relay.model import Buffer
from relay.policy import fields
from relay.spool.interface import Query, Spool, Spooled, State

_HEADER_BYTES = 1024 * 1024


@click.command("export")
@config_option
@click.argument("identifier", metavar="ID")
@click.option("--to", "target", metavar="FILE", help="Where to write it, - for standard output.  [default: ID.eml]")
@click.option("--envelope", is_flag=True, help="Put sender and recipients on top: Return-Path, X-Envelope-To.")
@click.option("--force", is_flag=True, help="Overwrite the file if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(config: Path, identifier: str, target: str | None, *, envelope: bool, force: bool, as_json: bool) -> None:
    """Write a message to a .eml file.

    It is byte for byte as its client sent it, and stays in the queue. Once it is dropped there it can be sent again:
    ses-relay send --from ... --to ... --file FILE. Not with --envelope, which would tell every recipient about all
    others.
    """
    if target == "-" and (sys.stdout.isatty() or as_json):
        raise click.UsageError("a message does not go to a terminal, nor with --json: name a file by --to, or pipe it")

    async def read(spool: Spool) -> tuple[list[Spooled], Buffer | None]:
        found = [parcel async for page in pages(spool, Query(ids=(identifier,))) for parcel in page]
        return found, await content_of(spool, found[0].mail) if found else None

    found, content = ask(spool_of(config), read)
    if content is None:
        raise click.ClickException(no_such(identifier))
    sender, recipients = found[0].envelope.sender, [one for parcel in found for one in parcel.part.recipients]
    pieces = with_envelope(content, sender, recipients) if envelope else (content,)
    if target == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    path = Path(target or f"{found[0].id if identifier == found[0].id else found[0].mail}.eml")
    _save(path, pieces, force=force)
    _tell(path, sum(map(len, pieces)), sender, recipients, as_json=as_json)
    if not as_json and any(parcel.state is not State.DEAD for parcel in found):
        click.echo("but drop it first: it is in the queue yet, and will be delivered from there")


def with_envelope(content: Buffer, sender: str, recipients: list[str]) -> tuple[Buffer, ...]:
    """A message with fields on top that say what its envelope was; content without header fields stays body."""
    listed = ",\r\n ".join(recipients)
    ours = f"Return-Path: <{sender}>\r\nX-Envelope-To: {listed}\r\n".encode("ascii")
    try:
        section = fields.read(content, _HEADER_BYTES)
    except Rejection:
        return ours, content
    if section.raw:  # a line of mbox above it, which is no field, would end ours
        return ours, section.raw, memoryview(content)[section.body :]
    return ours, b"" if bytes(content[:2]) == b"\r\n" else b"\r\n", content


def _save(path: Path, pieces: tuple[Buffer, ...], *, force: bool) -> None:
    try:
        if force:
            _replace(path, pieces)
        else:
            _write(path, pieces)
    except FileExistsError:
        raise click.UsageError(f"{path} is there already; --force overwrites it") from None
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def _replace(path: Path, pieces: tuple[Buffer, ...]) -> None:
    if path.exists() and not path.is_file():
        raise click.UsageError(f"{path} is not a file")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _write(beside, pieces)
    try:
        beside.replace(path)
    except OSError:
        beside.unlink()
        raise


def _write(path: Path, pieces: tuple[Buffer, ...]) -> None:
    """Make a new file. Raises OSError; then there is none, unless there was one before."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _tell(path: Path, size: int, sender: str, recipients: list[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"file": str(path), "size": size, "sender": sender, "recipients": recipients}, indent=2))
        return
    click.echo(f"{path}: {size} bytes")
    words = [word for one in recipients for word in ("--to", one)]
    again = ["ses-relay", "send", "--from", sender, *words, "--file", str(path)]
    click.echo(f"to send it again: {printable(shlex.join(again))}")
