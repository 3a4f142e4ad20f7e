"""`ses-relay explain`: what would become of a sender's mail, without sending any."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from relay.address import parse_path
from relay.app import book_of, hostname
from relay.aws.endpoints import ApiEndpoints, EndpointTrouble, Operation, SmtpEndpoints
from relay.cli.config_option import config_option
from relay.errors import Rejection
from relay.model import Client, Identity
from relay.policy import headers
from relay.policy.headers import Message, Stamp
from relay.policy.rulebook import RuleBook
from relay.replies import NOT_A_CLIENT, SENDER_NOT_ALLOWED
from relay.service import read_settings
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError


@dataclass(frozen=True, slots=True)
class Question:
    """Who would send what, from where."""

    sender: str
    header_from: str | None
    peer: str | None
    user: str | None


@click.command("explain")
@config_option
@click.argument("sender")
@click.option("--from", "header_from", help="Header From; the sender when not given.")
@click.option("--client", default="127.0.0.1", show_default=True, help="IP address of the client, or unix.")
@click.option("--user", help="Name it has logged in with.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    config: Path, sender: str, header_from: str | None, client: str, user: str | None, *, as_json: bool
) -> None:
    """Show as which identity mail from SENDER ("<>": the null sender) goes out, and its exact headers.

    Exit status 1 when the relay would refuse it; it says why.
    """
    try:
        settings, _ = read_settings(config, os.environ)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    question = Question(sender, header_from, None if client == "unix" else client, user)
    facts = answer(settings, question)
    click.echo(json.dumps(facts, indent=2) if as_json else _shown(facts))
    sys.exit(1 if "refused" in facts else 0)


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
        raise Rejection(NOT_A_CLIENT)
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
    lines = [f"{key.replace('_', ' '):16} {_text(value)}" for key, value in facts.items() if key != "headers"]
    block = facts.get("headers", [])
    return "\n".join(lines + (["", "prepended to the message:", *block] if block else []))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
