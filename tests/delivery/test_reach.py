"""Connections that only ask whether there is one: real sockets, real TLS, proxies; and nothing said to SES."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

import pytest
import trustme
from http_proxy import proxy
from scripted_upstream import listening, parse
from smtp_parts import REGION, at, authority, client_context, server_context

from relay.aws.endpoints import ApiEndpoints, SmtpEndpoint, SmtpTls
from relay.delivery.reach import Connector
from relay.delivery.upstream import Unreachable
from relay.model import TransportName

BOTH = pytest.mark.parametrize("tls", ["starttls", "implicit"])


@dataclass
class Api:
    """A server that says nothing, and what it heard on each connection that got through TLS, if it has any."""

    url: str = ""
    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Listen until the other side ends."""
        task = asyncio.current_task()
        assert task
        self.tasks.append(task)
        self.began.set()
        with suppress(ConnectionError):
            self.heard.append(await reader.read())
        writer.close()


@asynccontextmanager
async def api(tls: ssl.SSLContext | None = None, host: str = "localhost") -> AsyncIterator[Api]:
    """The API on loopback."""
    running = Api()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    running.url = f"{'https' if tls else 'http'}://{host}:{running.port}"
    async with server:
        yield running
        await asyncio.gather(*running.tasks)


def connector(
    url: str | None = None,
    smtp: SmtpEndpoint | None = None,
    trust: Callable[[], ssl.SSLContext] = client_context,
) -> Connector:
    """The one under test."""
    return Connector(ApiEndpoints(url), lambda: lambda _: smtp or at(1), helo="relay.test", trust=trust)


async def why_not(reach: Connector, transport: TransportName = "api", timeout_s: float = 5.0) -> str:
    """Why there is no connection."""
    with pytest.raises(Unreachable) as reason:
        await reach(REGION, transport, timeout_s)
    return str(reason.value)


@cache
def stranger() -> trustme.CA:
    """An authority that nobody believes."""
    return trustme.CA()


class TestApi:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_a_verified_connection_is_enough_and_nothing_is_said_on_it(self, host: str) -> None:
        async with api(server_context(), host) as there:
            await connector(there.url)(REGION, "api", 5)

        assert there.heard == [b""]

    @pytest.mark.parametrize(
        "server",
        [
            pytest.param(lambda: server_context(stranger().issue_cert("localhost")), id="unknown authority"),
            pytest.param(lambda: server_context(authority().issue_cert("mail.example")), id="another host"),
        ],
    )
    async def test_somebody_else_is_not_ses(self, server: Callable[[], ssl.SSLContext]) -> None:
        async with api(server()) as there:
            reason = await why_not(connector(there.url))

        assert "certificate verify failed" in reason
        assert there.heard == []

    async def test_nobody_listens(self, unused_tcp_port: int) -> None:
        assert (await why_not(connector(f"https://127.0.0.1:{unused_tcp_port}"))).startswith("connect: 127.0.0.1 port")

    async def test_a_name_that_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def nowhere(*_: object, **__: object) -> None:
            raise OSError("Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere, raising=False)

        assert await why_not(connector("https://ses.invalid")) == "dns: ses.invalid: Name or service not known"

    async def test_plain_http_where_tls_is_due(self) -> None:
        """A server that waits for a request is given up in time."""
        async with api() as there:
            reason = await why_not(connector(there.url.replace("http", "https")), timeout_s=0.2)

        assert reason == "no connection within 0.2 s"

    async def test_an_endpoint_without_tls_is_only_connected_to(self) -> None:
        """As a local double of SES may be."""
        async with api() as there:
            await connector(there.url)(REGION, "api", 5)

        assert there.heard == [b""]

    async def test_without_authorities_there_is_no_connection_until_there_are(self) -> None:
        broken = True

        def trust() -> ssl.SSLContext:
            if broken:
                raise FileNotFoundError("ca.pem")
            return client_context()

        async with api(server_context()) as there:
            reach = connector(there.url, trust=trust)
            reason = await why_not(reach)
            broken = False
            await reach(REGION, "api", 5)

        assert reason == "tls: certificate authorities: ca.pem"
        assert there.heard == [b""]

    async def test_who_gives_up_leaves_nothing_open(self) -> None:
        """The relay may end while it probes."""
        async with api() as there:
            probe = asyncio.ensure_future(connector(there.url.replace("http", "https"))(REGION, "api", 60))
            await there.began.wait()
            probe.cancel()
            await asyncio.wait([probe])
            assert probe.cancelled()
            await asyncio.wait(there.tasks)

        assert len(there.heard) == 1


class TestProxies:
    @pytest.fixture(autouse=True)
    def no_other_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_ses_is_reached_through_it(self, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        """By CONNECT with the login of its URL, as mail goes; the proxy alone would say nothing of SES."""
        tls = server_context() if scheme == "https" else None
        async with api(server_context()) as there, proxy(tls=tls) as between:
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://us%40er:pa%3Ass@127.0.0.1:{between.port}")
            await connector(there.url)(REGION, "api", 5)

        assert between.asked == [f"CONNECT localhost:{there.port} HTTP/1.1"]
        assert between.authorizations == ["Basic " + b64encode(b"us@er:pa:ss").decode()]
        assert there.heard == [b""]

    async def test_somebody_else_behind_it_is_not_ses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with api(server_context(stranger().issue_cert("localhost"))) as there, proxy() as between:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
            reason = await why_not(connector(there.url))

        assert "certificate verify failed" in reason

    async def test_a_refusal_is_the_proxys_and_its_password_is_in_no_reason(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with api(server_context()) as there, proxy(b"HTTP/1.1 407 Login first\r\n\r\n") as between:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{between.port}")
            reason = await why_not(connector(there.url))

        assert reason == "proxy: the proxy refused: HTTP/1.1 407 Login first"
        assert there.heard == []

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"HTTP/1.1 200 Ok\r\n", "the proxy closed the connection"),
            (b"nonsense\r\n\r\n", "the proxy refused: nonsense"),
            (b"HTTP/1.1 200 Ok\r\n\r\nmore", "the proxy said more than it was asked"),
        ],
        ids=["half a head", "no HTTP", "too much"],
    )
    async def test_strange_answers(self, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str) -> None:
        """Bounded, and never taken for a connection."""
        async with proxy(answer) as between:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
            assert await why_not(connector("https://localhost:1")) == f"proxy: {reason}"

    async def test_one_whose_answer_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is hung up on: our memory is not its to fill."""
        over = asyncio.Event()

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 Ok\r\nX: " + b"x" * 20_000)
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            over.set()

        async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            reason = await why_not(connector("https://localhost:1"))
            await over.wait()

        assert reason == "proxy: the proxy closed the connection"

    async def test_one_that_is_given_up_is_hung_up_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with api() as between:
            monkeypatch.setenv("HTTPS_PROXY", between.url)
            await why_not(connector("https://localhost:1"), timeout_s=0.2)
            async with asyncio.timeout(10):
                await asyncio.wait(between.tasks)

        assert between.heard[0].startswith(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n")

    async def test_one_that_says_nothing_or_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with proxy(silent=True) as between:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{between.port}")
            silent = await why_not(connector("https://localhost:1"), timeout_s=0.2)
        gone = await why_not(connector("https://localhost:1"))

        assert silent == "no connection within 0.2 s"
        assert gone.startswith("proxy: 127.0.0.1 port")
        assert "secret" not in gone

    async def test_for_an_endpoint_without_tls_the_proxy_is_all_that_can_be_had(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such a proxy connects when a request comes, and none is made."""
        async with api() as there, proxy() as between:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{there.port}")
            await connector("http://ses.invalid")(REGION, "api", 5)

        assert there.heard == [b""]
        assert between.asked == []

    async def test_a_kind_of_proxy_that_mail_cannot_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")

        assert "socks5" in await why_not(connector("https://localhost:1"))


