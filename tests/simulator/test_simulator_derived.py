"""The world that a relay's configuration takes for granted: its delegates may send as it says, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ses_clients import EAST, WEST, arn, client, mail, send_v1

from relay.settings.load import load
from relay.simulator import DELEGATE, AccessKey, Decision, Simulator, World
from relay.simulator.callers import introduce
from relay.simulator.rehearsal import rehearse
from relay.simulator.worlds.derived import derive

CONFIGURATION = f"""
identities:
  - {{senders: ["@example.com"], source_arn: "{arn()}", configuration_set: events}}
  - {{senders: ["@example.net"], source_arn: "{arn(WEST, "example.net")}", credentials: keys}}
  - {{senders: ["@example.org"], source_arn: "{arn("*", "example.org")}", region: {WEST}, credentials: role}}
  - {{senders: ["@x.example"], name: x, source_arn: "{arn(EAST, "x.example", "222233334444")}", from_arn: header,
     return_path_arn: "{arn(EAST, "bounces.example")}", credentials: login, transport: smtp}}
  - {{senders: ["@y.example"], source_arn: "{arn(EAST, "y.example")}", credentials: profile}}
credentials:
  keys: {{access_key_id: AKIAKEYS, secret_access_key: s1}}
  role: {{assume_role: "arn:aws:iam::222233334444:role/mail/send", external_id: word, source: keys}}
  login: {{smtp_username: AKIALOGIN, smtp_password: s2}}
  profile: {{profile: partner}}
