"""PROXY headers in front of real sessions: who is believed, who is not, and what counts afterwards."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import listener
import pytest
import uvloop
from certificates import Pki

from relay import replies
from relay.smtp.auth import hash_password
from relay.smtp.door import Door

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + b"\xc3\x50\0\x19"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\x00"
NAMELESS = {
    "v1": b"PROXY UNKNOWN\r\n",
    "v1 with an address": b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 50000 25\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\x00",
    "v2, by a Unix socket": b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + b"/run/client".ljust(216, b"\0"),
}
TRUSTED = (ip_network("127.0.0.0/8"),)
BEHIND = listener.client_rule("behind", network="192.0.2.0/24")
BILLING = listener.client_rule("billing", networks=None, unix=False, users=("billing",))
HASH = hash_password("a password")
MAIL = b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx: y\r\n.\r\nQUIT\r\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Callable[..., Any]:
    def run(client: Callable[[int], Any], **settings: Any) -> tuple[Any, listener.Listener]:
        async def scene() -> tuple[Any, listener.Listener]:
            async with listener.running(**settings) as relay:
                return await asyncio.to_thread(client, relay.port), relay

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(scene())

    return run


def talk(wire: socket.socket) -> list[str]:
    """All that the server says until it closes, codes only."""
    heard = b""
    while chunk := wire.recv(4096):
        heard += chunk
    return [line[:3].decode() for line in heard.splitlines() if line[3:4] != b"-"]


def say(*chunks: bytes) -> Callable[[int], list[str]]:
    def client(port: int) -> list[str]:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for chunk in chunks:
                wire.sendall(chunk)
            return talk(wire)

    return client


WHOLE = ["220", "250", "250", "250", "354", "250", "221"]


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("cut", [0, 1, 12, 27])
def test_the_client_that_the_proxy_names_is_the_client(play: Callable[..., Any], header: bytes, cut: int) -> None:
    """In one packet with the mail or in several; the client's rule, log and limits are those of its own address."""
    whole = header + MAIL
    said, relay = play(say(whole[:cut], whole[cut:]), door=Door(proxies=TRUSTED), clients=[BEHIND])
    assert said == WHOLE
    line = relay.events("message")[0]
    assert (line["client"], line["peer"]) == ("behind", "192.0.2.7")


def test_a_header_from_anybody_else_is_not_believed(play: Callable[..., Any]) -> None:
    """The session ends: going on would serve whoever it is as the proxy itself."""
    door = Door(proxies=(ip_network("192.0.2.0/24"),))
    said, _ = play(say(V1 + b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nQUIT\r\n"), door=door, clients=[BEHIND])
    assert said == ["220", "421"]


def test_a_trusted_proxy_without_a_header_is_closed(play: Callable[..., Any]) -> None:
    said, relay = play(say(MAIL), door=Door(proxies=TRUSTED))
    assert said == []
    assert relay.events("connection_broken")
    assert relay.server.connections == 0


def test_a_health_check_of_the_proxy_itself_is_the_proxy(play: Callable[..., Any]) -> None:
    said, relay = play(say(LOCAL + MAIL), door=Door(proxies=TRUSTED))
    assert said == WHOLE
    assert relay.events("message")[0]["peer"] == "127.0.0.1"


@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS.keys())
def test_a_client_that_the_proxy_cannot_name_is_nobody(play: Callable[..., Any], header: bytes) -> None:
    """The proxy's own address does not count for it: everybody whom a proxy on loopback lets in would be `local`."""
    mail = b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nQUIT\r\n"
    said, relay = play(say(header + mail), door=Door(proxies=TRUSTED))
    assert said == ["220", "250", "550", "221"]
    [event] = relay.events("command_refused")
    assert event["reply"] == str(replies.NOT_A_CLIENT)
    assert event["peer"] == "unknown"


@pytest.mark.parametrize(("where", "codes"), [("loopback", ["538", "550"]), ("always", ["235", "250"])])
@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS.keys())
def test_a_client_that_the_proxy_cannot_name_logs_in_only_as_strangers_do(
    play: Callable[..., Any], header: bytes, where: Any, codes: list[str]
) -> None:
    """No password in clear as if it came from loopback; but where a login counts, it counts for it too."""
    login = b"AUTH PLAIN " + base64.b64encode(b"\0billing\0a password") + b"\r\n"
    wire = header + b"EHLO c\r\n" + login + b"MAIL FROM:<app@example.com>\r\nQUIT\r\n"
    said, _ = play(
        say(wire), door=Door(proxies=TRUSTED, auth_without_tls=where), users={"billing": HASH},
        clients=[listener.client_rule(), BILLING],
    )  # fmt: skip
    assert said == ["220", "250", *codes, "221"]


