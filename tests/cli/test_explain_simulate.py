"""`ses-relay explain --simulate`: the relay's own steps, and then what SES would say, check by check."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from relay.cli.explain import explain
from relay.simulator import Simulator, load_world

WORLD = Path(__file__).resolve().parents[2] / "config" / "world.yaml"
ARN = "arn:aws:ses:us-east-1:123456789012:identity/example.com"
CONFIGURATION = f"""
identities:
  - {{senders: ["@example.com"], source_arn: "{ARN}"}}
  - {{senders: ["trial@example.com"], source_arn: "{ARN}", name: trial, credentials: trial, transport: smtp}}
  - {{senders: ["@tenant.example"], source_arn: "{ARN}", name: tenant, tenant: someone, header_from: any}}
credentials:
  trial: {{access_key_id: AKIATRIALEXAMPLE, secret_access_key: a-secret-for-trials}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIGURATION, "utf-8")
    path.chmod(0o600)
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(explain, ["--config", str(config), *arguments])


def decided(config: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(config, "--json", "--simulate", *arguments)
    return result.exit_code, json.loads(result.output)["simulated"]


def failures(decision: dict[str, Any]) -> list[str]:
    return [check["why"] for check in decision["checks"] if check["verdict"] == "failed"]


def test_without_a_world_the_configuration_is_believed(config: Path) -> None:
    """Whatever the relay would send by its own rules is allowed."""
    status, decision = decided(config, "ceo@example.com")

    assert (status, decision["answer"], decision["verified"]) == (0, "accepted", True)


def test_a_world_says_who_may(config: Path) -> None:
    """The delegate's user is allowed one address and denied another, in SES's words and with the policy's."""
    good, allowed = decided(config, "shop@example.com", "--world", str(WORLD))
    bad, denied = decided(config, "ceo@example.com", "--world", str(WORLD))

    assert (good, allowed["answer"]) == (0, "accepted")
    assert bad == 1
    assert denied["answer"] == (
        "AccessDenied: User `arn:aws:iam::111122223333:user/ses-relay' is not authorized to perform "
        f"`ses:SendRawEmail' on resource `{ARN}'"
    )
    assert "there is ceo@example.com" in failures(denied)[0]


def test_the_sandbox_is_about_recipients(config: Path) -> None:
    """By SMTP, as a user in the sandbox."""
    world = ("--world", str(WORLD))
    bad, refused = decided(config, "trial@example.com", *world, "--to", "a@example.org", "--to", "tester@example.org")
    good, accepted = decided(config, "trial@example.com", *world, "--to", "tester@example.org")

    assert (bad, good, accepted["answer"]) == (1, 0, "accepted")
    assert refused["answer"] == (
        "554 Message rejected: Email address is not verified. The following identities failed the check in region "
        "US-EAST-1: a@example.org"
    )


def test_an_identity_with_a_tenant_goes_by_sesv2(config: Path) -> None:
    """And the decision says that tenants are not simulated."""
    status, decision = decided(config, "a@tenant.example", "--from", "shop@example.com")

    assert (status, decision["interface"], decision["verified"]) == (1, "v2", False)
    assert "tenant someone" in [check["what"] for check in decision["checks"] if check["verdict"] == "skipped"]


def test_people_read_it_as_lines(config: Path) -> None:
    """A mark, what, why and the number of a source; doubt has a question mark and a last line."""
    lines = run(config, "--simulate", "news@a.example.com").output.splitlines()
    text = run(config, "--simulate", "ceo@example.com").output

    assert "refused          550 5.7.1 No identity is configured for this sender" in lines
    assert "SES, simulated, to arn:aws:iam::111122223333:user/ses-relay in us-east-1: accepted" in text
    assert f"  ok  From ceo@example.com: {ARN} covers it [5]" in text
    assert "\n  [5] SES developer guide" in text
    assert "nobody has shown" not in text


def test_doubt_is_shown(config: Path) -> None:
    """A From in a subdomain, which the owner's ARN may or may not cover for a delegate."""
    text = run(config, "--simulate", "ceo@example.com", "--from", "ceo@sub.example.com").output

    assert f"  ok? From ceo@sub.example.com: {ARN} covers it" in text
    assert "  ? nobody has shown that SES does exactly so" in text


def test_what_the_relay_refuses_is_not_simulated(config: Path) -> None:
    """SES would never see it."""
    result = run(config, "--json", "--simulate", "a@nowhere.example")

    assert result.exit_code == 1
    assert "simulated" not in json.loads(result.output)


def test_a_world_that_is_not_there_is_usage(config: Path) -> None:
    """Status 2."""
    result = run(config, "trial@example.com", "--world", "/does/not/exist")

    assert result.exit_code == 2
    assert "no such file" in result.output


KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE = "arn:aws:iam::123456789012:role/mail/send"
USER = "arn:aws:iam::111122223333:user/ses-relay"
NET = "arn:aws:ses:eu-west-1:123456789012:identity/example.net"
NOT_ASSUMED = f"AccessDenied: User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
INVALID = "InvalidClientTokenId: The security token included in the request is invalid."
MISMATCH = "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided."
WRONG_LOGIN = "535 Authentication Credentials Invalid"


def static(key: str = KEY, secret: str = SECRET, **more: str) -> dict[str, str]:
    return {"access_key_id": key, "secret_access_key": secret, **more}


def login(username: str, password: str) -> dict[str, str]:
    return {"smtp_username": username, "smtp_password": password}


def asked(tmp_path: Path, entry: dict[str, str], **rule: Any) -> tuple[int, dict[str, Any]]:
    """What comes of a message of a rule with these credentials, in the shipped world."""
    rules = {"source_arn": ARN, "name": "it", "credentials": "c", **rule}
    domain = str(rules["source_arn"]).rpartition("/")[2]
    rules["senders"] = [f"@{domain}"]
    base = {"base": static()} if entry.get("source") else {}
    path = tmp_path / "it.yaml"
    path.write_text(yaml.safe_dump({"identities": [rules], "credentials": {"c": entry, **base}}), "utf-8")
    path.chmod(0o600)
    return decided(path, f"shop@{domain}", "--world", str(WORLD))


@pytest.mark.parametrize(
    ("entry", "rule", "answer", "why"),
    [
        (static(), {}, "accepted", ""),
        (static(secret="wrong"), {}, MISMATCH, f"the secret access key is not that of {KEY}"),
        (static("AKIANOBODY"), {}, INVALID, "nobody in this world has the access key AKIANOBODY"),
        (static(session_token="t"), {}, INVALID, f"the session token of {KEY} has ended, or is no such"),
        (static(), {"region": "us-west-2"}, "SignatureDoesNotMatch: Credential should be scoped to a valid region",
         "this world has only us-east-1, eu-west-1"),
        ({"profile": "nosuch"}, {}, "not asked: there is no profile nosuch", "there is no profile nosuch"),
        ({"assume_role": ROLE, "external_id": "shops-of-example", "source": "base"}, {}, "accepted", ""),
        ({"assume_role": ROLE, "external_id": "wrong", "source": "base"}, {}, NOT_ASSUMED,
         "asks for StringEquals sts:ExternalId shops-of-example, but there is wrong"),
        ({"assume_role": ROLE, "source": "base"}, {}, NOT_ASSUMED, "but there is none"),
        ({"assume_role": ROLE.replace("send", "gone"), "source": "base"}, {}, NOT_ASSUMED.replace("send", "gone"),
         "this world has no role"),
        (static(), {"transport": "smtp"}, "accepted", ""),
        (static(secret="wrong"), {"transport": "smtp"}, WRONG_LOGIN, f"the secret access key is not that of {KEY}"),
        (login("AKIAOLDEXAMPLE", "an-old-password"), {"transport": "smtp", "source_arn": NET}, "accepted", ""),
        (login("AKIAOLDEXAMPLE", "an-old-password"), {"transport": "smtp"}, WRONG_LOGIN,
         "the password is for eu-west-1, and mail goes to us-east-1"),
        (login("AKIAOLDEXAMPLE", "wrong"), {"transport": "smtp"}, WRONG_LOGIN, "not that of AKIAOLDEXAMPLE"),
        (login(KEY, "wrong"), {"transport": "smtp"}, WRONG_LOGIN, f"the password is not that of {KEY}"),
        (login("AKIANOBODY", "wrong"), {"transport": "smtp"}, WRONG_LOGIN, "nobody in this world is called AKIANOBODY"),
    ],
)  # fmt: skip
def test_credentials_come_first(
    tmp_path: Path, entry: dict[str, str], rule: dict[str, Any], answer: str, why: str
) -> None:
    """What STS and SES refuse before they look at a message is refused here, in the words of the simulator itself."""
    status, decision = asked(tmp_path, entry, **rule)

    assert decision["answer"].startswith(answer)
    assert status == (answer != "accepted")
    if why:
        (failed,) = failures(decision)
        assert why in failed
        assert decision["checks"][-1]["why"] == failed
        assert decision["verified"]
    assert SECRET not in json.dumps(decision)


def test_the_same_mail_at_the_simulator_itself(tmp_path: Path) -> None:
    """A role with the wrong external id, by boto3: the words are those above."""
    words: list[str] = []

    async def call() -> None:
        async with Simulator(world=load_world(WORLD, {}).world) as ses:
            sts: Any = boto3.Session().client(
                "sts", region_name="us-east-1", endpoint_url=ses.api_url,
                aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            )  # fmt: skip
            with pytest.raises(ClientError) as caught:
                await asyncio.to_thread(sts.assume_role, RoleArn=ROLE, RoleSessionName="me", ExternalId="wrong")
            sts.close()
            words.append("{Code}: {Message}".format(**caught.value.response["Error"]))

    asyncio.run(call())

    assert words == [NOT_ASSUMED]


def chain(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The decision on mail by boto3's chain."""
    path = tmp_path / "it.yaml"
    path.write_text(yaml.safe_dump({"identities": [{"senders": ["@example.com"], "source_arn": ARN}]}), "utf-8")
    return decided(path, "shop@example.com", *arguments)[1]


def test_a_caller_who_is_only_assumed_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that a program or a service would have to be asked for: who is taken for their holder, and how sure that is.

    In a world that is made of the configuration nothing is in doubt; in a file's, the holder of the first key it is.
    """
    of_file, derived = chain(tmp_path, "--world", str(WORLD)), chain(tmp_path)
    config = tmp_path / "config"
    config.write_text("[profile sso]\nsso_session = here\n", "utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    _, profile = asked(tmp_path, {"profile": "sso"})

    for decision, verified in ((of_file, False), (derived, True), (profile, False)):
        first = decision["checks"][0]
        assert (decision["answer"], decision["verified"]) == ("accepted", verified)
        assert (first["verdict"], first["verified"]) == ("skipped", verified)
        assert f"taken for {USER}" in first["why"]


@pytest.mark.parametrize("where", ["environment", "file", "profile", "config file"])
def test_a_key_that_is_not_in_the_world_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Wherever boto3's chain has it from; never is somebody else judged in its stead."""
    keys = "aws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n"
    heading = {"file": "[default]", "profile": "[work]", "config file": "[default]"}
    if where == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    else:
        (tmp_path / "keys").write_text(f"{heading[where]}\n{keys}", "utf-8")
        name = "AWS_CONFIG_FILE" if where == "config file" else "AWS_SHARED_CREDENTIALS_FILE"
        monkeypatch.setenv(name, str(tmp_path / "keys"))
    if where == "profile":
        monkeypatch.setenv("AWS_PROFILE", "work")
    decision = chain(tmp_path, "--world", str(WORLD))

    assert decision["answer"] == INVALID
    assert failures(decision) == ["nobody in this world has the access key AKIAOTHER"]
    assert decision["principal"] == "nobody"


def test_what_is_wrong_with_a_world_is_told(config: Path, tmp_path: Path) -> None:
    """Its warnings, beside the answer."""
    world = tmp_path / "world.yaml"
    world.write_text(WORLD.read_text("utf-8").replace("ses:FromAddress:", "ses:FromAdress:"), "utf-8")
    result = run(config, "--simulate", "shop@example.com", "--world", str(world))

    assert "found ses:FromAdress; allowed a condition key" in result.stderr
    assert "did you mean ses:FromAddress?" in result.stderr
