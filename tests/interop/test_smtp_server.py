"""An SMTP server of Node.js in the place of the SES SMTP endpoint: STARTTLS, logins, certificates by other people."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from foreign_tools import running
from mails import BY_SMTP, RECIPIENTS, below_the_block, mails
from relay_process import PATIENCE_S, Bench, RunningRelay, submit

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("smtp_server.js")
SENDER = BY_SMTP.sender
ONE_ATTEMPT = {"hold_s": 0.1}  # less than the shortest pause between two


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running server, and who vouches for it."""

    port: int
    process: Process
    authority: Path

    async def message(self) -> dict[str, Any]:
        """The next message that it took."""
        while "content" not in (fact := await _fact(self.process)):
            pass
        return fact

    async def end(self) -> str:
        """End it; what it has printed and nobody has read."""
        self.process.terminate()
        output, _ = await self.process.communicate()
        return output.decode()


async def _fact(process: Process) -> dict[str, Any]:
    """The next line that the server prints."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        fact: dict[str, Any] = json.loads(await process.stdout.readuntil())
    return fact


@asynccontextmanager
async def smtp_server(bench: Bench, folder: Path, **options: Any) -> AsyncIterator[Upstream]:
    """Start the server with these options, for the login that the relay derives from its keys."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    paths = {name: folder / f"{name}.pem" for name in ("key", "cert", "authority")}
    issued.private_key_pem.write_to_path(paths["key"])
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    authority.cert_pem.write_to_path(paths["authority"])
    user, password = bench.ses.smtp_login(BY_SMTP.region)
    job = {"key": str(paths["key"]), "cert": str(paths["cert"]), "user": user, "password": password, "options": options}
    async with running("node", SCRIPT, json.dumps(job)) as process:
        yield Upstream((await _fact(process))["port"], process, paths["authority"])


async def start(bench: Bench, upstream: Upstream, tls: str = "starttls", **changes: Any) -> RunningRelay:
    """A relay that has the server as its SES SMTP endpoint, and believes its certificate."""
    bench.environment["AWS_CA_BUNDLE"] = str(upstream.authority)
    return await bench.start(ses={"smtp_endpoint": f"127.0.0.1:{upstream.port}", "smtp_tls": tls}, **changes)


@pytest.mark.parametrize(
    ("options", "tls", "login"),
    [
        ({}, "starttls", "PLAIN"),
        ({"secure": True}, "implicit", "PLAIN"),
        ({"authMethods": ["LOGIN"]}, "starttls", "LOGIN"),
        ({"hidePIPELINING": True, "size": 10_000_000}, "starttls", "PLAIN"),
    ],
    ids=["STARTTLS", "implicit TLS", "AUTH LOGIN", "SIZE, no PIPELINING"],
)
async def test_every_byte_reaches_the_server(
    bench: Bench, tmp_path: Path, options: dict[str, Any], tls: str, login: str
) -> None:
    """Logged in under TLS with the derived password; content below the block as the client gave it."""
    async with smtp_server(bench, tmp_path, **options) as upstream:
        relay = await start(bench, upstream, tls)
        for content in mails(SENDER).values():
            assert await submit(relay, SENDER, content, *RECIPIENTS) == (250, "2.0.0 Ok from-smtp-server")
            got = await upstream.message()
            assert below_the_block(b64decode(got["content"]), BY_SMTP) == content
            assert (got["secure"], got["login"]) == (True, login)
            assert (got["sender"], got["recipients"]) == (SENDER, list(RECIPIENTS))
    assert bench.ses.total == 0


async def test_what_is_over_the_size_offered_is_refused(bench: Bench, tmp_path: Path) -> None:
    """The server's SIZE is known from EHLO: the client hears 552, the next message goes through."""
    async with smtp_server(bench, tmp_path, size=100_000) as upstream:
        relay = await start(bench, upstream)
        given = mails(SENDER)
        code, text = await submit(relay, SENDER, given["big"])
        assert (code, text[:5]) == (552, "5.3.4")
        assert (await submit(relay, SENDER, given["plain"]))[0] == 250


async def test_wrong_keys_are_the_relays_trouble(bench: Bench, tmp_path: Path) -> None:
    """535 from the server: temporary for the client, told as what it is, tried once."""
    async with smtp_server(bench, tmp_path) as upstream:
        bench.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
        relay = await start(bench, upstream)
        code, text = await submit(relay, SENDER, mails(SENDER)["plain"])
        line = await relay.event("message")

        assert json.loads(await upstream.end()) == {"tried": "PLAIN"}

    assert (code, text[:5], line["cause"]) == (451, "4.3.5", "credentials")


async def test_a_server_that_nobody_vouches_for_gets_nothing(bench: Bench, tmp_path: Path) -> None:
    """A certificate of an unknown authority: temporary, and no login was sent."""
    async with smtp_server(bench, tmp_path) as upstream:
        config = {"smtp_endpoint": f"127.0.0.1:{upstream.port}", "smtp_tls": "starttls"}
        relay = await bench.start(ses=config, delivery=ONE_ATTEMPT)  # believes the local SES alone
        code, text = await submit(relay, SENDER, mails(SENDER)["plain"])
        line = await relay.event("message")

        assert await upstream.end() == ""

    assert (code, text[:5], line["cause"]) == (451, "4.4.1", "tls")
