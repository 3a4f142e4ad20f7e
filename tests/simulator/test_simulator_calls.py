"""STS and the looks at accounts, with boto3 as the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ses_clients import EAST, WEST, answer, arn, client, mail, send_v1

from relay.simulator import DELEGATE, AccessKey, Fault, Simulator
from relay.simulator.keys import KeyRing
from relay.simulator.policy_document import permit, read
from relay.simulator.world import Account, ConfigurationSet, Identity, Principal, Sending, World

OWNER, MINE, THIRD = "123456789012", DELEGATE.account, "222233334444"
ROLE = f"arn:aws:iam::{OWNER}:role/mail/send"
LOCAL_ROLE = f"arn:aws:iam::{MINE}:role/local"
NARROW = AccessKey("AKIANARROW", "narrow", MINE, f"arn:aws:iam::{MINE}:user/narrow")
STRANGER = AccessKey("AKIASTRANGER", "strange", THIRD, f"arn:aws:iam::{THIRD}:user/stranger")


def trust(principal: str, external_id: str | None = None) -> Any:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return read("trust", {"Version": "2012-10-17", "Statement": [statement]}, "trust")


def everything(name: str) -> Principal:
    return Principal(name, (permit("everything", "*", "*"),))


def a_world() -> World:
    """An owner with a role for the delegate, the delegate with little in one region, and a stranger."""
    boxed = Sending(production=False, enforcement="PROBATION", max_24_hour_send=200, max_send_rate=1)
    anybody = permit("p", ["ses:Send*"], arn(EAST, "example.net", MINE), ["*"])
    principals = (
        everything(DELEGATE.principal),
        everything(STRANGER.principal),
        Principal(NARROW.principal, (permit("send", ["ses:SendRawEmail"], "*"),)),
        Principal(ROLE, (permit("ses", ["ses:*"], "*"),), trust(DELEGATE.principal, "secret-word"), 7200),
        Principal(LOCAL_ROLE, (permit("ses", ["ses:*"], "*"),), trust(NARROW.principal)),
    )
    return World(
        regions=(EAST, WEST),
        accounts={
            OWNER: Account(OWNER),
            MINE: Account(MINE, sending=boxed, elsewhere={WEST: Sending(paused=True)}),
            THIRD: Account(THIRD),
        },
        principals={one.arn: one for one in principals},
        keys=(DELEGATE, NARROW, STRANGER),
        identities=(
            Identity(MINE, EAST, "example.net", policies=(anybody,)),
            Identity(MINE, EAST, "New@example.net", verified=False),
            Identity(OWNER, EAST, "example.com"),
        ),
        configuration_sets=(ConfigurationSet(MINE, EAST, "events"), ConfigurationSet(MINE, EAST, "quiet", paused=True)),
    )


@pytest.fixture
async def ses() -> AsyncIterator[Simulator]:
    async with Simulator(world=a_world()) as simulator:
        yield simulator


async def ask(
    ses: Simulator, service: str, call: str, *, region: str = EAST, key: AccessKey = DELEGATE, **options: Any
) -> dict[str, Any]:
    """One call with boto3, without the metadata."""
    api = client(ses, service, region, key)
    try:
        found: dict[str, Any] = await asyncio.to_thread(getattr(api, call), **options)
    finally:
        api.close()
    del found["ResponseMetadata"]
    return found


async def refused(ses: Simulator, service: str, call: str, **options: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        await ask(ses, service, call, **options)
    return answer(caught.value)


async def assume(ses: Simulator, role: str = ROLE, key: AccessKey = DELEGATE, **options: Any) -> AccessKey:
    """The key of a session."""
    options = {"RoleArn": role, "RoleSessionName": "relay", **options}
    found = await ask(ses, "sts", "assume_role", key=key, **options)
    keys = found["Credentials"]
    who = found["AssumedRoleUser"]["Arn"]
    return AccessKey(
        keys["AccessKeyId"], keys["SecretAccessKey"], who.split(":")[4], who, keys["SessionToken"], keys["Expiration"]
    )


async def test_callers_are_told_who_they_are(ses: Simulator) -> None:
    """Without any permission, in any region, with an id that stays the same."""
    mine = await ask(ses, "sts", "get_caller_identity", key=NARROW, region=WEST)
    again = await ask(ses, "sts", "get_caller_identity", key=NARROW)

    assert mine == again
    assert (mine["Account"], mine["Arn"]) == (MINE, NARROW.principal)
    assert mine["UserId"].startswith("AIDA")


async def test_a_role_is_assumed_and_used(ses: Simulator) -> None:
    """The session is of the owner's account, says so, and may send there without naming an ARN."""
    session = await assume(ses, ExternalId="secret-word")
    who = await ask(ses, "sts", "get_caller_identity", key=session)
    await send_v1(ses, mail(identity=""), key=session)

    assert session.principal == f"arn:aws:sts::{OWNER}:assumed-role/send/relay"
    assert (who["Arn"], who["Account"]) == (session.principal, OWNER)
    assert who["UserId"].endswith(":relay")
    assert ses.received[0].access_key_id == session.access_key_id


