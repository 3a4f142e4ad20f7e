"""`ses-relay explain --simulate`: the relay's own steps, and then what SES would say, check by check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.explain import explain

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
    assert f"  ok  From ceo@example.com: {ARN} covers it [4]" in text
    assert "\n  [4] SES developer guide" in text
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


@pytest.mark.parametrize(
    ("world", "words"), [("/does/not/exist", "no such file"), (str(WORLD), "nobody in this world")]
)
def test_mistakes_are_said(config: Path, world: str, words: str) -> None:
    """Status 2: a file that is not there, or a user whom the world does not know."""
    config.write_text(CONFIGURATION.replace("AKIATRIALEXAMPLE", "AKIANOBODY"), "utf-8")
    result = run(config, "trial@example.com", "--world", world)

    assert result.exit_code == 2
    assert words in result.output
