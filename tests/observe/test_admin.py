"""The admin endpoint over real sockets: what probes, Prometheus and people get, and what others do not."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest

from relay.observe.admin import CONNECTIONS, LONGEST_S, Admin
from relay.observe.metrics import Metrics
from relay.settings.addresses import TcpAddress


@dataclass
class World:
    """What the relay would say about itself, and what the endpoint told it."""

    reason: str | None = None
    regions: dict[str, bool] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    broken: Exception | None = None
    errors: list[Exception] = field(default_factory=list)
    time: float = 1000.0
    scrapes: list[float] = field(default_factory=list)

    def ready(self) -> str | None:
        if self.broken:
            raise self.broken
        return self.reason

    async def upstream(self) -> Mapping[str, bool]:
        return self.regions

    def scraped(self) -> None:
        self.scrapes.append(self.time)

    def status(self) -> Mapping[str, object]:
        return self.facts

    def now(self) -> float:
        return self.time


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: str


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def endpoint(world: World, metrics: Metrics, bind: TcpAddress) -> Admin:
    return Admin(
        bind, metrics, ready=world.ready, status=world.status, report=world.errors.append, upstream=world.upstream,
        scraped=world.scraped, now=world.now,
    )  # fmt: skip


@pytest.fixture
async def port(world: World, metrics: Metrics) -> AsyncIterator[int]:
    admin = endpoint(world, metrics, TcpAddress("127.0.0.1", 0))
    (address,) = await admin.start()
    yield int(address.rpartition(":")[2])
    await admin.stop()


def request(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request by the standard library's client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, {**response.headers}, response.read().decode())
    finally:
        connection.close()


async def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    return await asyncio.to_thread(request, port, path, method, **headers)


async def spoken(port: int, text: bytes) -> bytes:
    """Everything the endpoint says to these raw bytes until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(text)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_healthz_does_not_depend_on_readiness(port: int, world: World) -> None:
    """A relay that drains is alive: restarting it would lose what it is finishing."""
    world.reason = "draining"
    answer = await ask(port, "/healthz")

    assert (answer.status, answer.body) == (200, "ok\n")


async def test_readyz_says_whether_mail_would_be_accepted_and_why_not(port: int, world: World) -> None:
    """The probe reads the status, the operator the reason."""
    before = await ask(port, "/readyz")
    world.reason = "draining"
    after = await ask(port, "/readyz")

    assert (before.status, before.body) == (200, "ready\n")
    assert (after.status, after.body) == (503, "draining\n")


async def test_readyz_ignores_ses_unless_asked(port: int, world: World) -> None:
    """A probe that fails with SES would take every sidecar's application down with it."""
    world.regions = {"us-west-2": True, "eu-west-1": False}
    plain, upstream = await ask(port, "/readyz"), await ask(port, "/readyz?upstream=1")

    assert plain.status == 200
    assert (upstream.status, upstream.body) == (503, "eu-west-1 down\nus-west-2 up\n")


async def test_readyz_with_upstream_is_well_when_every_region_is(port: int, world: World) -> None:
    """And when none is in use; but never while the relay itself is not ready."""
    idle = await ask(port, "/readyz?upstream=1")
    world.regions = {"us-west-2": True}
    well = await ask(port, "/readyz?upstream=1")
    world.reason = "draining"
    draining = await ask(port, "/readyz?upstream=1")

    assert (idle.status, well.status) == (200, 200)
    assert (draining.status, draining.body) == (503, "draining\n")


