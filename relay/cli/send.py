"""`ses-relay send`: one test message through the configured relay, over a real socket."""

import json
import os
import re
import smtplib
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import BinaryIO

import click

from relay.cli.config_option import config_option
from relay.service import read_settings
from relay.settings.addresses import TcpAddress
from relay.settings.problems import ConfigurationError

_TIMEOUT_S = 150  # longer than any answer of SES that the relay waits for


@click.command("send")
@config_option
@click.option("--from", "sender", required=True, help="Envelope sender, and header From without --file.")
@click.option("--to", "recipients", required=True, multiple=True, help="Recipient; may be given several times.")
@click.option("--file", type=click.File("rb"), help="A whole message (- for standard input) instead of a made one.")
@click.option("--subject", default="Test from ses-relay", show_default=True, help="Subject without --file.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def send(
    config: Path, sender: str, recipients: tuple[str, ...], file: BinaryIO | None, subject: str, *, as_json: bool
) -> None:
    """Send one message through the relay that this configuration describes, and print its answer."""
    try:
        content = _with_crlf(file.read() if file else _made(sender, recipients, subject))
        code, text = _deliver(_listener(config), sender, recipients, content)
    except ValueError as error:  # also of UnicodeError: an address or a subject that cannot stand in a message
        raise click.UsageError(str(error)) from None
    except OSError as error:
        click.echo(f"no relay answers: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({"code": code, "text": text}))
    else:
        click.echo(f"{code} {text}")
    sys.exit(0 if code < 300 else 1)


def _listener(config: Path) -> TcpAddress:
    try:
        settings, _ = read_settings(config, os.environ)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    for listener in settings.listeners:
        if isinstance(listener.bind, TcpAddress):
            return listener.bind
    raise click.UsageError("the configuration has no TCP listener to send to")


def _made(sender: str, recipients: tuple[str, ...], subject: str) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=sender.rpartition("@")[2] or None)
    message.set_content("If you can read this, the relay, the identity and SES agree.\n")
    return message.as_bytes()


def _with_crlf(content: bytes) -> bytes:
    """What an editor made, as SMTP wants it: the relay may be told to refuse anything else."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def _deliver(to: TcpAddress, sender: str, recipients: tuple[str, ...], content: bytes) -> tuple[int, str]:
    """Speak SMTP to the relay; returns its last answer. Raises OSError when there is none."""
    with smtplib.SMTP(_reachable(to), to.port, timeout=_TIMEOUT_S) as client:
        client.ehlo_or_helo_if_needed()
        for code, text in (client.mail(sender), *(client.rcpt(recipient) for recipient in recipients)):
            if code >= 300:
                return code, text.decode("ascii", "replace")
        code, text = client.data(content)
        return code, text.decode("ascii", "replace")


def _reachable(to: TcpAddress) -> str:
    """A listener on every address is reached on loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(to.host, to.host)
