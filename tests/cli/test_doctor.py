"""`ses-relay doctor` as a command: what it prints, how it exits, and that it sends nothing unless it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from relay.aws import asking
from relay.cli import main
from relay.simulator import DELEGATE, Fault, Simulator
from relay.simulator.policy_document import permit
from relay.simulator.world import Account, ConfigurationSet, Identity, Principal, World

EAST, OWNER = "us-east-1", "123456789012"
ARN = f"arn:aws:ses:{EAST}:{OWNER}:identity/example.com"
OWN = f"arn:aws:ses:{EAST}:{DELEGATE.account}:identity/own.example"
TO = "success@simulator.amazonses.com"

RULES = [
    {"name": "ours", "senders": ["@own.example"], "source_arn": OWN, "credentials": "mine"},
    {"name": "theirs", "senders": ["@example.com"], "source_arn": ARN, "credentials": "mine"},
    {"name": "paused", "senders": ["news@example.com"], "source_arn": ARN, "credentials": "mine",
     "configuration_set": "quiet"},
]  # fmt: skip


def a_world() -> World:
    """An own identity, another's that permits one address, and a configuration set that is paused."""
    policy = permit("p", ["ses:SendRawEmail"], ARN, [DELEGATE.principal])
    return World(
        regions=(EAST,),
        accounts={one: Account(one) for one in (OWNER, DELEGATE.account)},
        principals={DELEGATE.principal: Principal(DELEGATE.principal, (permit("everything", "*", "*"),))},
        keys=(DELEGATE,),
        identities=(
            Identity(DELEGATE.account, EAST, "own.example"),
            Identity(OWNER, EAST, "example.com", policies=(policy,)),
        ),
        configuration_sets=(ConfigurationSet(DELEGATE.account, EAST, "quiet", paused=True),),
    )


@pytest.fixture
async def ses(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    async with Simulator(world=a_world()) as simulator:
        for name, value in simulator.relay_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(asking, "EVERY_S", 0.0)  # this SES permits any pace
        yield simulator


@pytest.fixture
def config(ses: Simulator, tmp_path: Path) -> Path:
    """A configuration of three identities, of which one is not well."""
    return written(tmp_path, ses)


def written(folder: Path, ses: Simulator, **changes: Any) -> Path:
    keys = {"access_key_id": DELEGATE.access_key_id, "secret_access_key": DELEGATE.secret_access_key}
    endpoint = {"api_endpoint": ses.api_url, "smtp_endpoint": "{}:{}".format(*ses.smtp_address())}
    path = folder / "relay.yaml"
    path.write_text(
        yaml.safe_dump({"identities": RULES, "credentials": {"mine": keys}, "ses": endpoint | changes}), "utf-8"
    )
    path.chmod(0o600)
    return path


async def run(config: Path, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["doctor", "--config", str(config), *words])


async def test_well_is_0(ses: Simulator, config: Path) -> None:
    """Each thing under its heading, and a line that sums up; the secret is not in it."""
    result = await run(config, "--identity", "ours")

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "Credentials mine" in lines
    assert f"  ok      caller            account {DELEGATE.account}, {DELEGATE.principal}" in lines
    assert f"Account {DELEGATE.account} in us-east-1, by credentials mine" in lines
    assert lines[-1] == "10 ok"
    assert DELEGATE.secret_access_key not in result.output
    assert (ses.total, ses.turned_away) == (0, ())


async def test_not_well_is_1(ses: Simulator, config: Path) -> None:
    """What, why, and the command that mends it, each on a line that can be copied whole."""
    result = await run(config)

    assert result.exit_code == 1
    lines = result.output.splitlines()
    at = lines.index("  bad     configuration set quiet is paused in us-east-1")
    assert lines[at + 1].split(maxsplit=1) == ["why", "SES refuses all mail of this identity"]
    assert lines[at + 2].startswith(f"{'mend':>26}  aws sesv2 put-configuration-set-sending-options ")
    assert lines[at + 2].endswith(" --configuration-set-name quiet --sending-enabled --region us-east-1")
    assert lines[-1].startswith("1 bad, 2 unknown, ")
    assert (ses.total, ses.turned_away) == (0, ())


async def test_json(config: Path) -> None:
    """The same for programs."""
    result = await run(config, "--identity", "paused", "--json")

    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["complete"]) == (1, False, True)
    (wrong,) = [finding for finding in report["findings"] if finding["verdict"] == "bad"]
    assert wrong["about"] == {"kind": "identity", "name": "paused"}
    assert set(wrong) == {"about", "check", "verdict", "what", "why", "mend"}


async def test_the_proof(ses: Simulator, config: Path) -> None:
    """One message for each identity that was asked for; by it another's identity is well."""
    result = await run(config, "--identity", "theirs", "--identity", "ours", "--send-to", TO)

    assert result.exit_code == 0
    assert "unknown" not in result.output
    assert sorted(message.sender or "" for message in ses.received) == [
        "ses-relay-doctor@example.com", "ses-relay-doctor@own.example"
    ]  # fmt: skip
    assert [message.recipients for message in ses.received] == [(TO,), (TO,)]
    assert all(message.message_id in result.output for message in ses.received)


