"""Sending authorization, case by case, over the wire of each interface: boto3 for the APIs, smtplib for SMTP.

The table is `authorization/cases.yaml`. Codes, statuses and words are spelled here once more, so that the simulator
is not its own witness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authorization_table import DELEGATE, Case, cases
from botocore.exceptions import ClientError
from ses_clients import answer, by_smtp, client, transaction

from relay.simulator import AccessKey, Simulator
from relay.simulator.worlds.file import load_world

CASES = list(cases())
KEYS = {
    name: AccessKey(f"AKIA{name.upper()}", f"{name}-secret", DELEGATE, f"arn:aws:iam::{DELEGATE}:user/{name}")
    for name in ("relay", "other")
}
SESSION = f"arn:aws:sts::{DELEGATE}:assumed-role/sender/relay"

Words = tuple[int, str, int, str, str, str]  # v1 status and code, v2 status and code, text, SMTP reply


def denied(case: Case, what: str) -> Words:
    who = SESSION if case["as"] == "role" else KEYS[case["as"]].principal
    text = f"User `{who}' is not authorized to perform `ses:SendRawEmail' on resource `{case.arn(what)}'"
    return 403, "AccessDenied", 403, "AccessDeniedException", text, f"554 Access denied: {text}"


def not_verified(case: Case, what: str) -> Words:
    region = case["region"].upper()
    text = f"Email address is not verified. The following identities failed the check in region {region}: {what}"
    return 400, "MessageRejected", 400, "MessageRejected", text, f"554 Message rejected: {text}"


def invalid_arn(case: Case, what: str) -> Words:
    text = f"Invalid ARN <{case.arn(what)}>."
    return 400, "InvalidParameterValue", 400, "BadRequestException", text, f"554 Transaction failed: {text}"


def no_set(_: Case, what: str) -> Words:
    text = f"Configuration set <{what}> does not exist."
    reply = f"554 Configuration Set does not exist: {text}"
    return 400, "ConfigurationSetDoesNotExist", 404, "NotFoundException", text, reply


def set_paused(_: Case, what: str) -> Words:
    text = f"Email sending is disabled for the configuration set <{what}>."
    code = "ConfigurationSetSendingPausedException"
    return 400, code, 400, "SendingPausedException", text, f"554 Message rejected: {text}"


SHUT_DOWN = (
    "Sending paused for this account. For more information, please check the inbox of the email address associated "
    "with your AWS account."
)


def account_paused(_: Case, __: str) -> Words:
    text = "Email sending is disabled for your entire Amazon SES account."
    code = "AccountSendingPausedException"
    return 400, code, 400, "SendingPausedException", text, f"554 Message rejected: {SHUT_DOWN}"


def account_shut_down(_: Case, __: str) -> Words:
    return 400, "MessageRejected", 400, "MessageRejected", SHUT_DOWN, f"554 Message rejected: {SHUT_DOWN}"


def throttled(text: str) -> Callable[[Case, str], Words]:
    reply = f"454 Throttling failure: {text}"
    return lambda _, __: (400, "Throttling", 429, "TooManyRequestsException", text, reply)


VERDICTS: dict[str, Callable[[Case, str], Words]] = {
    "denied ": denied,
    "not verified: ": not_verified,
    "invalid arn ": invalid_arn,
    "no set ": no_set,
    "set paused ": set_paused,
    "account paused": account_paused,
    "account shut down": account_shut_down,
    "quota": throttled("Daily message quota exceeded."),
    "rate": throttled("Maximum sending rate exceeded."),
}


def due(case: Case, interface: str) -> object:
    """What the client must hear."""
    expected = case.expected(interface)
    if expected == "accepted":
        return "accepted"
    verdict, words = next((prefix, words) for prefix, words in VERDICTS.items() if expected.startswith(prefix))
    status, code, v2_status, v2_code, text, reply = words(case, expected.removeprefix(verdict))
    return {"v1": (status, code, text), "v2": (v2_status, v2_code, text), "smtp": reply}[interface]


async def said(ses: Simulator, case: Case, interface: str) -> object:
    """What the client hears."""
    for _ in range(case["before"]):
        assert await _send(ses, case, interface, ["earlier@customer.example"]) == "accepted"
    return await _send(ses, case, interface, case.recipients)


async def _send(ses: Simulator, case: Case, interface: str, recipients: list[str]) -> object:
    if interface == "smtp":
        login = (KEYS[case["as"]], case["region"])
        code, text = await by_smtp(
            ses, transaction(case.raw(), case.sender, *recipients), region=login[1], key=login[0]
        )
        return "accepted" if code == 250 else f"{code} {text}"
    return await asyncio.to_thread(_call, ses, case, interface, recipients)


def _call(ses: Simulator, case: Case, interface: str, recipients: list[str]) -> object:
    key = _session(ses) if case["as"] == "role" else KEYS[case["as"]]
    options = _v1(case, recipients) if interface == "v1" else _v2(case, recipients)
    api = client(ses, "ses" if interface == "v1" else "sesv2", case["region"], key)
    try:
        (api.send_raw_email if interface == "v1" else api.send_email)(**options)
    except ClientError as error:
        return answer(error)
    finally:
        api.close()
    return "accepted"


def _v1(case: Case, recipients: list[str]) -> dict[str, Any]:
    names = {"source": "SourceArn", "from": "FromArn", "return_path": "ReturnPathArn"}
    options = {"Source": case.sender, "Destinations": recipients, "RawMessage": {"Data": case.raw()}}
    options |= {names[which]: arn for which, arn in case.arns("parameters").items()}
    return options | ({"ConfigurationSetName": case["set"]} if case["set"] else {})


def _v2(case: Case, recipients: list[str]) -> dict[str, Any]:
    arns = case.arns("parameters")
    options = {
        "FeedbackForwardingEmailAddress": case.sender,
        "Destination": {"ToAddresses": recipients},
        "Content": {"Raw": {"Data": case.raw()}},
        "FromEmailAddressIdentityArn": arns.get("from"),
        "FeedbackForwardingEmailAddressIdentityArn": arns.get("return_path"),
        "FromEmailAddress": case["visible_from"],
        "ConfigurationSetName": case["set"],
    }
    return {name: value for name, value in options.items() if value is not None}


def _session(ses: Simulator) -> AccessKey:
    sts = client(ses, "sts", key=KEYS["relay"])
    found = sts.assume_role(RoleArn=f"arn:aws:iam::{DELEGATE}:role/sender", RoleSessionName="relay")["Credentials"]
    sts.close()
    return AccessKey(found["AccessKeyId"], found["SecretAccessKey"], DELEGATE, SESSION, found["SessionToken"])


@pytest.mark.parametrize("case", [pytest.param(case, id=case["case"]) for case in CASES])
async def test_the_table(case: Case, tmp_path: Path) -> None:
    """Every client hears what the table says, word for word, and the decision knows how sure that is."""
    path = tmp_path / "world.yaml"
    path.write_text(case.world(), "utf-8")
    heard, decisions = {}, {}
    async with Simulator(world=load_world(path, {}).world) as ses:
        for interface in case["only"]:
            heard[interface] = await said(ses, case, interface)
            decisions[interface] = ses.decisions[-1]
            assert ses.total == case["before"] + (heard[interface] == "accepted")
            ses.clear()

    assert heard == {interface: due(case, interface) for interface in heard}
    assert {one: decisions[one].verified for one in heard} == {one: case.is_verified(one) for one in heard}
    for decision in decisions.values():
        assert (decision.answer == "accepted") == all(check.verdict != "failed" for check in decision.checks)
        assert all(check.why and check.source for check in decision.checks)


def test_how_much_of_it_is_known() -> None:
    """Cases whose answer is documented or reported, and cases where the simulator's is a guess that says so."""
    verified = [case for case in CASES if case["verified"] is not False]
    unverified = [case for case in CASES if case["verified"] is False]
    settled_but_for_one = [case for case in verified if case["verified"] is not True]

    assert (len(CASES), len(verified), len(unverified)) == (218, 180, 38)
    assert len(settled_but_for_one) == 10
    assert len({case["case"] + case["about"] for case in CASES}) == len(CASES)
