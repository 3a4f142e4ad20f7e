"""World files: the shipped sample is good, what is wrong with others is said, and what they say comes out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from ses_clients import EAST, WEST

from relay.settings.problems import ConfigurationError, Problem
from relay.simulator import DELEGATE, World, load_world
from relay.simulator.world import Identity, Sending, covers

HERE = Path(__file__).parent / "worlds"
SAMPLE = Path(__file__).resolve().parents[2] / "config" / "world.yaml"
BAD = sorted((HERE / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_world_is_refused_with_every_problem_at_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line and key of each, in the words of the relay's own configuration."""
    (tmp_path / "bad").mkdir()
    shutil.copy(HERE / "wrong_policy.json", tmp_path)
    shutil.copy(path, tmp_path / "bad")
    monkeypatch.chdir(tmp_path / "bad")
    with pytest.raises(ConfigurationError) as caught:
        load_world(Path(path.name), {})

    assert f"{caught.value}\n" == path.with_suffix(".expected.txt").read_text("utf-8")


def test_there_are_bad_worlds() -> None:
    """A pattern that finds nothing would make the test above pass without testing."""
    assert len(BAD) >= 10


def load(tmp_path: Path, text: str, **environ: str) -> World:
    path = tmp_path / "world.yaml"
    path.write_text(text, "utf-8")
    return load_world(path, environ).world


def test_the_sample_is_a_world() -> None:
    """Without a word of warning, with the delegate's usual key."""
    loaded = load_world(SAMPLE, {})
    world = loaded.world

    assert loaded.warnings == ()
    assert [key.access_key_id for key in world.keys] == [DELEGATE.access_key_id, "AKIATRIALEXAMPLE"]
    assert world.keys[0].principal == DELEGATE.principal
    assert world.accounts["444455556666"].sending == Sending(production=False, max_24_hour_send=200, max_send_rate=1)
    assert world.accounts["123456789012"].sending_in(WEST).max_send_rate == 10
    assert world.principals["arn:aws:iam::123456789012:role/mail/send"].max_session_s == 7200


def test_the_sample_has_every_key() -> None:
    """Whatever the reader knows is shown, so that nobody has to guess."""
    known = {
        "regions", "source_ip", "disputed", "source_arn_alone", "owner_in_sandbox", "accounts", "production", "paused",
        "enforcement", "max_24_hour_send", "max_send_rate", "elsewhere", "organization", "partition", "identities",
        "name", "verified", "delegates", "policies", "roles", "trusted", "external_id", "trust_policy", "max_session",
        "users", "access_keys", "access_key_id", "secret_access_key", "smtp_logins", "smtp_username", "smtp_password",
        "region", "configuration_sets",
    }  # fmt: skip
    told = [
        problem.allowed
        for name in ("unknown_keys",)
        for problem in _problems(HERE / "bad" / f"{name}.yaml")
        if problem.found == "an unknown key"
    ]
    asked = {word for allowed in told for word in allowed.partition(";")[0].split(", ")}

    assert asked - known == set()
    assert known - set(_keys(yaml.safe_load(SAMPLE.read_text("utf-8")))) == set()


def _problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        load_world(path, {})
    return list(caught.value.problems)


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*map(str, value), *(key for one in value.values() for key in _keys(one))]
    return [key for one in value for key in _keys(one)] if isinstance(value, list) else []


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    """As in the relay's own configuration."""
    world = load(
        tmp_path,
        """
regions: us-east-1
accounts:
  "123456789012": {users: {me: {access_keys: [{access_key_id: A, secret_access_key: "${KEY}"}]}}}
""",
        KEY="hunter2",
    )

    assert world.keys[0].secret_access_key == "hunter2"
    assert "hunter2" not in repr(world)


MISSPELT = """\
regions: us-east-1
accounts:
  "123456789012":
    users:
      me:
        access_keys: [{access_key_id: A, secret_access_key: s}]
        policies:
          mail:
            Statement:
              Effect: Allow
              Action: ses:*
              Resource: "*"
              Condition:
                StringLike: {ses:FromAdress: "*@example.com", "s3:prefix": x}
    identities:
      - {name: example.com, policies: {p: policy.json}}
    roles:
      r:
        trust_policy:
          Statement:
            - {Effect: Allow, Principal: "*", Action: sts:AssumeRole, Condition: {StringEquals: {sts:Externalld: x}}}
"""


