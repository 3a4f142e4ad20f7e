"""`/readyz?upstream=1`, the metric and `health --upstream` of a running relay, before and after its first message."""

import asyncio
import http.client
import json
import signal
import sys

import pytest
from relay_process import Bench, RunningRelay, submit

MESSAGE = b"From: <app@example.com>\r\nTo: x@customer.example\r\nSubject: hi\r\n\r\nHello.\r\n"


async def get(relay: RunningRelay, path: str) -> tuple[int, list[str]]:
    """Status and lines of what the admin endpoint says."""

    def ask() -> tuple[int, list[str]]:
        connection = http.client.HTTPConnection("127.0.0.1", relay.admin_port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode().splitlines()
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def gauge(relay: RunningRelay) -> list[str]:
    """The series of the metric."""
    _, lines = await get(relay, "/metrics")
    return [line for line in lines if line.startswith("ses_relay_upstream_up{")]


async def test_both_regions_are_up_before_the_first_message_and_nothing_is_sent_for_it(bench: Bench) -> None:
    """The first scrape waits for nobody; whoever asks for readiness waits for the connections."""
    relay = await bench.start()
    first = await gauge(relay)
    answer = await get(relay, "/readyz?upstream=1")

    assert first == []
    assert answer == (200, ["eu-west-1 up", "us-east-1 up"])
    assert sorted(await gauge(relay)) == [
        'ses_relay_upstream_up{region="eu-west-1"} 1.0', 'ses_relay_upstream_up{region="us-east-1"} 1.0',
    ]  # fmt: skip
    assert list(bench.ses.received) == []


async def test_a_region_that_cannot_be_reached_is_down_until_a_reload_mends_or_drops_it(
    bench: Bench, unused_tcp_port: int
) -> None:
    """Mail of the other region goes on, and so does readiness for those who do not ask for SES."""
    well = bench.config()
    relay = await bench.start(ses={"smtp_endpoint": f"127.0.0.1:{unused_tcp_port}"})
    reply = await submit(relay, "app@example.com", MESSAGE)
    down = await get(relay, "/readyz?upstream=1")
    told = await relay.event("upstream_unreachable")
    bench.write(well)
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    mended = await get(relay, "/readyz?upstream=1")
    bench.write(well | {"identities": [rule for rule in well["identities"] if rule["name"] == "example.com"]})
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded", 2)

    assert reply[0] == 250
    assert down == (503, ["eu-west-1 down", "us-east-1 up"])
    assert (await get(relay, "/readyz"))[0] == 200
    assert told["region"] == "eu-west-1"
    assert told["detail"].startswith("smtp: connect: ")
    assert mended == (200, ["eu-west-1 up", "us-east-1 up"])
    assert await gauge(relay) == ['ses_relay_upstream_up{region="us-east-1"} 1.0']


async def test_nobody_is_connected_to_where_nothing_is_sent(bench: Bench, unused_tcp_port: int) -> None:
    """`dry_run` uses no region."""
    relay = await bench.start(ses={"dry_run": True, "smtp_endpoint": f"127.0.0.1:{unused_tcp_port}"})

    assert await get(relay, "/readyz?upstream=1") == (200, ["no region in use"])
    assert await gauge(relay) == []


@pytest.mark.parametrize("up", [True, False])
async def test_health_waits_for_the_answer(bench: Bench, unused_tcp_port: int, up: bool) -> None:
    """An exit status for probes of containers."""
    relay = await bench.start(ses={} if up else {"smtp_endpoint": f"127.0.0.1:{unused_tcp_port}"})
    config = bench.write({**bench.config(), "admin": {"bind": f"127.0.0.1:{relay.admin_port}"}}, "prober.yaml")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "health", "--upstream", "--json", "--config", str(config),
        stdout=asyncio.subprocess.PIPE, env={**bench.ses.relay_environment(), "PATH": ""},
    )  # fmt: skip
    out, _ = await process.communicate()

    assert process.returncode == (0 if up else 1)
    assert json.loads(out)["text"] == f"eu-west-1 {'up' if up else 'down'}\nus-east-1 up"
