"""HAProxy in front, by both versions of its protocol: the client is whom it names, through TLS of either kind.

Its health checks come from itself, and say so: LOCAL in version 2, its own address in version 1.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from foreign_tools import Ran, run, running
from front_door import BY_LOGIN, KINDS, PASSWORD, USER, FrontDoor, front_door, swaks_data
from mails import BY_API, RECIPIENTS, below_the_block, mails
from relay_process import PATIENCE_S, Bench
from wiretap import tapped

pytestmark = pytest.mark.interop

KNOWN, UNKNOWN = "127.0.0.5", "127.0.0.6"  # where clients come from; HAProxy itself comes from 127.0.0.1
FAR = "192.0.2.7"  # a client that HAProxy is made to believe in
BEHIND = {"name": "behind", "networks": [f"{KNOWN}/32"]}
ITSELF = {"name": "itself", "networks": ["127.0.0.1/32"]}
TRUSTED = {"proxy_protocol_from": ["127.0.0.1/32"]}
ELSEWHERE = {"proxy_protocol_from": ["192.0.2.0/24"]}
BOTH_VERSIONS = pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
GIVEN = mails(BY_API.sender)["dots"]
TLS = {"none": (), "starttls": ("--tls",), "implicit": ("--tls-on-connect",)}
CONFIG = """\
global
    maxconn 100
    log stderr format raw local0
defaults
    mode tcp
    log global
    option log-health-checks
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
LISTENER = """\
listen {kind}
    bind fd@{descriptor}
    server relay 127.0.0.1:{port} {how}
"""
CHECKED = " check inter 100ms\n    option smtpchk EHLO haproxy.example\n"
MAIL_CHECKED = f""" check inter 100ms
    option tcp-check
    tcp-check expect string 220
    tcp-check send EHLO\\ haproxy.example\\r\\n
    tcp-check expect string ENHANCEDSTATUSCODES
    tcp-check send MAIL\\ FROM:<{BY_API.sender}>\\r\\n
    tcp-check expect string 250\\ 2.1.0
"""
HEADER_OF_A_CHECK = {
    "send-proxy": b"PROXY TCP4 127.0.0.1 127.0.0.1 ",
    "send-proxy-v2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",  # LOCAL
}
FROM_AFAR = f"\n    tcp-request connection set-src ipv4({FAR})\n"


@dataclass(frozen=True, slots=True)
class Haproxy:
    """A running HAProxy, and its port for each listener of the relay."""

    process: Process
    ports: dict[str, int]

    async def verdict(self) -> str:
        """What it has found out about the relay's first listener by checking its health."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"Health check for server none/relay" not in (line := await self.process.stderr.readline()):
                assert line, "HAProxy has ended"
        return line.decode()


@asynccontextmanager
async def haproxy(door: FrontDoor, folder: Path, how: str, *, check: str = "") -> AsyncIterator[Haproxy]:
    """HAProxy on sockets of ours in front of every listener; the one in clear is checked as `check` says."""
    with ExitStack() as stack:
        sockets = {kind: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for kind in KINDS}
        descriptors = {kind: each.fileno() for kind, each in sockets.items()}
        hows = dict.fromkeys(KINDS, how) | {"none": how + check}
        parts = [LISTENER.format(kind=k, descriptor=descriptors[k], port=door.ports[k], how=hows[k]) for k in KINDS]
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG + "".join(parts), "utf-8")
        async with running("haproxy", "-db", "-f", config, pass_fds=list(descriptors.values())) as process:
            yield Haproxy(process, {kind: each.getsockname()[1] for kind, each in sockets.items()})
            assert process.returncode is None


async def swaks(port: int, kind: str, origin: str, folder: Path, *options: str) -> Ran:
    return await run(
        "swaks", "--server", f"127.0.0.1:{port}", "--local-interface", origin, *TLS[kind], "--from", BY_API.sender,
        "--to", RECIPIENTS[0], "--data", swaks_data(folder, GIVEN), *options,
    )  # fmt: skip


def arrived(bench: Bench) -> list[bytes]:
    """What SES got, as the right identity, without the relay's block."""
    return [below_the_block(got.raw, BY_API) for got in bench.ses.received]


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
async def test_the_client_is_whom_haproxy_names(bench: Bench, tmp_path: Path, how: str) -> None:
    """By network: one client may send, through any TLS, and the next one on the same proxy may not."""
    door = await front_door(bench, tmp_path, door=TRUSTED, users={}, clients=[BEHIND])
    async with haproxy(door, tmp_path, how) as proxy:
        for number, kind in enumerate(KINDS, 1):
            ran = await swaks(proxy.ports[kind], kind, KNOWN, tmp_path)
            assert ran.status == 0, ran
            line = await door.relay.event("message", number)
            assert (line["client"], line["peer"], line["outcome"]) == ("behind", KNOWN, "delivered")
            ran = await swaks(proxy.ports[kind], kind, UNKNOWN, tmp_path)
            assert "550 5.7.1 This host is not one of the relay's clients" in ran.output, ran
            assert (await door.relay.event("command_refused", number))["peer"] == UNKNOWN
    assert arrived(bench) == [GIVEN] * len(KINDS)