async def test_metrics_are_served_in_both_forms(port: int, metrics: Metrics) -> None:
    """As text for people, as OpenMetrics for Prometheus."""
    metrics.count_connections(lambda: 7)
    plain = await ask(port, "/metrics")
    modern = await ask(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "\nses_relay_connections 7.0\n" in plain.body
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
    assert modern.body.endswith("# EOF\n")


async def test_what_is_asked_for_is_known_before_the_metrics_are_read(
    port: int, world: World, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps a gauge that nobody else asks about is told of every scrape, and of nothing but scrapes."""
    monkeypatch.setattr(world, "scraped", lambda: metrics.upstream({"us-west-2": True}))
    admin = endpoint(world, metrics, TcpAddress("127.0.0.1", 0))
    (address,) = await admin.start()
    page = (await ask(int(address.rpartition(":")[2]), "/metrics")).body
    await admin.stop()
    for path in ("/healthz", "/readyz", "/readyz?upstream=1", "/"):
        await ask(port, path)

    assert '\nses_relay_upstream_up{region="us-west-2"} 1.0\n' in page
    assert world.scrapes == []


async def test_the_loop_lag_is_measured_while_the_endpoint_is_up(port: int) -> None:
    """The gauge is there from the start, and is a time."""
    page = (await ask(port, "/metrics")).body
    (value,) = [line.split()[1] for line in page.splitlines() if line.startswith("ses_relay_loop_lag_seconds ")]

    assert float(value) >= 0


async def test_the_status_page_is_html_and_escaped(port: int, world: World) -> None:
    """Names in it are the operator's and the clients' texts."""
    world.facts = {"identities": ["<b>example.com</b>"]}
    answer = await ask(port, "/")

    assert answer.headers["Content-Type"].startswith("text/html")
    assert "&lt;b&gt;example.com&lt;/b&gt;" in answer.body
    assert "<b>" not in answer.body


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
async def test_head_is_answered_without_a_body(port: int, path: str) -> None:
    """Load balancers probe so."""
    answer = await ask(port, path, "HEAD")

    assert (answer.status, answer.body) == (200, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_nothing_but_get_and_head_is_allowed(port: int, method: str) -> None:
    """The endpoint is read-only; a preflight is refused, so there is no CORS."""
    answer = await ask(port, "/readyz", method, Origin="http://elsewhere.example")

    assert answer.status == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere"])
async def test_every_answer_forbids_caching_framing_and_guessing(port: int, path: str) -> None:
    """Errors too; and another site's script learns nothing."""
    answer = await ask(port, path, Origin="http://elsewhere.example")

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server"] == "ses-relay"
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_unknown_path_is_404(port: int) -> None:
    """And says nothing of what there is."""
    assert (await ask(port, "/queue")).status == 404


async def test_our_own_error_is_500_reported_and_not_shown(port: int, world: World) -> None:
    """The cause goes to the log; what a prober sees has no insides in it."""
    world.broken = ValueError("secret inside")
    answer = await ask(port, "/readyz")

    assert (answer.status, answer.body) == (500, "internal error\n")
    assert world.errors == [world.broken]


async def test_a_connection_serves_one_request(port: int) -> None:
    """So connections cannot be kept; the second request on the same one is never answered."""
    twice = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2

    assert (await spoken(port, twice)).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-More: x\r\n" * 10_000 + b"\r\n",
    ],
    ids=["request line", "one header", "many headers"],
)
async def test_big_headers_are_refused(port: int, headers: bytes) -> None:
    """Memory stays bounded, and the endpoint goes on."""
    answer = await spoken(port, headers)

    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert (await ask(port, "/healthz")).status == 200


@pytest.mark.parametrize("noise", [b"EHLO probe\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x00\xee\r\n\r\n"])
async def test_noise_is_refused_without_a_line_in_the_log(
    port: int, world: World, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    """Scanners and mistaken mail clients are not the operator's problem."""
    answer = await spoken(port, noise)

    assert answer.partition(b"\r\n")[0].endswith(b"400 Bad Request")
    assert (caplog.records, world.errors) == ([], [])


async def test_a_body_is_never_waited_for(port: int) -> None:
    """A request that announces a gigabyte is answered at once and closed."""
    text = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"

    assert (await spoken(port, text)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_never_finishes_its_headers_is_closed(port: int, world: World) -> None:
    """Else sixty-four slow ones would take the probes' places for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost:")
    assert (await ask(port, "/healthz")).status == 200  # by now the slow one is registered
    world.time += LONGEST_S + 1

    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_connections_beyond_the_limit_are_closed_and_others_live(port: int) -> None:
    """Descriptors are bounded: the one too many is closed at once, and there is room again afterwards."""
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    refused = await spoken(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    reader, writer = held[0]
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    served = await reader.read()
    for _, other in held:
        other.close()
        await other.wait_closed()

    assert refused == b""
    assert served.startswith(b"HTTP/1.1 200")
    assert (await spoken(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open(port: int, world: World, metrics: Metrics) -> None:
    """The relay refuses to start rather than run unwatched."""
    second = endpoint(world, metrics, TcpAddress("127.0.0.1", port))
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()

    assert (await ask(port, "/healthz")).status == 200


async def test_after_stop_nothing_listens(world: World, metrics: Metrics) -> None:
    """Stopping ends the sockets, and stopping twice is no error."""
    admin = endpoint(world, metrics, TcpAddress("127.0.0.1", 0))
    (address,) = await admin.start()
    await admin.stop()
    await admin.stop()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))


async def test_localhost_is_both_loopback_addresses(world: World, metrics: Metrics) -> None:
    """By definition, not by what the resolver says; without IPv6 the other one alone."""
    admin = endpoint(world, metrics, TcpAddress("localhost", 0))
    addresses = await admin.start()
    await admin.stop()

    assert [address.rpartition(":")[0] for address in addresses] in (["127.0.0.1", "[::1]"], ["127.0.0.1"])