"""
PROFILES = """
[partner]
aws_access_key_id = AKIAPROFILE
aws_secret_access_key = s3
"""
ACCOUNT = DELEGATE.account


def user(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "profiles").write_text(PROFILES, "utf-8")
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "profiles"),
        "AWS_ACCESS_KEY_ID": "AKIACHAIN",
        "AWS_SECRET_ACCESS_KEY": "s4",
    }


def world_of(tmp_path: Path, environ: Mapping[str, str], text: str = CONFIGURATION) -> World:
    path = tmp_path / "relay.yaml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return derive(load(path, {}).settings, environ, DELEGATE)


def test_everybody_is_there(tmp_path: Path, environ: dict[str, str]) -> None:
    """Owners, delegates with their keys and logins, regions and configuration sets."""
    world = world_of(tmp_path, environ)

    assert set(world.accounts) == {ACCOUNT, "123456789012", "222233334444"}
    assert list(world.regions) == [EAST, WEST]
    assert {key.access_key_id: key.principal for key in world.keys} == {
        DELEGATE.access_key_id: DELEGATE.principal,
        "AKIACHAIN": DELEGATE.principal,
        "AKIAKEYS": user("keys"),
        "AKIAPROFILE": user("profile"),
    }
    assert [(login.username, login.region, login.principal) for login in world.logins] == [
        ("AKIALOGIN", EAST, user("login"))
    ]
    assert [(one.account, one.region, one.name) for one in world.configuration_sets] == [(ACCOUNT, EAST, "events")]
    assert world.identity("123456789012", WEST, "example.org") is not None


def named(world: World, account: str, region: str, name: str) -> set[str]:
    """Whom the policies of an identity name."""
    identity = world.identity(account, region, name)
    assert identity is not None
    statements = (statement for policy in identity.policies for statement in policy.statements)
    return {one for statement in statements if statement.who for one in statement.who.aws}


def test_policies_allow_exactly_those_that_send(tmp_path: Path, environ: dict[str, str]) -> None:
    """By its own rule, or because their From may be of it."""
    world = world_of(tmp_path, environ)

    assert named(world, "123456789012", EAST, "example.com") == {DELEGATE.principal, user("login")}
    assert named(world, "123456789012", EAST, "bounces.example") == {user("login")}
    assert named(world, "123456789012", EAST, "y.example") == {user("profile"), user("login")}
    assert "arn:aws:iam::222233334444:role/mail/send" in named(world, "123456789012", WEST, "example.org")


def assumed(ses: Simulator, by: AccessKey) -> AccessKey:
    sts = client(ses, "sts", EAST, by)
    role = "arn:aws:iam::222233334444:role/mail/send"
    found = sts.assume_role(RoleArn=role, RoleSessionName="me", ExternalId="word")["Credentials"]
    sts.close()
    return AccessKey(found["AccessKeyId"], found["SecretAccessKey"], "", "", found["SessionToken"])


async def test_mail_of_each_goes(tmp_path: Path, environ: dict[str, str]) -> None:
    """By the default chain, by keys, and by a role of the owner that its source assumes."""
    async with Simulator(world=world_of(tmp_path, environ)) as ses:
        keys = next(key for key in ses.keys if key.access_key_id == "AKIAKEYS")
        session = await asyncio.to_thread(assumed, ses, keys)
        await send_v1(ses, mail())
        net, org = arn(WEST, "example.net"), arn(WEST, "example.org")
        await send_v1(ses, mail(identity=net, sender="a@example.net"), key=keys, region=WEST, Source="a@example.net")
        await send_v1(ses, mail(identity=org, sender="a@example.org"), key=session, region=WEST, Source="a@example.org")

    assert [one.verified for one in ses.decisions] == [True] * 3


def test_no_environment_is_fine(tmp_path: Path) -> None:
    """Then the chain is the example key, and a profile has none."""
    world = world_of(tmp_path, {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")})

    assert [key.access_key_id for key in world.keys] == [DELEGATE.access_key_id, "AKIAKEYS"]


def test_very_many_delegates_are_named_by_account(tmp_path: Path) -> None:
    """A policy has room for some only."""
    keys = "\n".join(f"  k{n}: {{access_key_id: A{n}, secret_access_key: s}}" for n in range(80))
    rules = "\n".join(
        f'  - {{senders: ["s{n}@example.com"], name: r{n}, source_arn: "{arn()}", credentials: k{n}}}'
        for n in range(80)
    )
    world = world_of(tmp_path, {}, f"identities:\n{rules}\ncredentials:\n{keys}\n")

    assert named(world, "123456789012", EAST, "example.com") == {ACCOUNT}


def rehearsed(world: World, tmp_path: Path, name: str, sender: str, environ: Mapping[str, str]) -> Decision:
    """The decision on a message of one rule, as `explain --simulate` asks for it."""
    settings = load(tmp_path / "relay.yaml", {}).settings
    rule = next(one for one in settings.identities if one.name == name)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    who = introduce(world, settings.credentials, rule, environ, now)
    raw = mail(identity=str(rule.source_arn), sender=sender)
    return rehearse(world, who, rule, sender, ("b@example.net",), raw, now)


@pytest.mark.parametrize(
    ("rule", "interface", "principal"),
    [
        ("example.com", "v1", DELEGATE.principal),
        ("example.net", "v1", user("keys")),
        ("example.org", "v1", "arn:aws:sts::222233334444:assumed-role/send/ses-relay"),
        ("y.example", "v1", user("profile")),
    ],
)
def test_a_rehearsal_is_by_whom_the_relay_would_be(
    tmp_path: Path, environ: dict[str, str], rule: str, interface: str, principal: str
) -> None:
    """Keys and roles are found by what the configuration says of them, the chain by the environment."""
    decision = rehearsed(world_of(tmp_path, environ), tmp_path, rule, f"a@{rule}", environ)

    assert (decision.interface, decision.principal) == (interface, principal)
    assert decision.answer == "accepted"


def test_a_rehearsal_by_smtp_answers_as_smtp(tmp_path: Path, environ: dict[str, str]) -> None:
    """With the login's user."""
    decision = rehearsed(world_of(tmp_path, environ), tmp_path, "x", "a@elsewhere.example", environ)

    assert (decision.interface, decision.principal) == ("smtp", user("login"))
    assert decision.answer.startswith("554 Message rejected: Email address is not verified.")


def test_whom_the_world_does_not_know_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    """A key or a role that is in no account of it."""
    other = CONFIGURATION.replace("AKIAKEYS", "AKIAOTHER").replace("role/mail/send", "role/other")
    world = world_of(tmp_path, environ, other)
    world_of(tmp_path, environ)

    answers = [rehearsed(world, tmp_path, name, f"a@{name}", environ) for name in ("example.net", "example.org")]
    assert [answer.answer.partition(":")[0] for answer in answers] == ["InvalidClientTokenId"] * 2
    assert "nobody in this world has the access key AKIAKEYS" in answers[0].checks[-1].why


def test_keys_of_the_shared_files_are_known(tmp_path: Path, environ: dict[str, str]) -> None:
    """Of the profile that boto3's chain would take, where the environment has none."""
    (tmp_path / "profiles").write_text(PROFILES.replace("partner", "default"), "utf-8")
    del environ["AWS_ACCESS_KEY_ID"]
    world = world_of(tmp_path, environ)

    assert {key.access_key_id: key.principal for key in world.keys}["AKIAPROFILE"] == DELEGATE.principal
    assert world.entries["default"] == DELEGATE.principal