_SESSION = """\
S: 220 Hello
C: EHLO relay.test
S: 250-mail.example
S: 250 STARTTLS
C: STARTTLS
S: 220 Ready
tls
C: EHLO relay.test
S: 250 AUTH PLAIN
C: QUIT
S: 221 Bye
"""
_IMPLICIT = """\
@ tls: implicit
S: 220 Hello
C: EHLO relay.test
S: 250 AUTH PLAIN
C: QUIT
S: 221 Bye
"""


class TestSmtp:
    @BOTH
    async def test_the_session_ends_before_a_login(self, tls: SmtpTls) -> None:
        """Greeting, TLS, EHLO, QUIT."""
        script = parse("probe", _SESSION if tls == "starttls" else _IMPLICIT)
        async with listening(script, server_context()) as there:
            await connector(smtp=at(there.port, tls))(REGION, "smtp", 5)
            await there.finished()

    async def test_without_tls_where_the_configuration_says_so(self) -> None:
        script = parse("plain", _IMPLICIT.replace("@ tls: implicit\n", ""))
        async with listening(script) as there:
            await connector(smtp=at(there.port, "none"))(REGION, "smtp", 5)
            await there.finished()

    async def test_somebody_else_is_not_ses(self) -> None:
        script = parse("stranger", _SESSION)
        async with listening(script, server_context(stranger().issue_cert("127.0.0.1"))) as there:
            reason = await why_not(connector(smtp=at(there.port, "starttls")), "smtp")
            with pytest.raises(AssertionError):
                await there.finished()

        assert "certificate verify failed" in reason

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            pytest.param("S: 421 Not now", "421 Not now", id="refused"),
            pytest.param("S| HTTP/1.1 400 Bad Request\\r\\n", "not_aws: ", id="no SMTP"),
            pytest.param("close", "stale: connection closed", id="closed"),
            pytest.param("silence", "no connection within 0.2 s", id="silent"),
            pytest.param(
                "S: 220 Hello\nC: EHLO relay.test\nS: 250 mail.example",
                "tls: the server does not offer STARTTLS",
                id="no TLS",
            ),
        ],
    )
    async def test_a_server_that_does_not_serve(self, script: str, reason: str) -> None:
        async with listening(parse("unwell", script)) as there:
            patience = 0.2 if "silence" in script else 5.0
            assert (await why_not(connector(smtp=at(there.port, "starttls")), "smtp", patience)).startswith(reason)
            await there.finished()

    async def test_nobody_listens(self, unused_tcp_port: int) -> None:
        assert (await why_not(connector(smtp=at(unused_tcp_port)), "smtp")).startswith("connect: 127.0.0.1 port")
