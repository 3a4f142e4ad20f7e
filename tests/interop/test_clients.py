"""Clients of other makers send through the relay, by either transport: every byte they put on the wire arrives.

A tap between client and relay keeps what was really sent, so that neither the client's word nor the relay's is
taken for it.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_tools import Ran, run
from mails import RECIPIENTS, ROUTES, Route, below_the_block, mails
from relay_process import Bench
from wiretap import Tap, tapped

pytestmark = pytest.mark.interop
BY_EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.interface)

NODEMAILER = Path(__file__).with_name("nodemailer_client.js")


@dataclass(frozen=True, slots=True)
class Job:
    """A complete message to send: CRLF lines in `content` and the file `wire`, LF lines in `local`."""

    port: int
    sender: str
    content: bytes
    wire: Path
    local: Path

    @property
    def server(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


async def swaks(job: Job) -> Ran:
    job.local.write_bytes(job.local.read_bytes() + b".\n")  # it makes an end of its own where it finds none
    return await run(
        "swaks", "--server", job.server, "--from", job.sender, "--to", ",".join(RECIPIENTS), "--data", f"@{job.local}"
    )


async def msmtp(job: Job) -> Ran:
    return await run(
        "msmtp", "--host=127.0.0.1", f"--port={job.port}", "--auth=off", "--tls=off", f"--from={job.sender}", "--",
        *RECIPIENTS, stdin=job.local.read_bytes(),
    )  # fmt: skip


async def nodemailer(job: Job) -> Ran:
    envelope = {"from": job.sender, "to": RECIPIENTS}
    job_of_one = {"port": job.port, "mails": [{"envelope": envelope, "raw": b64encode(job.content).decode()}]}
    return await run("node", NODEMAILER, stdin=json.dumps(job_of_one).encode())


async def curl(job: Job) -> Ran:
    recipients = [word for recipient in RECIPIENTS for word in ("--mail-rcpt", recipient)]
    return await run(
        "curl", "--silent", "--show-error", f"smtp://{job.server}/client.example", "--mail-from", job.sender,
        *recipients, "--upload-file", job.wire,
    )  # fmt: skip


async def smtp_source(job: Job) -> Ran:
    return await run("smtp-source", "-f", job.sender, "-t", RECIPIENTS[0], "-F", job.local, job.server)


async def python(job: Job) -> Ran:
    def talk() -> Ran:
        with smtplib.SMTP("127.0.0.1", job.port, timeout=60) as client:
            refused = client.sendmail(job.sender, RECIPIENTS, job.content, ["BODY=8BITMIME"])
        return Ran(len(refused), "", str(refused))

    return await asyncio.to_thread(talk)


Client = Callable[[Job], Awaitable[Ran]]
CLIENTS: tuple[Client, ...] = (swaks, msmtp, nodemailer, curl, smtp_source, python)
ADDED: dict[Client, bytes] = {smtp_source: b"\r\n"}  # what a client adds to any message


def arrived(bench: Bench, route: Route) -> list[bytes]:
    """What SES got, without the relay's block, having come by the right way."""
    for got in bench.ses.received:
        assert (got.interface, got.region, got.sender) == (route.interface, route.region, route.sender)
    return [below_the_block(got.raw, route) for got in bench.ses.received]


def on_the_wire(tap: Tap) -> list[bytes]:
    """What clients sent; all of it must have been answered by 250."""
    assert {transaction.code for transaction in tap.transactions} == {250}
    return [transaction.content for transaction in tap.transactions]


@BY_EACH_ROUTE
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
async def test_a_complete_message_arrives_byte_for_byte(
    bench: Bench, tmp_path: Path, client: Client, route: Route
) -> None:
    """Plain text, eight bits, leading dots, lines of 5,000 bytes, 200 KB, an attachment: as given, to everybody."""
    relay = await bench.start()
    given = mails(route.sender)
    wire, local = tmp_path / "wire.eml", tmp_path / "local.eml"
    async with tapped(("127.0.0.1", relay.port)) as tap:
        for content in given.values():
            wire.write_bytes(content)
            local.write_bytes(content.replace(b"\r\n", b"\n"))
            ran = await client(Job(tap.port, route.sender, content, wire, local))
            assert ran.status == 0, ran
        sent = on_the_wire(tap)

    assert dict(zip(given, arrived(bench, route), strict=True)) == dict(zip(given, sent, strict=True))
    assert dict(zip(given, sent, strict=True)) == {name: mail + ADDED.get(client, b"") for name, mail in given.items()}
    wanted = RECIPIENTS[:1] if client is smtp_source else RECIPIENTS
    assert [got.recipients for got in bench.ses.received] == [wanted] * len(given)


