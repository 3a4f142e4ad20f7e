"""`ses-relay demo`: a local SES and a relay on loopback, real mail through both, and what SES saw."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import smtplib
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relay import __version__
from relay.app import Relay
from relay.cli import demo_outage
from relay.cli import demo_scene as scene
from relay.observe.log import Journal
from relay.observe.log_output import open_log
from relay.observe.metrics import Metrics
from relay.post import open_post, schedule_of
from relay.service import read_settings
from relay.simulator import Received, Simulator, load_world

_HEADERS_SHOWN = 7
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """One mail, the relay's answer to its application, and what SES got or why it refused, if it was asked."""

    mail: scene.Mail
    answer: str
    received: Received | None
    refusal: str | None


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave both running afterwards, for clients of your own.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port of the relay; 0: any free port.")
@click.option("--json", "as_json", is_flag=True, help="Print what happened as JSON.")
def demo(port: int, *, keep: bool, as_json: bool) -> None:
    """Send real mail through a relay to a local SES and show what SES received. Nothing leaves this machine."""
    with tempfile.TemporaryDirectory(prefix="ses-relay-demo-") as folder:
        sys.exit(asyncio.run(_play(Path(folder), port, keep=keep, as_json=as_json)))


async def _play(folder: Path, port: int, *, keep: bool, as_json: bool) -> int:
    log = io.StringIO()
    world = folder / "world.yaml"
    world.write_text(scene.WORLD, "utf-8")
    world.chmod(0o600)
    async with Simulator(world=load_world(world, os.environ).world, ca_file=folder / "ca.pem") as ses:
        environment = {**os.environ, **ses.relay_environment()}
        os.environ |= environment  # whom to believe is read from the environment by boto3's rules
        path = folder / "relay.yaml"
        path.write_text(scene.configuration(ses, port, folder), "utf-8")
        path.chmod(0o600)
        settings, _ = read_settings(path, environment)
        metrics = Metrics(__version__)
        journal = Journal(open_log("json", "info", log), metrics)
        spool = None if settings.spool is None else open_post(settings.spool, schedule_of(settings), journal)
        relay = Relay(settings, journal, metrics, spool)
        try:
            await _start(relay)
            shown = [await _send(relay, ses, mail) for mail in scene.mails()]
            relay.reload(scene.in_a_hurry(settings))
            outage = await demo_outage.play(ses, partial(_submit, relay.addresses[0]))
            _report(shown, outage, path, log.getvalue(), as_json=as_json)
            if keep:
                await _stay(relay, ses, path)
        finally:
            await relay.stop()
    return 0 if _as_expected(shown) and outage.is_well else 1


async def _start(relay: Relay) -> None:
    try:
        await relay.start()
    except OSError as error:
        raise click.ClickException(f"cannot listen: {error}") from None


async def _send(relay: Relay, ses: Simulator, mail: scene.Mail) -> Shown:
    before, refused = ses.total, len(ses.turned_away)
    answer = await asyncio.to_thread(_submit, relay.addresses[0], mail)
    words = ses.turned_away[-1].answer if len(ses.turned_away) > refused else None
    return Shown(mail, answer, ses.received[-1] if ses.total > before else None, words)


def _submit(address: str, mail: scene.Mail) -> str:
    """Speak SMTP as an old application would; returns the relay's last word."""
    host, _, port = address.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=60) as client:
        client.ehlo()
        for code, text in (client.mail(mail.sender), *(client.rcpt(to) for to in mail.recipients)):
            if code >= 300:
                return f"{code} {text.decode('ascii')}"
        code, text = client.data(mail.content)
        return f"{code} {text.decode('ascii')}"


def _as_expected(shown: list[Shown]) -> bool:
    """The demo is a test too: each answer is the one it should be, and SES has what was answered 250, nothing else."""
    return all(
        one.answer.startswith(one.mail.answer) and (one.received is not None) == one.answer.startswith("250")
        for one in shown
    )


def _report(shown: list[Shown], outage: demo_outage.Outage, path: Path, log: str, *, as_json: bool) -> None:
    if as_json:
        facts = {"mails": [_facts(one) for one in shown], "outage": asdict(outage)}
        click.echo(json.dumps(facts, indent=2))
        return
    console = Console(width=_WIDTH + 20, highlight=False)
    console.print(f"\nThe relay's configuration ({path}):\n")
    console.print(path.read_text("utf-8"), markup=False, soft_wrap=True)
    console.print(_table(shown))
    console.print(demo_outage.table(outage))
    line = next(line for line in log.splitlines() if '"event": "message"' in line)
    console.print(
        "\nThe relay's log has one line per message; the first one:\n", line, "\n", markup=False, soft_wrap=True
    )


def _table(shown: list[Shown]) -> Table:
    """One section for each mail: who sent what, what it became, what the relay said, what SES has."""
    table = Table(title="What the applications sent, and what SES received", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for number, one in enumerate(shown, 1):
        mail, received = one.mail, one.received
        table.add_row(str(number), f"[bold]{mail.why}[/bold]")
        recipients = ", ".join(mail.recipients)
        table.add_row("application", f"MAIL FROM:<{mail.sender}> RCPT TO:<{recipients}>, {len(mail.content):,} bytes")
        table.add_row("relay", one.answer)
        refused = escape(f"refuses: {one.refusal}") if one.refusal else "was not asked"
        ses = "\n".join(_what_ses_got(received)) if received else refused
        table.add_row("SES", ses, end_section=True)
    return table


def _what_ses_got(received: Received) -> list[str]:
    """The call, and the relay's block with the first headers below it."""
    how = {"v1": "SendRawEmail", "v2": "SESv2 SendEmail", "smtp": "SMTP"}[received.interface]
    top = (f"{name}: {value}" for name, value in received.headers[:_HEADERS_SHOWN])
    lines = [f"by {how} in {received.region}, as {received.arns.source}", *top]
    return [escape(line if len(line) < _WIDTH else line[: _WIDTH - 3] + "...") for line in lines]


def _facts(one: Shown) -> dict[str, Any]:
    received = one.received
    facts: dict[str, Any] = {"why": one.mail.why, "sender": one.mail.sender, "answer": one.answer}
    facts |= {"refusal": one.refusal, "received": None}
    if received is not None:
        facts["received"] = {
            "interface": received.interface, "region": received.region, "sender": received.sender,
            "recipients": received.recipients, "headers": received.headers,
        }  # fmt: skip
    return facts


async def _stay(relay: Relay, ses: Simulator, path: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, _, port = relay.addresses[0].rpartition(":")
    click.echo(
        f"Both stay until Ctrl-C. Send as anything@example.com or @example.net:\n"
        f"  swaks --server {host}:{port} --from you@example.com --to you@example.net\n"
        f"  curl {ses.api_url}/_sim/messages\n"
        f"  ses-relay explain --config {path} you@example.com"
    )
    await stop.wait()
