"""The listener's doors from the configuration: TLS, logins, reload of both, Unix sockets, PROXY, activation."""

import asyncio
import os
import signal
import smtplib
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import Pki
from relay_process import Bench, RunningRelay

from relay.smtp.auth import hash_password

MESSAGE = b"From: app@example.com\r\n\r\nhi\r\n"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def hashed() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    folder = tmp_path / "pki"
    folder.mkdir()
    made = Pki(folder)
    made.private_key.chmod(0o600)
    return made


def door(pki: Pki, **changes: Any) -> dict[str, Any]:
    files = {"certificate": str(pki.certificate), "private_key": str(pki.private_key)}
    return {"bind": "127.0.0.1:0", "tls": "starttls", **files, **changes}


def _connect(port: int, context: ssl.SSLContext | None) -> smtplib.SMTP:
    if context is None:
        return smtplib.SMTP("localhost", port, timeout=30)
    return smtplib.SMTP_SSL("localhost", port, timeout=30, context=context)


def submit(port: int, context: ssl.SSLContext, password: str | None, *, implicit: bool = False) -> str:
    """Log in and send; returns the server's certificate's serial number."""
    with _connect(port, context if implicit else None) as client:
        if not implicit:
            client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert() or {}
        if password is not None:
            client.login("billing", password)
        client.sendmail("app@example.com", ["ann@customer.example"], MESSAGE)
        return str(certificate["serialNumber"])


async def test_tls_and_login_by_configuration(bench: Bench, pki: Pki, hashed: str) -> None:
    """STARTTLS and implicit TLS side by side; a client by login may use only its senders."""
    relay = await bench.start(
        listeners=[door(pki, require_tls=True, auth_without_tls="never"), door(pki, tls="implicit")],
        users={"billing": hashed},
        clients=[{"name": "billing", "users": ["billing"], "senders": ["app@example.com"]}],
    )
    ports = [int(e["address"].rpartition(":")[2]) for e in relay.log if e["event"] == "listening"]
    await asyncio.to_thread(submit, ports[0], pki.client(), PASSWORD)
    await asyncio.to_thread(submit, ports[1], pki.client(), PASSWORD, implicit=True)
    lines = [await relay.event("message", number) for number in (1, 2)]

    assert [(line["client"], line["user"], line["outcome"]) for line in lines] == [
        ("billing", "billing", "delivered"),
        ("billing", "billing", "delivered"),
    ]
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        await asyncio.to_thread(submit, ports[1], pki.client(), None, implicit=True)
    assert refused.value.smtp_code == 530
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await asyncio.to_thread(submit, ports[0], pki.client(), "guess")
    assert PASSWORD not in relay.raw


async def test_a_reload_brings_the_new_certificate_and_the_new_password(bench: Bench, pki: Pki, hashed: str) -> None:
    """And a certificate that cannot be read leaves everything as it was."""
    clients = [{"name": "billing", "users": ["billing"]}]
    relay = await bench.start(listeners=[door(pki)], users={"billing": hashed}, clients=clients)
    before = await asyncio.to_thread(submit, relay.port, pki.client(), PASSWORD)

    pki.certificate.write_text("broken")
    relay.tell(signal.SIGHUP)
    await relay.event("reload_refused")
    assert await asyncio.to_thread(submit, relay.port, pki.client(), PASSWORD) == before

    pki.issue()
    config = yaml.safe_load(relay.config.read_text("utf-8"))
    config["users"]["billing"] = hash_password("another")
    bench.write(config)
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    assert await asyncio.to_thread(submit, relay.port, pki.client(), "another") != before
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await asyncio.to_thread(submit, relay.port, pki.client(), PASSWORD)


async def test_a_missing_certificate_ends_with_a_word(bench: Bench, pki: Pki) -> None:
    pki.certificate.write_text("no certificate")
    relay = await bench.start(wait=False, listeners=[door(pki)])
    assert await relay.end() in (1, 2)


def speak(wire: socket.socket, preamble: bytes = b"") -> bytes:
    """A whole session in one packet; all that the server says."""
    mail = (
        b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<ann@customer.example>\r\nDATA\r\n%b.\r\nQUIT\r\n" % MESSAGE
    )
    with wire:
        wire.settimeout(30)
        wire.sendall(preamble + mail)
        heard = b""
        while chunk := wire.recv(4096):
            heard += chunk
    return heard


async def test_a_unix_socket(bench: Bench, tmp_path: Path) -> None:
    """Clients of a Unix socket are clients by `unix`; its file is gone when the relay is."""
    path = tmp_path / "relay.sock"
    relay = await bench.start(listeners=[{"bind": f"unix:{path}"}], clients=[{"name": "here", "unix": True}])
    assert path.stat().st_mode & 0o777 == 0o660
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(str(path))
    assert b"250 2.0.0 Ok" in await asyncio.to_thread(speak, wire)
    line = await relay.event("message")
    assert (line["client"], line["peer"]) == ("here", "unix")
    relay.tell(signal.SIGTERM)
    await relay.end()
    assert not path.exists()


async def test_a_proxy_is_believed_and_the_client_is_the_one_it_names(bench: Bench) -> None:
    relay = await bench.start(
        listeners=[{"bind": "127.0.0.1:0", "proxy_protocol_from": ["127.0.0.1/32"]}],
        clients=[{"name": "behind", "networks": ["192.0.2.0/24"]}],
    )
    wire = socket.create_connection(("127.0.0.1", relay.port))
    heard = await asyncio.to_thread(speak, wire, b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\r\n")
    assert b"250 2.0.0 Ok" in heard
    line = await relay.event("message")
    assert (line["client"], line["peer"]) == ("behind", "192.0.2.7")


async def test_socket_activation(bench: Bench) -> None:
    """A socket that the service manager opened: mail that came before the relay was up is served."""
    config = bench.write(bench.config(listeners=[{"bind": "systemd:smtp"}]))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = socket.create_connection(listening.getsockname())  # before there is a relay
        os.set_inheritable(listening.fileno(), True)
        hand_over = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='smtp'); "
            "os.execv(sys.executable, [sys.executable, '-m', 'relay', 'run', '--config', sys.argv[2]])"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", hand_over, str(listening.fileno()), str(config), pass_fds=[listening.fileno()],
            env={**os.environ, **bench.ses.relay_environment()}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
    relay = RunningRelay(process, config)
    try:
        await relay.event("ready")
        assert b"250 2.0.0 Ok" in await asyncio.to_thread(speak, wire)
    finally:
        relay.tell(signal.SIGTERM)
        assert await relay.end() == 0