@pytest.mark.parametrize(
    ("key", "role", "external_id"),
    [
        (DELEGATE, ROLE, None),
        (DELEGATE, ROLE, "wrong-word"),
        (STRANGER, ROLE, "secret-word"),
        (NARROW, ROLE, "secret-word"),
        (DELEGATE, LOCAL_ROLE, None),
        (DELEGATE, f"arn:aws:iam::{OWNER}:role/nobody", "secret-word"),
    ],
    ids=["no external id", "wrong external id", "not trusted", "not allowed by IAM", "not named", "no such role"],
)
async def test_who_may_not_assume_a_role(ses: Simulator, key: AccessKey, role: str, external_id: str | None) -> None:
    """Trust and, across accounts, IAM must both agree; the answer does not tell which did not."""
    options = {"ExternalId": external_id} if external_id else {}
    status, code, text = await refused(
        ses, "sts", "assume_role", key=key, RoleArn=role, RoleSessionName="relay", **options
    )

    assert (status, code) == (403, "AccessDenied")
    assert text == f"User: {key.principal} is not authorized to perform: sts:AssumeRole on resource: {role}"


async def test_in_its_own_account_trust_by_name_is_enough(ses: Simulator) -> None:
    """Without any permission to assume roles."""
    assert (await assume(ses, LOCAL_ROLE, NARROW)).account == MINE


@pytest.mark.parametrize(
    "options",
    [
        {"DurationSeconds": 7201},
        {"DurationSeconds": 43201},
        {"RoleSessionName": "bad name"},
        {"RoleArn": "arn:aws:iam::1:role/x/tooshort"},
        {"Policy": "{}"},
    ],
    ids=str,
)
async def test_malformed_calls_are_refused(ses: Simulator, options: dict[str, Any]) -> None:
    """Durations, names, ARNs, and whatever is not simulated."""
    call = {"RoleArn": ROLE, "RoleSessionName": "relay", "ExternalId": "secret-word", **options}

    assert (await refused(ses, "sts", "assume_role", **call))[:2] == (400, "ValidationError")


async def test_a_session_that_assumes_a_role_gets_an_hour_at_most() -> None:
    """Role chaining."""
    world = a_world()
    chained = Principal(ROLE, (permit("all", "*", "*"),), trust(f"arn:aws:iam::{OWNER}:role/mail/send"), 7200)
    first = Principal(LOCAL_ROLE, (permit("all", "*", "*"),), trust(DELEGATE.principal))
    target = replace(chained, trust=trust(LOCAL_ROLE))
    async with Simulator(world=replace(world, principals={**world.principals, ROLE: target, LOCAL_ROLE: first})) as ses:
        session = await assume(ses, LOCAL_ROLE)
        call = {"RoleArn": ROLE, "RoleSessionName": "relay", "key": session}

        assert (await refused(ses, "sts", "assume_role", DurationSeconds=3601, **call))[1] == "ValidationError"
        assert (await assume(ses, ROLE, session, DurationSeconds=3600)).account == OWNER


async def test_a_session_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the second, for STS and both APIs, each in its spelling."""
    clock = [datetime(2030, 1, 1, tzinfo=UTC)]
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: clock[0].replace(tzinfo=None))
    async with Simulator(world=a_world(), clock=lambda: clock[0]) as ses:
        session = await assume(ses, LOCAL_ROLE, NARROW, DurationSeconds=900)
        clock[0] += timedelta(seconds=899)
        assert await ask(ses, "ses", "get_send_quota", key=session)
        clock[0] += timedelta(seconds=1)
        answers = [
            await refused(ses, service, call, key=session)
            for service, call in (("ses", "get_send_quota"), ("sesv2", "get_account"), ("sts", "get_caller_identity"))
        ]

    words = "The security token included in the request is expired"
    assert session.expires == clock[0]
    assert answers == [
        (403, "ExpiredToken", words),
        (403, "ExpiredTokenException", words),
        (403, "ExpiredToken", words),
    ]


def test_sessions_are_forgotten_in_the_end() -> None:
    """An hour after they expired, and the oldest beyond ten thousand: no number of calls fills the memory."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    ring = KeyRing([DELEGATE], [], [EAST])

    def session(number: int, expires: datetime) -> AccessKey:
        return AccessKey(f"ASIA{number}", "s", MINE, "arn", "token", expires)

    ring.add_session(session(0, now), now)
    ring.add_session(session(1, now + timedelta(hours=9)), now + timedelta(minutes=59))
    assert ring.key("ASIA0")
    ring.add_session(session(2, now + timedelta(hours=9)), now + timedelta(minutes=61))
    assert [bool(ring.key(f"ASIA{number}")) for number in range(3)] == [False, True, True]
    for number in range(3, 10_003):
        ring.add_session(session(number, now + timedelta(hours=9)), now)

    assert [bool(ring.key(f"ASIA{number}")) for number in (1, 2, 3, 10_002)] == [False, False, True, True]
    assert ring.key(DELEGATE.access_key_id) == DELEGATE


