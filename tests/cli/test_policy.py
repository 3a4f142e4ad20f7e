"""`policy` from the command line: what it prints, and that SES (the local one) lets exactly that mail pass."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.arn import parse_identity_arn
from relay.cli.explain import explain
from relay.cli.policy import Request, askers_of, policy
from relay.model import Identity
from relay.policy.delegates import parse_delegate
from relay.policy.grants import Terms, compact
from relay.policy.rule_grants import Askers
from relay.settings.model import CredentialSource, Settings
from relay.simulator import AccessKey
from relay.simulator.policy_document import read
from relay.simulator.reads import Reads
from relay.simulator.refusals import Refused
from relay.simulator.usage import Usage
from relay.simulator.words import Caller
from relay.simulator.world import Account, ConfigurationSet, Principal, World
from relay.simulator.world import Identity as Owned

ARN = "arn:aws:ses:us-west-2:123456789012:identity/example.com"
USER = "arn:aws:iam::111122223333:user/mail/relay"

CONFIGURATION = """\
identities:
  - senders: ["@example.com", "<>"]
    source_arn: arn:aws:ses:us-west-2:123456789012:identity/bounces.example
    from_arn: arn:aws:ses:us-west-2:123456789012:identity/example.com
    replace_sender: app@bounces.example
    configuration_set: events
  - name: shop
    senders: ["shop@shop.example"]
    source_arn: arn:aws:ses:us-west-2:123456789012:identity/shop.example
    credentials: smtp
    transport: smtp
  - name: own
    senders: ["@own.example"]
    source_arn: arn:aws:ses:us-west-2:111122223333:identity/own.example
    configuration_set: events
credentials:
  smtp: {smtp_username: AKIARELAY, smtp_password: an-smtp-password}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration in the usual place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SES_RELAY_CONFIG", raising=False)
    place = tmp_path / "config" / "relay.yaml"
    place.parent.mkdir()
    place.write_text(CONFIGURATION, "utf-8")
    place.chmod(0o600)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(policy, words)


