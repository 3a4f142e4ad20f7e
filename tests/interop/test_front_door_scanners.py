"""Programs that look for weak spots find none, and find them where there are some: each verdict is read both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from foreign_tools import Ran, run
from front_door import USER, certificate, front_door
from relay_process import Bench

from relay.smtp.auth import hash_password

pytestmark = pytest.mark.interop


@asynccontextmanager
async def weak_server(folder: Path) -> AsyncIterator[int]:
    """A server that takes all mail from everybody, and keeps what came in clear for after STARTTLS; its port."""
    files = certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["certificate"], files["private_key"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 weak ESMTP\r\n")
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(b"220 Ready\r\n" if line == b"STARTTLS\r\n" else b"250 Ok\r\n")
                if line == b"STARTTLS\r\n":
                    await writer.start_tls(context)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


# The STARTTLS command injection (RFC 3207 section 6)

SAFE, INJECTED = "Probably no command injection here!", "Command injection here!"


async def injection(port: int, folder: Path) -> str:
    """What command-injection-tester says in the end; it always ends with 0."""
    ran = await run(
        "command-injection-tester", "--smtp", "--smtp-port", str(port), "--nocolor", "--timeout", "1", "--logdir",
        folder / "logs", "localhost",
    )  # fmt: skip
    assert "Sanity test done" in ran.output, ran
    return ran.output.strip().rpartition(" - ")[2]


async def test_commands_cannot_be_injected_before_tls(bench: Bench, tmp_path: Path) -> None:
    """What came behind STARTTLS in the same packet is not answered within TLS, and the session goes on."""
    door = await front_door(bench, tmp_path)
    assert await injection(door.ports["starttls"], tmp_path) == SAFE


async def test_where_commands_can_be_injected_the_tester_says_so(tmp_path: Path) -> None:
    async with weak_server(tmp_path) as port:
        assert await injection(port, tmp_path) == INJECTED


# Open relays

OPEN, CLOSED = "Server is an open relay", "Server doesn't seem to be an open relay, all tests failed"
LOGIN_NEEDED = "Server isn't an open relay, authentication needed"


async def relaying(port: int, domain: str) -> str:
    """What nmap's smtp-open-relay says, having tried senders and recipients of this domain, and other spellings."""
    ran = await run(
        "nmap", "-sT", "-Pn", "-n", "-p", str(port), "--script", "+smtp-open-relay", "--script-args",
        f"smtp-open-relay.domain={domain}", "127.0.0.1",
    )  # fmt: skip
    verdicts = [line.partition("smtp-open-relay: ")[2] for line in ran.output.splitlines() if "smtp-open-relay" in line]
    assert (ran.status, len(verdicts)) == (0, 1), ran
    return verdicts[0].strip()


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a client with other people's addresses": ({"networks": ["127.0.0.0/8"]}, "elsewhere.example", CLOSED),
    "a stranger with ours": ({"networks": ["192.0.2.0/24"]}, "example.com", CLOSED),
    "somebody without a login": ({"users": [USER]}, "example.com", LOGIN_NEEDED),
}


@pytest.mark.parametrize(("client", "domain", "verdict"), CASES.values(), ids=CASES)
async def test_it_is_no_open_relay(
    bench: Bench, tmp_path: Path, client: dict[str, Any], domain: str, verdict: str
) -> None:
    users = {USER: hash_password("not said")} if "users" in client else {}
    door = await front_door(bench, tmp_path, users=users, clients=[{"name": "somebody", **client}])
    assert await relaying(door.ports["none"], domain) == verdict
    assert bench.ses.total == 0


async def test_an_open_relay_is_seen_as_one(bench: Bench, tmp_path: Path) -> None:
    """The weak server is one to everybody; the relay is one to its own client with its own addresses: its purpose."""
    async with weak_server(tmp_path) as port:
        assert await relaying(port, "elsewhere.example") == f"{OPEN} (16/16 tests)"
    door = await front_door(bench, tmp_path, users={}, clients=[{"name": "local", "networks": ["127.0.0.0/8"]}])
    assert (await relaying(door.ports["none"], "example.com")).startswith(OPEN)


# TLS

FULL = ("-p", "-s", "-f", "-P", "-S", "-U")  # protocols, ciphers, forward secrecy, order, server, vulnerabilities
ASKED = {
    "SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT",
    "cipher_order", "PFS", "cert_keySize", "cert_trust", "cert_chain_of_trust", "heartbleed", "CCS",
    "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS", "POODLE_SSL", "fallback_SCSV", "SWEET32", "FREAK",
    "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
}  # fmt: skip
TOLERATED = {
    "cert_revocation": "the authority is our own: it publishes neither CRL nor OCSP",
    "cipherlist_AVERAGE": "CBC in TLS 1.2 with forward secrecy and SHA-2, for applications that have nothing newer",
    "LUCKY13": "the same ciphers; OpenSSL checks their padding in constant time",
}
NOT_CHECKED = {
    "engine_problem": "the machine's OpenSSL has no GOST",
    "sessionresumption_ticket": "the tool's own check fails behind STARTTLS; openssl s_client resumes",
}
FINE = ("OK", "INFO", "DEBUG")
FAILED = ("WARN", "FATAL")


async def scan(port: int, folder: Path, name: str, *options: str | Path) -> dict[str, dict[str, Any]]:
    """What testssl.sh finds, by its ids."""
    report = folder / f"{name}.json"
    ran: Ran = await run(
        "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--add-ca",
        folder / "pki" / "authority.pem", "--jsonfile", report, *options, f"localhost:{port}", limit_s=300,
    )  # fmt: skip
    assert report.exists(), ran
    return {finding["id"]: finding for finding in json.loads(report.read_text("utf-8"))}


def weak_spots(found: dict[str, dict[str, Any]]) -> set[str]:
    """All that is not as it should be, of however low severity; raises where a check could not be made."""
    assert {name for name, each in found.items() if each["severity"] in FAILED} <= NOT_CHECKED.keys()
    return {name for name, each in found.items() if each["severity"] not in (*FINE, *FAILED)} - TOLERATED.keys()


async def test_tls_has_no_weak_spot(bench: Bench, tmp_path: Path) -> None:
    """Neither behind STARTTLS nor with implicit TLS, in the modern profile."""
    door = await front_door(bench, tmp_path)
    both = await asyncio.gather(
        scan(door.ports["starttls"], tmp_path, "starttls", *FULL, "-t", "smtp"),
        scan(door.ports["implicit"], tmp_path, "implicit", *FULL),
    )
    for found in both:
        assert found.keys() >= ASKED
        assert weak_spots(found) == set()
        assert {found[name]["finding"] for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1")} == {"not offered"}
    assert bench.ses.total == 0


async def test_the_legacy_profile_is_seen_as_what_it_is(bench: Bench, tmp_path: Path) -> None:
    """Old TLS is for printers, and the tool would have found it; nothing is worse than that."""
    door = await front_door(bench, tmp_path, door={"tls_profile": "legacy"})
    found = await scan(door.ports["implicit"], tmp_path, "legacy", "-p", "-s")
    assert weak_spots(found) >= {"TLS1", "TLS1_1"}
    assert "CRITICAL" not in {each["severity"] for each in found.values()}
    assert found["TLS1_2"]["severity"] == "OK"
