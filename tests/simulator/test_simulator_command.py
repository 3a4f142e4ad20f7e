"""`ses-relay simulator` as a process: what it prints is true, and it stops when told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from click.testing import CliRunner
from ses_clients import EAST, ONCE, arn, mail

from relay.cli.simulator import simulator, told_to
from relay.settings.load import load
from relay.simulator import DELEGATE, Simulator
from relay.simulator.worlds.derived import derive

FREE_PORTS = ("--http-port", "0", "--smtp-port", "0", "--smtps-port", "0")


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command running; killed if it has not ended by itself."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "simulator", *FREE_PORTS, *arguments, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The endpoints, once it prints them."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    places: dict[str, Any] = json.loads(line)
    return places


def send(places: dict[str, Any], access_key_id: str, secret_access_key: str) -> str:
    """Send a message with boto3; its id."""
    api = boto3.client(
        "ses",
        region_name=EAST,
        endpoint_url=places["api_url"],
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=ONCE,
    )
    sent = api.send_raw_email(Source="a@example.com", Destinations=["b@example.net"], RawMessage={"Data": mail()})
    api.close()
    return str(sent["MessageId"])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_what_it_prints_and_stops(stop: signal.Signals) -> None:
    """The endpoints and keys it names take a message; a signal ends it with status 0 and without a word."""
    async with command("--json") as process:
        places = await told(process)
        keys = places["environment"]
        message_id = await asyncio.to_thread(send, places, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
        async with aiohttp.ClientSession() as http, http.get(places["messages_url"]) as response:
            kept = (await response.json())["messages"]
        authority = await asyncio.to_thread(Path(places["ca_file"]).read_text)
        process.send_signal(stop)
        _, complaints = await asyncio.wait_for(process.communicate(), 30)

        assert [message["message_id"] for message in kept] == [message_id]
        assert (process.returncode, complaints) == (0, b"")
        assert authority.startswith("-----BEGIN CERTIFICATE-----")
        assert not await asyncio.to_thread(Path(places["ca_file"]).exists)


CONFIGURATION = f"""
identities:
  - senders: ["@example.com"]
    source_arn: {arn()}
    credentials: partner
credentials:
  partner: {{access_key_id: AKIAPARTNER, secret_access_key: "${{PARTNER_SECRET}}"}}
"""


async def test_it_knows_the_relay_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities, regions and keys of a configuration, variables and all."""
    monkeypatch.setenv("PARTNER_SECRET", "their-secret")
    config = tmp_path / "relay.yaml"
    config.write_text(CONFIGURATION)
    config.chmod(0o600)
    async with command("--json", "--config", str(config), "--ca-file", str(tmp_path / "ca.pem")) as process:
        places = await told(process)

        assert places["regions"] == [EAST]
        assert places["ca_file"] == str(tmp_path / "ca.pem")
        assert await asyncio.to_thread(send, places, "AKIAPARTNER", "their-secret")
        assert set(places["environment"]) == {"AWS_ENDPOINT_URL_STS", "AWS_CA_BUNDLE"}


OF_ITS_OWN = """
identities:
  - senders: ["@example.com"]
    source_arn: arn:aws:ses:*:123456789012:identity/example.com
    region: eu-central-1
    transport: smtp
    credentials: partner
    configuration_set: events
    replace_sender: bounces@example.com
  - {senders: ["@example.net"], source_arn: "arn:aws:ses:us-west-2:123456789012:identity/example.net", credentials: %s}
credentials:
  partner: {access_key_id: AKIAPARTNER, secret_access_key: s}
  owner: {assume_role: "arn:aws:iam::123456789012:role/send", source: partner}
  chained: {assume_role: "arn:aws:iam::123456789012:role/send", source: default}
ses: {smtp_tls: %s}
"""


@pytest.mark.parametrize(
    ("credentials", "tls", "with_keys"),
    [("partner", "starttls", False), ("owner", "implicit", False), ("default", "starttls", True),
     ("chained", "starttls", True)],
)  # fmt: skip
async def test_who_has_a_configuration_keeps_it(tmp_path: Path, credentials: str, tls: str, with_keys: bool) -> None:
    """Only the endpoints are printed, and the environment: with those in it, the configuration itself goes by here."""
    config = tmp_path / "relay.yaml"
    config.write_text(OF_ITS_OWN % (credentials, tls))
    config.chmod(0o600)
    async with command("--config", str(config)) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("  smtp_tls:"):
            lines.append((await asyncio.wait_for(process.stdout.readline(), 30)).decode())
    text = "".join(lines)
    printed = yaml.safe_load(text.partition("other keys of ses may stay\n")[2])

    assert list(printed) == ["ses"]
    assert (set(printed["ses"]), printed["ses"]["smtp_tls"]) == ({"api_endpoint", "smtp_endpoint", "smtp_tls"}, tls)
    smtp = next(line for line in lines if line.startswith("  SMTP")).split()
    assert printed["ses"]["smtp_endpoint"] == smtp[1 if tls == "starttls" else 3]
    assert ("export AWS_ACCESS_KEY_ID=" in text) is with_keys
    assert "export AWS_ENDPOINT_URL_STS=" in text
    assert "export AWS_CA_BUNDLE=" in text