def told(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def complaint(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 2
    return " ".join(result.output.split())


def test_one_side_is_a_document_that_can_be_piped() -> None:
    """The owner's and the delegate's, each alone; both together say where they belong."""
    words = (ARN, "--delegate", USER, "--from", "@example.com")
    both, owner, delegate = told(*words), told(*words, "--owner"), told(*words, "--delegate-side")

    assert owner["Statement"][0]["Principal"] == {"AWS": USER}
    assert delegate["Statement"][0]["Resource"] == ARN
    assert both == {
        "owner": [
            {"identity": ARN, "account": "123456789012", "region": "us-west-2", "name": "ses-relay", "policy": owner}
        ],
        "delegate": [{"principal": USER, "name": "ses-relay", "policy": delegate}],
    }


def test_several_documents_of_one_side_say_where_they_belong() -> None:
    found = told(ARN, ARN.replace(".com", ".net"), "--delegate", USER, "--owner")

    assert [one["identity"].rpartition("/")[2] for one in found["owner"]] == ["example.com", "example.net"]
    assert "delegate" not in found


def test_every_option_is_in_the_document() -> None:
    found = told(
        ARN, "--delegate", USER, "--owner", "--transport", "smtp", "--from", "@example.com", "--from", "a@x.example",
        "--display-name", "Shop *", "--feedback", "@.example.com", "--recipients", "@a.example", "--secure-transport",
    )  # fmt: skip

    (statement,) = found["Statement"]
    assert statement["Action"] == "ses:SendRawEmail"
    assert statement["Condition"] == {
        "StringLike": {
            "ses:FromAddress": ["*@example.com", "a@x.example"],
            "ses:FromDisplayName": ["Shop *"],
            "ses:FeedbackAddress": ["*@*.example.com"],
        },
        "ForAllValues:StringLike": {"ses:Recipients": ["*@a.example"]},
        "Bool": {"aws:SecureTransport": "true"},
    }


def test_an_organization() -> None:
    (statement,) = told(ARN, "--org-id", "o-a1b2c3d4e5", "--owner")["Statement"]

    assert statement["Principal"] == "*"
    assert statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}


def test_an_identity_of_several_regions_needs_a_policy_in_each() -> None:
    found = told(
        ARN.replace("us-west-2", "*"), "--delegate", USER, "--region", "us-east-1", "--region", "eu-west-1", "--owner"
    )

    assert [(one["region"], one["policy"]["Statement"][0]["Resource"]) for one in found["owner"]] == [
        ("us-east-1", ARN.replace("us-west-2", "us-east-1")),
        ("eu-west-1", ARN.replace("us-west-2", "eu-west-1")),
    ]


def test_with_reads_the_delegate_may_look_at_its_own_account() -> None:
    """Quota, configuration sets, and identities only where they are its own; the owner's policy stays as it is."""
    mine = "arn:aws:ses:us-west-2:111122223333:identity/own.example"
    words = (ARN, mine, "--delegate", USER, "--configuration-set", "events", "--delegate-side")
    plain, more = told(*words)["Statement"], told(*words, "--with-reads")["Statement"]

    assert more[: len(plain)] == plain
    assert [(one["Sid"].rstrip("0123456789"), one["Action"], one["Resource"]) for one in more[len(plain) :]] == [
        ("ReadQuota", ["ses:GetAccount", "ses:GetSendQuota"], "*"),
        ("ReadConfigurationSets", "ses:GetConfigurationSet",
         "arn:aws:ses:us-west-2:111122223333:configuration-set/events"),
        ("ReadIdentities", "ses:GetEmailIdentity", mine),
    ]  # fmt: skip
    assert told(ARN, "--delegate", USER, "--owner", "--with-reads") == told(ARN, "--delegate", USER, "--owner")


def test_what_is_read_is_what_the_relay_and_the_doctor_ask() -> None:
    """SES (the local one) answers each of their questions to who has this policy, and none to who has the plain one."""
    own = "arn:aws:ses:us-east-1:111122223333:identity/own.example"
    words = (own, "--delegate", USER, "--configuration-set", "events", "--delegate-side")
    answers = {}
    for more in ((), ("--with-reads",)):
        policy_ = read("p", told(*words, *more), "iam")
        key = AccessKey("AKIARELAY", "s", "111122223333", USER)
        world = World(
            regions=("us-east-1",), accounts={key.account: Account(key.account)}, keys=(key,),
            principals={USER: Principal(USER, (policy_,))},
            identities=(Owned(key.account, "us-east-1", "own.example"),),
            configuration_sets=(ConfigurationSet(key.account, "us-east-1", "events"),),
        )  # fmt: skip
        reads, caller = Reads(world, Usage()), Caller(key.access_key_id, key.account, USER, "us-east-1")
        answers[more] = [
            _permitted(partial(reads.send_quota, caller, NOW)),
            *(_permitted(reads.get(path, caller, NOW)[1]) for path in PATHS),
        ]

    assert answers == {(): [False] * 4, ("--with-reads",): [True] * 4}


NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATHS = ("account", "identities/own.example", "configuration-sets/events")


def _permitted(look: Callable[[], object]) -> bool:
    try:
        look()
    except Refused:
        return False
    return True


def commands(output: str) -> list[list[str]]:
    return [shlex.split(line) for line in output.splitlines() if line.startswith("  aws ")]


def test_people_get_commands_that_a_shell_understands() -> None:
    """Also with an apostrophe in an address; the document in a command is the one that is shown."""
    words = (ARN, "--delegate", USER, "--from", "o'brien@example.com")
    result = run(*words)
    owner, delegate = told(*words, "--owner"), told(*words, "--delegate-side")

    assert result.exit_code == 0
    put, create, iam = commands(result.output)
    place = ["--region", "us-west-2"]
    name = ["--policy-name", "ses-relay"]
    document = compact(owner).decode()
    assert put == [
        "aws",
        "ses",
        "put-identity-policy",
        *place,
        "--identity",
        "example.com",
        *name,
        "--policy",
        document,
    ]
    assert create[:3] == ["aws", "sesv2", "create-email-identity-policy"]
    assert create[3:7] == [*place, "--email-identity", "example.com"]
    assert iam[:5] == ["aws", "iam", "put-user-policy", "--user-name", "relay"]
    assert json.loads(iam[-1]) == delegate


@pytest.mark.parametrize(
    ("delegate", "command"),
    [
        ("arn:aws:iam::111122223333:role/mail/relay", ["put-role-policy", "--role-name", "relay"]),
        ("111122223333", ["put-user-policy", "--user-name", "NAME"]),
    ],
)
def test_the_delegates_command_fits_who_it_is(delegate: str, command: list[str]) -> None:
    result = run(ARN, "--delegate", delegate, "--delegate-side")

    assert commands(result.output)[0][2:5] == command


def test_a_long_policy_is_one_of_its_own() -> None:
    arns = [f"arn:aws:ses:us-west-2:123456789012:identity/customer-{number}.example" for number in range(40)]
    create, attach = commands(run(*arns, "--delegate", USER, "--delegate-side").output)

    assert create[:5] == ["aws", "iam", "create-policy", "--policy-name", "ses-relay"]
    assert attach == [
        "aws", "iam", "attach-user-policy", "--user-name", "relay",
        "--policy-arn", "arn:aws:iam::111122223333:policy/ses-relay",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["--from", "@example.com"], "Conditions compare upper and lower case"),
        (["--from", "@example.com"], "not the envelope sender"),
        ([], "Do not add a condition on ses:ApiVersion"),
        (["--display-name", "Läden"], "ses:FromDisplayName"),
        (["--sandbox"], "take it out when AWS has granted production access"),
        ([], "With --with-reads it may also read its own account's quota"),
        (["--delegate", "arn:aws:iam::111122223333:role/relay"], "Should it refuse a role"),
        (["--delegate", "123456789012"], "IAM alone decides there"),
    ],
)
def test_people_are_told_what_is_easily_got_wrong(words: list[str], note: str) -> None:
    """Each note only where it applies, but for the one on ses:ApiVersion."""
    plain = run(ARN, "--delegate", USER).output

    assert note in run(ARN, "--delegate", USER, *words).output
    assert not words or note not in plain