async def test_quota_and_account_are_of_the_region(ses: Simulator) -> None:
    """Sandbox in one region, production and paused in the other; what was sent counts where it was sent."""
    session = await assume(ses, LOCAL_ROLE, NARROW)
    east = await ask(ses, "sesv2", "get_account", key=session)
    west = await ask(ses, "sesv2", "get_account", key=session, region=WEST)
    quota = await ask(ses, "ses", "get_send_quota")

    assert (east["ProductionAccessEnabled"], east["SendingEnabled"], east["EnforcementStatus"]) == (
        False,
        True,
        "PROBATION",
    )
    assert (west["ProductionAccessEnabled"], west["SendingEnabled"], west["EnforcementStatus"]) == (
        True,
        False,
        "HEALTHY",
    )
    assert quota == east["SendQuota"] == {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 0.0}
    assert west["SendQuota"]["Max24HourSend"] == -1.0


async def test_identities_are_seen_by_their_account(ses: Simulator) -> None:
    """With verification and policies; the delegate cannot look at the owner's."""
    domain = await ask(ses, "sesv2", "get_email_identity", EmailIdentity="example.net")
    address = await ask(ses, "sesv2", "get_email_identity", EmailIdentity="New@example.net")

    assert (domain["IdentityType"], domain["VerifiedForSendingStatus"]) == ("DOMAIN", True)
    assert "ses:Send*" in domain["Policies"]["p"]
    assert (address["IdentityType"], address["VerificationStatus"]) == ("EMAIL_ADDRESS", "PENDING")
    for name, region in (("example.com", EAST), ("example.net", WEST), ("new@example.net", EAST)):
        status, code, _ = await refused(ses, "sesv2", "get_email_identity", EmailIdentity=name, region=region)
        assert (status, code) == (404, "NotFoundException")


async def test_configuration_sets_are_seen(ses: Simulator) -> None:
    """Whether they send, or that there is none."""
    events = await ask(ses, "sesv2", "get_configuration_set", ConfigurationSetName="events")
    quiet = await ask(ses, "sesv2", "get_configuration_set", ConfigurationSetName="quiet")

    assert events["SendingOptions"] == {"SendingEnabled": True}
    assert quiet["SendingOptions"] == {"SendingEnabled": False}
    assert (await refused(ses, "sesv2", "get_configuration_set", ConfigurationSetName="none"))[1] == "NotFoundException"


@pytest.mark.parametrize(
    ("service", "call", "options", "code"),
    [
        ("ses", "get_send_quota", {}, "AccessDenied"),
        ("sesv2", "get_account", {}, "AccessDeniedException"),
        ("sesv2", "get_email_identity", {"EmailIdentity": "example.net"}, "AccessDeniedException"),
        ("sesv2", "get_configuration_set", {"ConfigurationSetName": "events"}, "AccessDeniedException"),
    ],
)
async def test_looking_needs_permission(
    ses: Simulator, service: str, call: str, options: dict[str, Any], code: str
) -> None:
    """A user who may only send may not look."""
    status, found, text = await refused(ses, service, call, key=NARROW, **options)

    assert (status, found) == (403, code)
    assert text.startswith(f"User `{NARROW.principal}' is not authorized to perform `ses:Get")


@pytest.mark.parametrize(
    ("service", "call"), [("ses", "get_send_quota"), ("sesv2", "get_account"), ("sts", "get_caller_identity")]
)
async def test_signatures_are_checked(ses: Simulator, service: str, call: str) -> None:
    """As for messages."""
    wrong = replace(DELEGATE, secret_access_key="wrong")

    assert (await refused(ses, service, call, key=wrong))[0] == 403
    assert (await refused(ses, service, call, key=replace(DELEGATE, access_key_id="AKIANOBODY")))[0] == 403


async def test_calls_are_noted_and_can_be_disturbed(ses: Simulator) -> None:
    """A fault at the stage `call` strikes one of them by name, and what was answered is kept."""
    ses.faults.add(Fault(action="throttle", stage="call", call="GetAccount", count=1, text="Rate exceeded"))

    assert (await refused(ses, "sesv2", "get_account"))[1:] == ("TooManyRequestsException", "Rate exceeded")
    await ask(ses, "sesv2", "get_account")
    await ask(ses, "ses", "get_send_quota", region=WEST)

    assert [(call.name, call.region, call.answer) for call in ses.called] == [
        ("GetAccount", EAST, "TooManyRequestsException"),
        ("GetAccount", EAST, "ok"),
        ("GetSendQuota", WEST, "ok"),
    ]