async def test_the_proof_is_sent_in_a_dry_run_too(ses: Simulator, tmp_path: Path) -> None:
    """A dry run is when the proof is wanted; who asks for it wants it sent."""
    result = await run(written(tmp_path, ses, dry_run=True), "--identity", "ours", "--send-to", TO)

    assert (result.exit_code, ses.total) == (0, 1)


async def test_a_sender_of_ones_own_choice(ses: Simulator, config: Path) -> None:
    """It is sent as the identity that the relay would choose for it, and as no other."""
    result = await run(config, "--send-to", TO, "--send-from", "shop@example.com")

    assert result.exit_code == 0
    assert [message.sender for message in ses.received] == ["shop@example.com"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--identity", "gone"], "no identity is called gone; there are ours, theirs, paused"),
        (["--send-to", "nobody"], "'nobody' is not an address"),
        (["--send-to", "bj\u00f6rn@example.com"], "'bj\u00f6rn' cannot stand before the @"),
        (["--send-from", "shop@example.com"], "--send-from needs --send-to"),
        (["--send-to", TO, "--send-from", "shop@example.net"], "shop@example.net: "),
        (["--send-to", TO, "--send-from", "shop@example.com", "--identity", "ours"], "goes out as theirs"),
    ],
)
async def test_usage_is_2(ses: Simulator, config: Path, words: list[str], reason: str) -> None:
    """And nothing was asked or sent."""
    result = await run(config, *words)

    assert result.exit_code == 2
    assert reason in result.output
    assert (ses.called, ses.total) == ((), 0)


async def test_a_bad_configuration_is_2(ses: Simulator, tmp_path: Path) -> None:
    """As for `check`, with the line."""
    path = written(tmp_path, ses, concurrency=0)
    result = await run(path)

    assert result.exit_code == 2
    assert "ses.concurrency" in result.output


# Whoever starts tests in the background of a shell has its children ignore SIGINT
HEARS_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("relay", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("words", [(), ("--json",)])
async def test_an_interrupt_ends_it_with_what_had_been_found(
    ses: Simulator, config: Path, words: tuple[str, ...]
) -> None:
    """Ctrl-C: status 130, the findings until then, and nothing of Python's own."""
    ses.faults.add(Fault(action="delay", stage="call", call="GetConfigurationSet"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "always", "-c", HEARS_CTRL_C, "doctor", "--config", str(config), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await ses.faults.wait_held(timeout_s=60)
    process.send_signal(signal.SIGINT)
    output, complaints = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 130
    assert complaints == b"Interrupted: this is what had been found.\n"
    assert f"account {DELEGATE.account}, {DELEGATE.principal}".encode() in output
    if words:
        report = json.loads(output)
        assert (report["ok"], report["complete"]) == (False, False)


async def test_a_proof_that_is_interrupted_tells_what_was_sent(ses: Simulator, config: Path) -> None:
    """Each message at once: nobody wants to send it again for want of an answer."""
    ses.faults.add(Fault(action="delay", stage="final", sender="ses-relay-doctor@example.com"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HEARS_CTRL_C, "doctor", "--config", str(config), "--send-to", TO,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await ses.faults.wait_held(timeout_s=60)
    process.send_signal(signal.SIGINT)
    output, _ = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 130
    assert f"SES took mail from ses-relay-doctor@own.example to {TO}: {ses.received[0].message_id}".encode() in output


async def test_a_person_sees_how_far_it_has_come(ses: Simulator, config: Path) -> None:
    """On a terminal, and on standard error, so that output can be piped; elsewhere it is silent."""
    terminal, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "doctor", "--config", str(config), "--identity", "ours",
        stdout=asyncio.subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    seen = asyncio.create_task(asyncio.to_thread(_read_to_the_end, terminal))
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    await seen
    os.close(terminal)

    assert process.returncode == 0
    assert b"Asking AWS" in seen.result()
    assert b"100%" in seen.result()
    assert b"Asking AWS" not in output


def _read_to_the_end(terminal: int) -> bytes:
    """What a terminal shows; Linux ends it with an error."""
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65_536):
            shown += piece
    return shown


async def test_without_a_terminal_it_is_silent(ses: Simulator, config: Path) -> None:
    result = await run(config, "--identity", "ours")

    assert (result.exit_code, result.stderr) == (0, "")


async def test_what_servers_say_does_not_command_the_terminal(tmp_path: Path, ses: Simulator) -> None:
    """An answer with escape sequences is shown without them."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 \x1b[2Jcleared\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = written(tmp_path, ses, smtp_endpoint=f"127.0.0.1:{port}")
    path.write_text(path.read_text().replace("  name: ours\n", "  name: ours\n  transport: smtp\n"))
    try:
        result = await run(path, "--identity", "ours")
    finally:
        server.close()
        await server.wait_closed()

    assert "cleared" in result.output
    assert "\x1b" not in result.output