def test_an_address_must_be_verified_itself() -> None:
    assert "is an address: it must itself be verified in us-west-2" in run(
        ARN.replace("example.com", "news@example.com"), "--delegate", USER
    ).output  # fmt: skip


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([ARN], "who sends? Name it by --delegate"),
        ([ARN, "--delegate", USER, "--org-id", "o-a1b2c3d4e5"], "--delegate or --org-id, not both"),
        (["arn:aws:iam::111122223333:user/relay", "--delegate", USER], "not an SES identity"),
        ([ARN, "--delegate", "relay"], "neither an account id of 12 digits"),
        ([ARN, "--delegate", USER, "--from", "example.com"], "a domain is written @example.com"),
        ([ARN, "--delegate", USER, "--name", "a b"], "no name of a policy"),
        ([ARN, "--delegate", USER, "--region", "us-east-1"], "--region is for an ARN whose region is *"),
        ([ARN.replace("us-west-2", "*"), "--delegate", USER], "name them by --region"),
        ([ARN, "--delegate", USER, "--config", "relay.yaml"], "an ARN or --config, not both"),
        (["--delegate", USER, "--config", "nowhere.yaml"], "no such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(words: list[str], problem: str) -> None:
    assert problem in complaint(*words)


def test_a_configuration_in_the_environment_does_not_stand_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SES_RELAY_CONFIG", "nowhere.yaml")

    assert run(ARN, "--delegate", USER).exit_code == 0


@pytest.mark.usefixtures("here")
def test_the_whole_configuration_needs_to_know_who_sends() -> None:
    assert "whose credentials 'default' are (identity bounces.example): name it by --delegate" in complaint()
    assert "belong to an ARN" in complaint("--delegate", USER, "--configuration-set", "events")


@pytest.mark.usefixtures("here")
def test_the_whole_configuration() -> None:
    """Every identity of another account once, and one policy for the delegate, with its configuration set."""
    found = told("--delegate", USER)

    names = [one["identity"].rpartition("/")[2] for one in found["owner"]]
    assert names == ["example.com", "bounces.example", "shop.example"]
    (mine,) = found["delegate"]
    resources = json.dumps(mine["policy"])
    assert all(f"identity/{name}" in resources for name in [*names, "own.example"])
    assert "arn:aws:ses:us-west-2:111122223333:configuration-set/events" in resources


def test_a_role_of_the_configuration_is_who_sends_and_the_rest_is_named() -> None:
    """Of several entries of `credentials`, each identity is granted to its own."""
    role = "arn:aws:iam::123456789012:role/mail/send"
    chain = {"default": CredentialSource("default"), "owner": CredentialSource("owner", assume_role=role)}
    rules = tuple(
        Identity(name, (f"@{name}",), arn, arn, arn, "us-west-2", credentials=credentials)
        for name, credentials, arn in (
            ("example.com", "default", parse_identity_arn(ARN)),
            ("example.net", "owner", parse_identity_arn(ARN.replace(".com", ".net"))),
        )
    )
    named = parse_delegate(USER)
    request = Request((named,), None, Terms(), (), (), ())

    askers = askers_of(Settings(rules, credentials=chain), request)

    assert askers == Askers({"default": (named,), "owner": (parse_delegate(role),)})


WORLD = """\
regions: [us-west-2]
accounts:
  "111122223333":
    users:
      mail/relay:
        access_keys: [{access_key_id: AKIARELAY, secret_access_key: a-secret}]
        smtp_logins: [{smtp_username: AKIARELAY, smtp_password: an-smtp-password, region: us-west-2}]
        policies: {relay: delegate.json}
    identities: [{name: own.example}]
    configuration_sets: [{name: events}]
  "123456789012":
    identities:
"""


def world(place: Path, found: Any) -> Path:
    """A world in which exactly these policies are attached, each from a file as an owner would have it."""
    text = WORLD
    for number, one in enumerate(found["owner"]):
        (place / f"owner-{number}.json").write_text(json.dumps(one["policy"]), "utf-8")
        name = one["identity"].rpartition("/")[2]
        text += f"      - {{name: {name}, policies: {{{one['name']}: owner-{number}.json}}}}\n"
    (place / "delegate.json").write_text(json.dumps(found["delegate"][0]["policy"]), "utf-8")
    path = place / "world.yaml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("more", "sender", "author", "answer"),
    [
        ((), "app@example.com", "app@example.com", "accepted"),
        ((), "app@example.com", "Application <other@example.com>", "accepted"),
        ((), "", "app@example.com", "accepted"),
        ((), "app@example.com", "app@x.example.com", "AccessDenied"),
        ((), "app@example.com", "App@Example.com", "AccessDenied"),
        (("--from", "@.example.com"), "app@example.com", "app@x.example.com", "accepted"),
        (("--from", "@Example.com"), "app@example.com", "App@Example.com", "accepted"),
        ((), "shop@shop.example", "shop@shop.example", "accepted"),
        ((), "shop@shop.example", "boss@shop.example", "Access denied"),
        ((), "any@own.example", "any@own.example", "accepted"),
        (("--recipients", "@example.org"), "any@own.example", "any@own.example", "accepted"),
        (("--recipients", "@example.net"), "any@own.example", "any@own.example", "AccessDenied"),
        (("--recipients", "@example.net"), "app@example.com", "app@example.com", "AccessDenied"),
    ],
)
def test_ses_takes_what_the_configuration_sends_and_nothing_else(
    here: Path, more: tuple[str, ...], sender: str, author: str, answer: str
) -> None:
    """Round trip: the printed policies in a world, the relay's own message, SES's judgement on it."""
    path = world(here, told("--delegate", USER, *more))

    result = CliRunner().invoke(
        explain, [sender or "<>", "--from", author, "--world", str(path), "--to", "user@example.org", "--json"]
    )

    facts = json.loads(result.output)
    assert "refused" not in facts
    assert answer in json.dumps(facts["simulated"]["answer"])
    assert result.exit_code == (0 if answer == "accepted" else 1)