@BY_EACH_ROUTE
async def test_what_swaks_composes(bench: Bench, tmp_path: Path, route: Route) -> None:
    """Its own headers, and an attachment that it encodes itself."""
    attachment = tmp_path / "a.bin"
    attachment.write_bytes(bytes(range(256)) * 50)
    relay = await bench.start()
    async with tapped(("127.0.0.1", relay.port)) as tap:
        ran = await run(
            "swaks", "--server", f"127.0.0.1:{tap.port}", "--from", route.sender, "--to", RECIPIENTS[0],
            "--header", "Subject: by swaks", "--body", "Hello", "--attach", f"@{attachment}", "--pipeline",
        )  # fmt: skip

    assert ran.status == 0, ran
    [content] = arrived(bench, route)
    assert [content] == on_the_wire(tap)
    assert b"\r\nX-Mailer: swaks" in content
    assert b"multipart/mixed" in content


@BY_EACH_ROUTE
async def test_what_nodemailer_composes(bench: Bench, route: Route) -> None:
    """Text and HTML, an attachment, a header beyond ASCII, blind copies only in the envelope."""
    mail = {
        "from": {"name": "Ünal", "address": route.sender}, "to": RECIPIENTS[0], "bcc": RECIPIENTS[1],
        "subject": "Grüße 你好", "text": ".dots\n..\n" + "x" * 3000, "html": "<p>Grüße</p>",
        "attachments": [{"filename": "ä.bin", "content": "\x00\x01" * 5000}],
    }  # fmt: skip
    relay = await bench.start()
    async with tapped(("127.0.0.1", relay.port)) as tap:
        ran = await run("node", NODEMAILER, stdin=json.dumps({"port": tap.port, "mails": [mail]}).encode())

    assert ran.status == 0, ran
    [got] = bench.ses.received
    assert ran.output.strip() == f"250 2.0.0 Ok {got.message_id}"
    assert got.recipients == RECIPIENTS
    assert arrived(bench, route) == on_the_wire(tap)


@BY_EACH_ROUTE
@pytest.mark.parametrize(
    "options",
    [["-s", "5", "-m", "50"], ["-s", "5", "-m", "50", "-d"], ["-s", "2", "-m", "10", "-r", "20", "-l", "100000", "-d"]],
    ids=["a session each", "sessions reused", "20 recipients and 100 KB"],
)
async def test_what_smtp_source_composes(bench: Bench, route: Route, options: list[str]) -> None:
    """Parallel sessions: every message once, none mixed with another."""
    relay = await bench.start()
    async with tapped(("127.0.0.1", relay.port)) as tap:
        ran = await run(
            "smtp-source", *options, "-f", route.sender, "-t", RECIPIENTS[0], "-S", "x", f"127.0.0.1:{tap.port}"
        )
        sent = on_the_wire(tap)

    assert ran.status == 0, ran
    assert len(sent) == int(options[3])
    assert len(set(sent)) == len(sent)
    assert Counter(arrived(bench, route)) == Counter(sent)
    each = int(options[5]) if "-r" in options else 1
    assert {len(got.recipients) for got in bench.ses.received} == {each}


async def test_a_refusal_is_understood(bench: Bench, tmp_path: Path) -> None:
    """A sender without a rule: swaks, curl and nodemailer fail and show the relay's reason."""
    relay = await bench.start()
    path = tmp_path / "mail.eml"
    path.write_bytes(mails("app@elsewhere.example")["plain"])
    job = Job(relay.port, "app@elsewhere.example", path.read_bytes(), path, path)
    for client in (swaks, nodemailer, curl, msmtp):
        ran = await client(job)
        assert ran.status != 0
        assert "550" in ran.output + ran.errors
    assert bench.ses.total == 0
