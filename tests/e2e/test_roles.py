"""The relay as a process that sends with the keys of a role in the owner's account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from relay_process import Bench, submit

from relay.simulator import DELEGATE, Fault, Simulator
from relay.simulator.policy_document import VERSION, permit, read, trusting
from relay.simulator.world import Account, Identity, Principal, World

OWNER, EAST = "123456789012", "us-east-1"
ROLE = f"arn:aws:iam::{OWNER}:role/mail/send"
MAIL = b"From: app@example.com\r\nTo: ann@customer.example\r\n\r\nHello.\r\n"


def a_world() -> World:
    """The delegate may assume the role and nothing else; the role may send as its own account's identity."""
    trust = read("trust", {"Version": VERSION, "Statement": [trusting([DELEGATE.principal], "right")]}, "trust")
    return World(
        regions=(EAST,),
        accounts={one: Account(one) for one in (OWNER, DELEGATE.account)},
        principals={
            DELEGATE.principal: Principal(DELEGATE.principal, (permit("assume", ["sts:AssumeRole"], ROLE),)),
            ROLE: Principal(ROLE, (permit("send", ["ses:SendRawEmail"], "*"),), trust),
        },
        keys=(DELEGATE,),
        identities=(Identity(OWNER, EAST, "example.com"),),
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A local SES and STS with that world, and relays in front of it."""
    async with Simulator(world=a_world(), ca_file=tmp_path / "ca.pem") as ses:
        bench = Bench(ses, tmp_path)
        try:
            yield bench
        finally:
            await bench.close()


def by_role(bench: Bench, external_id: str) -> dict[str, Any]:
    """The changes that make the role send."""
    rules = [{**rule, "credentials": "owner"} for rule in bench.config()["identities"]]
    owner = {"assume_role": ROLE, "external_id": external_id, "session_name": "relay-7"}
    return {"identities": rules, "credentials": {"owner": owner}}


async def test_mail_goes_as_the_role(bench: Bench) -> None:
    """The session is assumed with the first message and serves the next; one that SES says has ended is renewed."""
    relay = await bench.start(**by_role(bench, "right"))
    answers = [await submit(relay, "app@example.com", MAIL) for _ in range(2)]
    bench.ses.faults.add(Fault(action="refuse", status=403, code="ExpiredToken", count=1))
    answers.append(await submit(relay, "app@example.com", MAIL))

    assert [code for code, _ in answers] == [250, 250, 250]
    assert [call.name for call in bench.ses.called if call.name == "AssumeRole"] == ["AssumeRole"] * 2
    keys = [message.access_key_id for message in bench.ses.received]
    assert keys[0] == keys[1] != keys[2]
    assert all(key.startswith("ASIA") for key in keys)


async def test_a_role_that_may_not_be_assumed(bench: Bench) -> None:
    """The application hears 451 and nothing of our roles; the log says who may not assume what."""
    relay = await bench.start(**by_role(bench, "wrong"))
    code, text = await submit(relay, "app@example.com", MAIL)
    event = await relay.event("message")

    assert (code, text[:6]) == (451, "4.3.5 ")
    assert "role" not in text
    assert f"assume {ROLE}: AccessDenied: User: {DELEGATE.principal}" in event["detail"]
    assert DELEGATE.secret_access_key not in relay.raw