def test_condition_keys_that_do_not_exist_are_warned_of(tmp_path: Path) -> None:
    """AWS takes such a policy, so that the world is good; file, line and key are told, and what may be meant."""
    (tmp_path / "policy.json").write_text(
        '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ses:*", "Condition": {"StringEquals": '
        '{"ses:ConfigurationSetName": "x"}}, "Resource": "arn:aws:ses:us-east-1:123456789012:identity/example.com"}]}'
    )
    path = tmp_path / "world.yaml"
    path.write_text(MISSPELT, "utf-8")
    warnings = [str(problem).removeprefix(str(path)) for problem in load_world(path, {}).warnings]

    account, allowed = "accounts.123456789012", "allowed a condition key of SES, STS or AWS in general"
    iam = f"{account}.users.me.policies.mail.Statement.Condition.StringLike.ses:FromAdress"
    owners = f"{account}.identities[0].policies.p.Statement[0].Condition.StringEquals.ses:ConfigurationSetName"
    trust = f"{account}.roles.r.trust_policy.Statement[0].Condition.StringEquals.sts:Externalld"
    assert warnings == [
        f":14: warning: {iam}: found ses:FromAdress; {allowed}; did you mean ses:FromAddress?",
        f":16: warning: {owners}: found ses:ConfigurationSetName in policy.json; {allowed}",
        f":21: warning: {trust}: found sts:Externalld; {allowed}; did you mean sts:ExternalId?",
    ]


def test_policies_come_from_files(tmp_path: Path) -> None:
    """JSON beside the world, as an owner would be sent it."""
    (tmp_path / "policy.json").write_text(
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "111122223333"},'
        ' "Action": "ses:SendRawEmail", "Resource": "arn:aws:ses:us-east-1:123456789012:identity/example.com"}]}'
    )
    world = load(
        tmp_path,
        """
regions: us-east-1
accounts:
  "123456789012":
    users: {me: {access_keys: [{access_key_id: A, secret_access_key: B}]}}
    identities: [{name: example.com, policies: {relay: policy.json}}]
""",
    )

    assert [policy.name for policy in world.identities[0].policies] == ["relay"]


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("example.com", "a@example.com", True),
        ("Example.com", "a@eXample.com", True),
        ("example.com", "a@b.example.com", True),
        ("example.com", "a@badexample.com", False),
        ("b.example.com", "a@example.com", False),
        ("a@example.com", "a@example.com", True),
        ("a@example.com", "a+b+c@example.com", True),
        ("a+b@example.com", "a+b@example.com", True),
        ("a+b@example.com", "a@example.com", False),
        ("a@example.com", "A@example.com", False),
        ("a@example.com", "a@Example.com", False),
        ("a@example.com", "b@example.com", False),
    ],
)
def test_what_an_identity_covers(name: str, address: str, expected: bool) -> None:
    """A domain with its subdomains, in any case; an address with its labels, in this case."""
    assert covers(name, address) == expected


def test_the_most_specific_verified_identity_counts() -> None:
    """Address before domain, domain before the one above it; what is not verified is passed over."""
    names = ("example.com", "sub.example.com", "a@sub.example.com")
    identities = [Identity("123456789012", EAST, name) for name in names]
    pending = Identity("123456789012", EAST, "b@sub.example.com", verified=False)
    world = World((EAST,), {}, identities=[*identities, pending])

    found = [
        world.covering("123456789012", EAST, address)
        for address in ("a+x@sub.example.com", "b@sub.example.com", "b@example.com", "b@example.net")
    ]

    assert [one and one.name for one in found] == ["a@sub.example.com", "sub.example.com", "example.com", None]
    assert world.covering("123456789012", WEST, "a@example.com") is None


def test_an_account_that_nothing_is_said_of_is_like_any_other() -> None:
    """Worlds made by hand need not name everybody."""
    assert World((EAST,), {}).account("123456789012").sending_in(EAST) == Sending()