def test_keys_that_are_in_the_environment_are_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there already, and secrets."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-real-secret")
    config = tmp_path / "relay.yaml"
    config.write_text(OF_ITS_OWN % ("default", "starttls"))
    config.chmod(0o600)
    settings = load(config, {}).settings
    ses = Simulator(world=derive(settings, os.environ, DELEGATE), ca_file=tmp_path / "ca.pem")

    assert set(told_to(ses, settings)["environment"]) == {"AWS_ENDPOINT_URL_STS", "AWS_CA_BUNDLE"}


def test_an_authority_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Status 1, which file and why; it is no socket."""
    path = tmp_path / "nowhere" / "ca.pem"
    result = CliRunner().invoke(simulator, [*FREE_PORTS, "--ca-file", str(path)])

    assert result.exit_code == 1
    assert result.output == f"Error: cannot write {path}: no such file or directory\n"


async def test_warnings_of_a_world_are_told(tmp_path: Path) -> None:
    """On standard error, and it runs."""
    world = tmp_path / "world.yaml"
    world.write_text(SAMPLE.read_text("utf-8").replace("ses:FromAddress:", "ses:FromAdress:"), "utf-8")
    async with command("--json", "--world", str(world)) as process:
        places = await told(process)
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(process.communicate(), 30)

    assert places["regions"]
    assert "did you mean ses:FromAddress?" in complaints.decode()
    assert process.returncode == 0


SAMPLE = Path(__file__).resolve().parents[2] / "config" / "world.yaml"


async def test_it_knows_the_world_of_a_file() -> None:
    """The shipped sample: its delegate may send as shop@, not as a@, and is told so."""
    async with command("--json", "--world", str(SAMPLE)) as process:
        places = await told(process)
        keys = places["environment"]
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(send, places, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
        async with aiohttp.ClientSession() as http, http.get(places["decisions_url"]) as response:
            (decision,) = (await response.json())["decisions"]

        assert places["regions"] == [EAST, "eu-west-1"]
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
        assert decision["answer"].startswith("AccessDenied: ")
        assert any("there is a@example.com" in check["why"] for check in decision["checks"])


def test_a_world_is_checked(tmp_path: Path) -> None:
    """Status 0 and "ok", or 2 and every problem; as JSON where asked."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("regions: [x]\nacounts: {}\n")
    runs = [
        CliRunner().invoke(simulator, ["--check-world", "--world", str(path), *options])
        for path, options in ((SAMPLE, []), (bad, []), (bad, ["--json"]), (tmp_path / "none", []))
    ]

    assert [run.exit_code for run in runs] == [0, 2, 2, 2]
    assert runs[0].output == f"{SAMPLE}: ok\n"
    assert f"{bad}:1: error: regions[0]: found x" in runs[1].output
    assert "did you mean accounts?" in runs[1].output
    keys = [problem["key"] for problem in json.loads(runs[2].output)["problems"]]
    assert keys == ["accounts", "regions[0]", "acounts"]
    assert "no such file" in runs[3].output


async def test_the_instructions_are_a_configuration() -> None:
    """What stands below the last heading is YAML for a relay."""
    async with command("--identity", arn(name="x.example"), "--region", EAST) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("  smtp_tls:"):
            lines.append((await asyncio.wait_for(process.stdout.readline(), 30)).decode())
    text = "".join(lines)
    config = yaml.safe_load(text.partition("# its configuration\n")[2])

    assert "export AWS_CA_BUNDLE=" in text
    assert config["identities"][0]["source_arn"] == arn(name="x.example")
    assert config["ses"]["smtp_endpoint"] in text.partition("#")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--identity", "rubbish"], "not an SES identity ARN"),
        (["--region", "mars"], "'mars' is not a region such as us-west-2"),
        (["--region", EAST, "--region", "mars", "--identity", arn()], "'mars' is not a region such as us-west-2"),
        (["--identity", arn("eu-west-3")], "eu-west-3, which is not among the regions served: us-east-1, eu-west-1"),
        (["--region", "eu-west-3", "--identity", arn()], "is of us-east-1, which is not among the regions served"),
        (["--config", "/does/not/exist"], "/does/not/exist"),
        (["--http-port", "65536"], "65536"),
        (["--world", "/does/not/exist"], "/does/not/exist"),
        (["--check-world"], "--check-world needs --world"),
        (["--world", "x", "--config", "y"], "--world and --config cannot be combined"),
        (["--world", "x", "--region", "us-east-1"], "--world and --identity or --region cannot be combined"),
    ],
)
def test_mistakes_are_said(arguments: list[str], words: str) -> None:
    """Usage and configuration errors: status 2, and why."""
    result = CliRunner().invoke(simulator, arguments)

    assert result.exit_code == 2
    assert words in result.output


def test_a_taken_port_is_said() -> None:
    """Status 1, and which address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(simulator, ["--http-port", port, "--smtp-port", "0", "--smtps-port", "0"])

    assert result.exit_code == 1
    assert "cannot listen: " in result.output
    assert port in result.output