def test_clients_that_the_proxy_cannot_name_are_limited_together(play: Callable[..., Any]) -> None:
    """And take no place from those whom it names, nor from the proxy's health checks."""
    limits = replace(listener.LIMITS, connections_per_client=1)

    def client(port: int) -> list[bytes]:
        heard = []
        with ExitStack() as stack:
            for header in (NAMELESS["v1"], NAMELESS["v2"], V1, LOCAL):
                wire = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                wire.sendall(header)
                heard.append(wire.recv(200)[:3])
        return heard

    said, _ = play(client, door=Door(proxies=TRUSTED), limits=limits)
    assert said == [b"220", b"421", b"220", b"220"]


def test_limits_per_client_count_the_client_and_not_the_proxy(play: Callable[..., Any]) -> None:
    limits = replace(listener.LIMITS, connections_per_client=1)

    def client(port: int) -> list[str]:
        address = ("127.0.0.1", port)
        with socket.create_connection(address, timeout=10) as one, socket.create_connection(address, timeout=10) as two:
            one.sendall(V1.replace(b".7 ", b".8 "))
            assert one.recv(100).startswith(b"220")
            two.sendall(V1)
            assert two.recv(100).startswith(b"220")
            with socket.create_connection(address, timeout=10) as three:
                three.sendall(V1)
                return [three.recv(200).decode().strip()]

    # A proxy's own connection counts as one until its header has come
    said, _ = play(client, door=Door(proxies=TRUSTED), limits=limits)
    assert said == [str(replies.TOO_MANY_CONNECTIONS)]


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_client_s_address_survives_tls(play: Callable[..., Any], pki: Pki, kind: Any, header: bytes) -> None:
    """The header comes before the handshake, in the same packet too."""
    context = pki.client()

    def client(port: int) -> list[str]:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
            wire.sendall(header if kind == "implicit" else header + b"EHLO c\r\nSTARTTLS\r\n")
            heard = b""
            while kind == "starttls" and b"220 2.0.0" not in heard:
                heard += wire.recv(4096)
            with context.wrap_socket(wire, server_hostname="localhost") as secure:
                secure.sendall(MAIL)
                return talk(secure)

    said, relay = play(client, door=Door(kind, pki.server(), proxies=TRUSTED), clients=[BEHIND])
    assert said == WHOLE[kind == "starttls" :]
    line = relay.events("message")[0]
    assert (line["client"], line["peer"]) == ("behind", "192.0.2.7")


def test_header_and_client_hello_in_one_packet(play: Callable[..., Any], pki: Pki) -> None:
    """A proxy may send what it has of the client together with its header."""
    context = pki.client()

    def client(port: int) -> list[str]:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:

            def step(work: Callable[[], Any], prefix: bytes = b"") -> Any:
                while True:
                    try:
                        result = work()
                    except ssl.SSLWantReadError:
                        wire.sendall(prefix + outgoing.read())
                        prefix = b""
                        incoming.write(wire.recv(65536))
                    else:
                        wire.sendall(outgoing.read())
                        return result

            step(tls.do_handshake, V2)
            step(lambda: tls.write(b"QUIT\r\n"))
            return [step(lambda: tls.read(4096))[:3].decode()]

    said, _ = play(client, door=Door("implicit", pki.server(), proxies=TRUSTED))
    assert said == ["220"]
