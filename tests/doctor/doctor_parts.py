"""What tests of the doctor share: a world, settings that point to it, an examination, and servers that are wrong."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from relay.arn import parse_identity_arn
from relay.aws.trust import tls_context
from relay.doctor.findings import Finding, Verdict
from relay.doctor.looking import Looking
from relay.doctor.plan import plan_of
from relay.doctor.tools import tools_for
from relay.model import Identity
from relay.settings.addresses import TcpAddress
from relay.settings.model import CredentialSource, Ses, Settings
from relay.simulator import DELEGATE, AccessKey, Simulator
from relay.simulator.policy_document import VERSION, permit, read, trusting
from relay.simulator.policy_language import Policy
from relay.simulator.world import Account, ConfigurationSet, Principal, Sending, World
from relay.simulator.world import Identity as Owned

EAST, WEST = "us-east-1", "eu-west-1"
OWNER, MINE, BOXED = "123456789012", DELEGATE.account, "444455556666"
ROLE = f"arn:aws:iam::{OWNER}:role/mail/send"
TRIAL = AccessKey("AKIATRIALEXAMPLE", "a-secret-for-trials", BOXED, f"arn:aws:iam::{BOXED}:user/trial")
BLIND = AccessKey("AKIABLINDEXAMPLE", "a-secret-that-sends", MINE, f"arn:aws:iam::{MINE}:user/blind")


def source(name: str, key: AccessKey, **changes: Any) -> CredentialSource:
    """An entry with the keys of somebody in the world."""
    fields = {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key}
    return CredentialSource(name, **(fields | changes))


MINE_SOURCE = source("mine", DELEGATE)


def arn(name: str = "example.com", region: str = EAST, account: str = OWNER) -> str:
    return f"arn:aws:ses:{region}:{account}:identity/{name}"


def rule(name: str = "example.com", *, named: str | None = None, **changes: Any) -> Identity:
    """An identity of the configuration; `region`, `account` are those of its ARN unless `at` says where mail goes."""
    account, region = changes.pop("account", OWNER), changes.pop("region", EAST)
    parsed = parse_identity_arn(arn(name, region, account))
    fields = {
        "name": named or name, "senders": (f"@{name}" if "@" not in name else name,), "source_arn": parsed,
        "from_arn": parsed, "return_path_arn": parsed, "region": changes.pop("at", region), "credentials": "mine",
    }  # fmt: skip
    return Identity(**(fields | changes))


def a_world() -> World:
    """An owner with a role, a delegate, one who may only send, and one in the sandbox."""
    everything = (permit("everything", "*", "*"),)
    trust = read("trust", {"Version": VERSION, "Statement": [trusting([DELEGATE.principal], "right")]}, "trust")
    return World(
        regions=(EAST, WEST),
        accounts={
            OWNER: Account(OWNER),
            MINE: Account(MINE, sending=Sending(max_24_hour_send=50_000, max_send_rate=14)),
            BOXED: Account(BOXED, sending=Sending(production=False, max_24_hour_send=200, max_send_rate=1)),
        },
        principals={
            DELEGATE.principal: Principal(DELEGATE.principal, everything),
            BLIND.principal: Principal(BLIND.principal, (permit("send", ["ses:SendRawEmail"], "*"),)),
            TRIAL.principal: Principal(TRIAL.principal, everything),
            ROLE: Principal(ROLE, everything, trust),
        },
        keys=(DELEGATE, BLIND, TRIAL),
        identities=(
            Owned(OWNER, EAST, "example.com", policies=(_lets_send(arn()),)),
            Owned(OWNER, WEST, "example.net", policies=(_lets_send(arn("example.net", WEST)),)),
            Owned(MINE, EAST, "own.example"),
            Owned(MINE, EAST, "O'Hara+x/y=z@own.example"),
            Owned(MINE, EAST, "soon.example", verified=False),
        ),
        configuration_sets=(ConfigurationSet(MINE, EAST, "events"), ConfigurationSet(MINE, EAST, "quiet", paused=True)),
    )  # fmt: skip


def _lets_send(identity: str) -> Policy:
    return permit("delegates", ["ses:Send*"], identity, (DELEGATE.principal, BLIND.principal))


@asynccontextmanager
async def a_ses(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Simulator]:
    """An SES and an STS with that world, believed."""
    async with Simulator(**({"world": a_world()} | options)) as ses:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", ses.api_url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ses.ca_file))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield ses


def settings_for(
    ses: Simulator, identities: Sequence[Identity], *sources: CredentialSource, **changes: Any
) -> Settings:
    """A configuration that sends through it."""
    host, port = ses.smtp_address()
    known = {one.name: one for one in (CredentialSource("default"), MINE_SOURCE, *sources)}
    reached = Ses(api_endpoint=ses.api_url, smtp_endpoint=TcpAddress(host, port), **changes)
    return Settings(identities=tuple(identities), credentials=known, ses=reached)


async def no_pause(_: float) -> None:
    """The simulator permits questions at any pace."""


async def look(
    settings: Settings,
    *,
    proving: bool = False,
    everything: bool = False,
    pause: Callable[[float], Awaitable[None]] = no_pause,
    trust: Callable[[], ssl.SSLContext] = tls_context,
) -> list[Finding]:
    """What the doctor finds, with its own tools but for how it waits and whom it trusts by SMTP."""
    plan = plan_of(settings, settings.identities, everything=everything)
    tools = replace(tools_for(settings, pause=pause), trust=trust)
    try:
        return await Looking(settings, plan, tools, proving=proving).look()
    finally:
        await tools.close()


def verdicts(findings: Sequence[Finding]) -> dict[str, str]:
    """The worst verdict of each check."""
    order = list(Verdict)
    found: dict[str, str] = {}
    for finding in findings:
        worst = max(order.index(finding.verdict), order.index(Verdict(found.get(finding.check, "ok"))))
        found[finding.check] = str(order[worst])
    return found


def the(findings: Sequence[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found
