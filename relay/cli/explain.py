"""`ses-relay explain`: what would become of a sender's mail, without sending any."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from relay.address import parse_path
from relay.app import book_of, hostname
from relay.aws.endpoints import ApiEndpoints, EndpointTrouble, Operation, SmtpEndpoints
from relay.cli.config_option import config_option
from relay.errors import Rejection
from relay.model import UNKNOWN_PEER, Client, Identity
from relay.policy import headers
from relay.policy.headers import Message, Stamp
from relay.policy.rulebook import RuleBook
from relay.replies import NOT_A_CLIENT, SENDER_NOT_ALLOWED, USER_NOT_FROM_HERE
from relay.service import read_settings
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError
from relay.simulator import DELEGATE
from relay.simulator.callers import introduce
from relay.simulator.explanation import Decision, told
from relay.simulator.rehearsal import rehearse
from relay.simulator.world import World
from relay.simulator.worlds.derived import derive
from relay.simulator.worlds.file import load_world


@dataclass(frozen=True, slots=True)
class Question:
    """Who would send what, from where."""

    sender: str
    header_from: str | None
    peer: str | None
    user: str | None
    recipients: tuple[str, ...] = ()
    world: World | None = None


def _place(_context: click.Context, _option: click.Parameter, value: str) -> str | None:
    """Where a client comes from, as admission wants it."""
    if value == "unix":
        return None
    try:
        return value if value == UNKNOWN_PEER else str(ip_address(value))
    except ValueError:
        raise click.BadParameter("an IP address, unix, or unknown") from None


@click.command("explain")
@config_option
@click.argument("sender")
@click.option("--from", "header_from", help="Header From; the sender when not given.")
@click.option("--client", default="127.0.0.1", show_default=True, callback=_place,
              help="IP address of the client, unix, or unknown: behind a proxy that does not tell.")  # fmt: skip
@click.option("--user", help="Name it has logged in with.")
@click.option("--simulate", is_flag=True, help="Show, too, what SES would say and why; nothing is sent.")
@click.option("--world", type=click.Path(path_type=Path, dir_okay=False), help="What SES knows, for --simulate.")
@click.option("--to", "recipients", multiple=True, default=["user@example.org"], show_default=True,
              help="Recipient, for --simulate; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    config: Path,
    sender: str,
    header_from: str | None,
    client: str | None,
    user: str | None,
    recipients: tuple[str, ...],
    **flags: Any,
) -> None:
    """Show as which identity mail from SENDER ("<>": the null sender) goes out, and its exact headers.

    With --simulate also what SES would say, by every check of it: of the world of a file, or of the one that the
    configuration takes for granted. Exit status 1 when the relay or SES would refuse; it says why.
    """
    try:
        settings, _ = read_settings(config, os.environ)
        world = _world(settings, flags["world"]) if flags["simulate"] or flags["world"] else None
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    question = Question(sender, header_from, client, user, recipients, world)
    facts = answer(settings, question)
    click.echo(json.dumps(facts, indent=2, default=_plain) if flags["as_json"] else _shown(facts))
    simulated = facts.get("simulated")
    sys.exit(1 if "refused" in facts or (simulated and simulated.answer != "accepted") else 0)


def _world(settings: Settings, path: Path | None) -> World:
    """What the simulated SES knows; warnings of a file are told. Raises ConfigurationError."""
    if path is None:
        return derive(settings, os.environ, DELEGATE)
    loaded = load_world(path, os.environ)
    for warning in loaded.warnings:
        click.echo(warning, err=True)
    return loaded.world


def answer(settings: Settings, question: Question) -> dict[str, Any]:
    """All that can be said; `refused` has the reply when the relay would refuse."""
    book = book_of(settings, hostname())
    facts: dict[str, Any] = {"sender": question.sender}
    try:
        _trace(book, settings, question, facts)
    except Rejection as refused:
        facts["refused"] = str(refused.reply)
    return facts


def _trace(book: RuleBook, settings: Settings, question: Question, facts: dict[str, Any]) -> None:
    """The relay's own steps, in its own order, each adding what it finds."""
    text = question.sender if question.sender.startswith("<") else f"<{question.sender}>"
    sender, _ = parse_path(text.encode("utf-8", "surrogateescape"), null=True)
    rule = book.admission.identify(question.peer, question.user)
    if rule is None:
        raise Rejection(NOT_A_CLIENT if question.user is None else USER_NOT_FROM_HERE)
    facts["client"] = rule.name
    identity = book.router.route(sender)
    facts |= _about(identity, settings)
    if not rule.may_send_as(sender):
        raise Rejection(SENDER_NOT_ALLOWED)
    client = Client("explain", question.peer or "unix", rule.name, question.user)
    stamp = Stamp("explain", datetime.now(UTC), "explain")
    content = f"From: {question.header_from or sender or identity.replace_sender}\r\n\r\n".encode()
    message = headers.finish(content, sender, identity, book.router, rule, client, book.headers, stamp)
    facts["envelope_sender"] = identity.replace_sender or sender
    facts |= _headers(message)
    if question.world is not None:
        facts["simulated"] = _simulated(question.world, settings, identity, facts["envelope_sender"], message, question)


def _simulated(
    world: World, settings: Settings, identity: Identity, sender: str, message: Message, question: Question
) -> Decision:
    """What the simulated SES says, and every check that leads to it: of the credentials first."""
    raw, now = b"".join(map(bytes, message.content)), datetime.now(UTC)
    who = introduce(world, settings.credentials, identity, os.environ, now)
    return rehearse(world, who, identity, sender, question.recipients, raw, now)


def _about(identity: Identity, settings: Settings) -> dict[str, Any]:
    return {
        "identity": identity.name,
        "region": identity.region,
        "transport": identity.transport,
        "endpoint": _endpoint(identity, settings),
        "credentials": identity.credentials,
    }


def _endpoint(identity: Identity, settings: Settings) -> str:
    ses = settings.ses
    try:
        if identity.transport == "smtp":
            smtp = SmtpEndpoints(ses.smtp_endpoint, ses.smtp_tls)(identity.region)
            return f"{smtp.host}:{smtp.port} ({smtp.tls})"
        operation: Operation = "SendRawEmail" if identity.tenant is None else "SendEmail"
        return asyncio.run(ApiEndpoints(ses.api_endpoint).find(operation, identity.region)).url
    except EndpointTrouble as trouble:
        return f"unknown: {trouble.detail}"


def _headers(message: Message) -> dict[str, Any]:
    """Our header block, exactly: the first piece of a finished message."""
    block = bytes(message.content[0]).decode("ascii")
    return {"header_from": list(message.header_from), "headers": block.splitlines()}


def _shown(facts: dict[str, Any]) -> str:
    plain = {key: value for key, value in facts.items() if key not in ("headers", "simulated")}
    lines = [f"{key.replace('_', ' '):16} {_text(value)}" for key, value in plain.items()]
    if "headers" in facts:
        lines += ["", "prepended to the message:", *facts["headers"]]
    if "simulated" in facts:
        lines += ["", *told(facts["simulated"])]
    return "\n".join(lines)


def _plain(decision: Decision) -> dict[str, Any]:
    """A decision as JSON has it."""
    return {**asdict(decision), "at": decision.at.isoformat()}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
