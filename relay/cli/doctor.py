"""`ses-relay doctor`: what AWS says about a configuration, why it matters, and what mends it.

Owns how the question is asked, how far it has come and how the findings are shown; asking and judging are in
`relay.doctor`. Reads only, but for `--send-to`. Exit status 0 when nothing is bad, 1 when something is, 2 for usage
and configuration errors, 130 when it was interrupted: then what had been found is shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from relay.address import check_address
from relay.cli.config_option import config_option
from relay.cli.wording import printable
from relay.doctor.examination import Examination
from relay.doctor.findings import About, Finding, Verdict, all_well
from relay.doctor.proof import Order
from relay.errors import Rejection
from relay.model import Identity
from relay.policy.routing import Router
from relay.service import read_settings
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError

INTERRUPTED: Final = 130  # as shells have it for SIGINT

_STYLES: Final = {
    Verdict.OK: "green",
    Verdict.UNKNOWN: "cyan",
    Verdict.WARNING: "yellow",
    Verdict.BAD: "bold red",
}
_TITLES: Final = {
    "credentials": "Credentials",
    "region": "Region",
    "account": "Account",
    "smtp": "SMTP in",
    "identity": "Identity",
}


@click.command("doctor")
@config_option
@click.option("--send-to", metavar="ADDRESS", help="Send a small message to ADDRESS for each identity: the full proof.")
@click.option("--send-from", metavar="ADDRESS", help="The sender to prove; by default one is chosen for each identity.")
@click.option("--identity", "names", multiple=True, metavar="NAME", help="Only this identity; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(config: Path, send_to: str | None, send_from: str | None, names: tuple[str, ...], *, as_json: bool) -> None:
    """Ask AWS what can be asked about the configuration: credentials, accounts, identities, SMTP logins.

    A delegate cannot read the policy of an identity's owner: only --send-to success@simulator.amazonses.com proves
    that mail goes. It sends, also with ses.dry_run; nothing else does. Exit status 1 when something is not well.
    """
    try:
        settings, _ = read_settings(config, os.environ)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    identities = _chosen(settings, names)
    order = _order(send_to, send_from)
    if order and order.sender:
        identities = _by_sender(identities, settings, order.sender)
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong in libraries is in the findings
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Asking AWS")
        examination = Examination(
            settings, identities, order, everything=not names,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
        whole = _finished(examination)
    _print(examination.found, whole=whole, as_json=as_json)
    sys.exit(0 if whole and all_well(examination.found) else 1 if whole else INTERRUPTED)


def _finished(examination: Examination) -> bool:
    """Whether nobody interrupted it."""
    try:
        asyncio.run(examination.run())
    except KeyboardInterrupt:
        return False
    return True


def _print(findings: list[Finding], *, whole: bool, as_json: bool) -> None:
    if as_json:
        found = [asdict(one) for one in findings]
        click.echo(json.dumps({"ok": whole and all_well(findings), "complete": whole, "findings": found}, indent=2))
    else:
        show(findings)
    if not whole:
        click.echo("Interrupted: this is what had been found.", err=True)


def _chosen(settings: Settings, names: Iterable[str]) -> list[Identity]:
    known = {identity.name: identity for identity in settings.identities}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"no identity is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or list(known.values())


def _order(recipient: str | None, sender: str | None) -> Order | None:
    if recipient is None:
        if sender is not None:
            raise click.UsageError("--send-from needs --send-to")
        return None
    try:
        return Order(check_address(recipient), None if sender is None else check_address(sender))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _by_sender(identities: Iterable[Identity], settings: Settings, sender: str) -> list[Identity]:
    """The identity that mail of a sender goes out as, if it is among those that were chosen."""
    try:
        routed = Router(settings.identities).route(sender)
    except Rejection as refused:
        raise click.UsageError(f"{sender}: {refused.reply.text}") from None
    if routed not in identities:
        raise click.UsageError(f"mail from {sender} goes out as {routed.name}, which --identity does not name")
    return [routed]


def show(findings: Iterable[Finding], console: Console | None = None) -> None:
    """Print the findings, those about one thing together."""
    console = console or Console(highlight=False)
    subjects: dict[About, list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: list(_TITLES).index(one.about.kind)):
        subjects.setdefault(finding.about, []).append(finding)
    for about, group in subjects.items():
        console.print(Text(f"{_TITLES[about.kind]} {about.name}", style="bold"), soft_wrap=True)
        for finding in group:
            console.print(_text(finding), soft_wrap=True)
        console.print()
    counts = Counter(finding.verdict for group in subjects.values() for finding in group)
    console.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(Verdict) if counts[verdict]))


def _text(finding: Finding) -> Text:
    """One line for what is well; for the rest, below it, why it matters and what mends it."""
    text = Text(f"  {finding.verdict:8}", style=_STYLES[finding.verdict])
    text.append(f"{finding.check:18}{printable(finding.what)}", style="default")
    for name, words in (("why", finding.why), ("mend", finding.mend)):
        if words:
            text.append(f"\n{name:>26}  {printable(words)}", style="default")
    return text
