"""`ses-relay health`: the exit status that probes live by, against a real admin endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.health import UPSTREAM_S, health, probe
from relay.delivery import upstream
from relay.observe.admin import Admin
from relay.observe.metrics import Metrics
from relay.settings.addresses import TcpAddress

CONFIGURATION = """
identities: [{{senders: ["@example.com"], source_arn: "arn:aws:ses:us-west-2:123456789012:identity/example.com"}}]
admin: {admin}
"""


class Relay:
    """What the endpoint answers from, and where it is."""

    reason: str | None = None
    regions: dict[str, bool]
    port = 0

    def ready(self) -> str | None:
        return self.reason

    async def upstream(self) -> dict[str, bool]:
        return self.regions


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    relay.regions = {}
    admin = Admin(
        TcpAddress("127.0.0.1", 0), Metrics("1"), ready=relay.ready, upstream=relay.upstream,
        scraped=lambda: None, status=dict, report=lambda error: pytest.fail(str(error)),
    )  # fmt: skip
    (address,) = await admin.start()
    relay.port = int(address.rpartition(":")[2])
    yield relay
    await admin.stop()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose owner takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def run(tmp_path: Path, admin: str, *options: str) -> Result:
    """The command with a configuration whose `admin` is this."""
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIGURATION.format(admin=admin))
    path.chmod(0o600)
    return await asyncio.to_thread(CliRunner().invoke, health, ["--config", str(path), *options])


async def test_a_relay_that_accepts_mail_is_0(tmp_path: Path, relay: Relay) -> None:
    """And one that does not is 1, with the reason."""
    well = await run(tmp_path, f'{{bind: "127.0.0.1:{relay.port}"}}')
    relay.reason = "draining"
    unwell = await run(tmp_path, f'{{bind: "127.0.0.1:{relay.port}"}}')

    assert (well.exit_code, well.output) == (0, "ready\n")
    assert (unwell.exit_code, unwell.output) == (1, "draining\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
async def test_a_wildcard_or_localhost_is_asked_on_loopback(tmp_path: Path, relay: Relay, host: str) -> None:
    """In a container the endpoint binds 0.0.0.0; that is where the image's own health check finds it."""
    assert (await run(tmp_path, f'{{bind: "{host}:{relay.port}"}}')).exit_code == 0


async def test_ses_counts_only_when_asked_for(tmp_path: Path, relay: Relay) -> None:
    """As at /readyz itself."""
    relay.regions = {"us-west-2": False}
    admin = f'{{bind: "127.0.0.1:{relay.port}"}}'

    assert (await run(tmp_path, admin)).exit_code == 0
    assert (await run(tmp_path, admin, "--upstream")).output == "us-west-2 down\n"
    assert (await run(tmp_path, admin, "--upstream")).exit_code == 1


async def test_json_has_the_same_facts(tmp_path: Path, relay: Relay) -> None:
    """One line for scripts."""
    relay.reason = "draining"
    result = await run(tmp_path, f'{{bind: "127.0.0.1:{relay.port}"}}', "--json")

    assert json.loads(result.output) == {"ready": False, "status": 503, "text": "draining"}


async def test_nobody_there_is_1(tmp_path: Path, unused_tcp_port: int) -> None:
    """And says whom it asked."""
    result = await run(tmp_path, f'{{bind: "127.0.0.1:{unused_tcp_port}"}}')

    assert result.exit_code == 1
    assert f"no answer from 127.0.0.1:{unused_tcp_port}" in result.output


def test_the_relay_has_time_to_find_out_whether_ses_is_up() -> None:
    """A region that cannot be reached is heard of as `down`, not as a relay that does not answer."""
    assert UPSTREAM_S > upstream.TIMEOUT_S + 1


def test_a_relay_that_hangs_is_not_waited_for(silent_port: int) -> None:
    """A probe has its own deadline and must answer before it."""
    answer = probe(TcpAddress("127.0.0.1", silent_port), "/readyz", timeout_s=0.05)

    assert (answer.ready, answer.status) == (False, None)
    assert "timed out" in answer.text


@pytest.mark.parametrize(("admin", "word"), [("off", "admin is off"), ("{bind: nowhere}", "admin.bind")])
async def test_a_configuration_that_cannot_be_asked_is_2(tmp_path: Path, admin: str, word: str) -> None:
    """A usage error, with the reason."""
    result = await run(tmp_path, admin)

    assert result.exit_code == 2
    assert word in result.output