@BOTH_VERSIONS
async def test_the_proxy_s_own_rights_are_not_its_clients(bench: Bench, tmp_path: Path, how: str) -> None:
    """Where the proxy itself may send, those whom it names may still not."""
    door = await front_door(bench, tmp_path, door=TRUSTED, users={}, clients=[ITSELF])
    async with haproxy(door, tmp_path, how) as proxy:
        for kind in KINDS:
            ran = await swaks(proxy.ports[kind], kind, UNKNOWN, tmp_path)
            assert "550 5.7.1 This host is not one of the relay's clients" in ran.output, ran
    assert bench.ses.total == 0


@BOTH_VERSIONS
async def test_whether_a_client_may_log_in_is_decided_by_its_own_address(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    """In clear only from loopback, where the proxy is and the client is not; over TLS from anywhere."""
    door = await front_door(bench, tmp_path, door=TRUSTED, clients=[BY_LOGIN])
    login = ("--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD)
    async with haproxy(door, tmp_path, how) as near:
        assert (await swaks(near.ports["none"], "none", UNKNOWN, tmp_path, *login)).status == 0
        assert (await door.relay.event("message", 1))["peer"] == UNKNOWN
    async with haproxy(door, tmp_path, how + FROM_AFAR) as far:
        ran = await swaks(far.ports["none"], "none", UNKNOWN, tmp_path, *login)
        assert "Host did not advertise authentication" in ran.output + ran.errors, ran
        for number, kind in enumerate(("starttls", "implicit"), 2):
            ran = await swaks(far.ports[kind], kind, UNKNOWN, tmp_path, *login)
            assert ran.status == 0, ran
            line = await door.relay.event("message", number)
            assert (line["peer"], line["user"], line["client"]) == (FAR, USER, USER)
    assert arrived(bench) == [GIVEN] * 3


@BOTH_VERSIONS
async def test_haproxy_s_own_health_checks_are_no_trouble(bench: Bench, tmp_path: Path, how: str) -> None:
    """They get their answers, HAProxy goes on using the relay, and the log has nothing of them."""
    door = await front_door(bench, tmp_path, door=TRUSTED, clients=[BEHIND], users={})
    async with haproxy(door, tmp_path, how, check=CHECKED) as proxy:
        verdict = await proxy.verdict()
        assert "succeeded, reason: Layer7 check passed, code: 221" in verdict, verdict  # up to QUIT
        for _ in range(5):
            assert (await swaks(proxy.ports["none"], "none", KNOWN, tmp_path)).status == 0
    trouble = {"connection_broken", "connection_refused", "command_refused", "session_closed", "internal_error"}
    assert not [event for event in door.relay.log if event["event"] in trouble]
    assert arrived(bench) == [GIVEN] * 5


@BOTH_VERSIONS
async def test_a_health_check_has_haproxy_s_own_address(bench: Bench, tmp_path: Path, how: str) -> None:
    """One that goes as far as MAIL passes where HAProxy itself is a client, and nowhere else."""
    door = await front_door(bench, tmp_path, door=TRUSTED, clients=[ITSELF], users={})
    async with tapped(("127.0.0.1", door.ports["none"])) as tap:
        behind_tap = replace(door, ports=door.ports | {"none": tap.port})
        async with haproxy(behind_tap, tmp_path, how, check=MAIL_CHECKED) as proxy:
            assert "succeeded, reason: Layer7 check passed" in await proxy.verdict()
        assert tap.said.startswith(HEADER_OF_A_CHECK[how])

    door = await front_door(bench, tmp_path, door=TRUSTED, clients=[BEHIND], users={})
    async with haproxy(door, tmp_path, how, check=MAIL_CHECKED) as proxy:
        assert "failed, reason: Layer7" in await proxy.verdict()
        assert (await door.relay.event("command_refused"))["peer"] == "127.0.0.1"
    assert bench.ses.total == 0


async def test_without_its_header_the_proxy_gets_no_answer(bench: Bench, tmp_path: Path) -> None:
    """An operator who forgets `send-proxy` learns it at once: nobody is greeted in the proxy's name."""
    door = await front_door(bench, tmp_path, door=TRUSTED, users={}, clients=[BEHIND, ITSELF])
    async with haproxy(door, tmp_path, "") as proxy:
        ran = await swaks(proxy.ports["none"], "none", KNOWN, tmp_path, "--timeout", "10s")
    assert ran.status != 0
    assert "250" not in ran.output
    assert bench.ses.total == 0


@BOTH_VERSIONS
async def test_a_header_from_elsewhere_is_not_believed(bench: Bench, tmp_path: Path, how: str) -> None:
    """HAProxy is no proxy of ours where the configuration does not say so: its header ends the session, or is noise."""
    door = await front_door(bench, tmp_path, door=ELSEWHERE, users={}, clients=[BEHIND])
    async with haproxy(door, tmp_path, how) as proxy:
        ran = await swaks(proxy.ports["none"], "none", KNOWN, tmp_path)
    assert ran.status != 0
    event = "session_closed" if how == "send-proxy" else "command_refused"
    assert (await door.relay.event(event))["peer"] == "127.0.0.1"
    assert bench.ses.total == 0
