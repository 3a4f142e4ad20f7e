"""Clients of other makers at every door: in clear on loopback, STARTTLS, implicit TLS, with either mechanism."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from foreign_tools import Ran, run
from front_door import KINDS, PASSWORD, USER, WRONG, FrontDoor, front_door, swaks_data
from mails import BY_API, RECIPIENTS, below_the_block, mails
from relay_process import Bench
from wiretap import tapped

pytestmark = pytest.mark.interop

NODEMAILER = Path(__file__).with_name("nodemailer_client.js")
MECHANISMS = ("PLAIN", "LOGIN")
ENCODED = b64encode(PASSWORD.encode())  # as LOGIN says it, and PLAIN too behind a user of seven letters
GIVEN = {name: mail for name, mail in mails(BY_API.sender).items() if name in ("eight bit", "dots")}


@dataclass(frozen=True, slots=True)
class Job:
    """A message to send by one door, with a login."""

    port: int
    kind: str
    mechanism: str
    authority: Path
    folder: Path
    password: str = PASSWORD
    content: bytes = b""

    @property
    def wire(self) -> Path:
        """A file of the message with CRLF lines."""
        path = self.folder / "wire.eml"
        path.write_bytes(self.content)
        return path


async def swaks(job: Job) -> Ran:
    tls: dict[str, tuple[str | Path, ...]] = {
        "none": (),
        "starttls": ("--tls", "--tls-verify", "--tls-ca-path", job.authority),
        "implicit": ("--tls-on-connect", "--tls-verify", "--tls-ca-path", job.authority),
    }
    return await run(
        "swaks", "--server", f"127.0.0.1:{job.port}", *tls[job.kind], "--auth", job.mechanism, "--auth-user", USER,
        "--auth-password", job.password, "--from", BY_API.sender, "--to", ",".join(RECIPIENTS), "--data",
        swaks_data(job.folder, job.content),
    )  # fmt: skip


async def msmtp(job: Job) -> Ran:
    tls: dict[str, tuple[str, ...]] = {
        "none": ("--tls=off",),
        "starttls": ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={job.authority}"),
        "implicit": ("--tls=on", "--tls-starttls=off", f"--tls-trust-file={job.authority}"),
    }
    return await run(
        "msmtp", "--debug", "--host=localhost", f"--port={job.port}", *tls[job.kind], f"--auth={job.mechanism.lower()}",
        f"--user={USER}", f"--passwordeval=echo '{job.password}'", f"--from={BY_API.sender}", "--", *RECIPIENTS,
        stdin=job.content.replace(b"\r\n", b"\n"),
    )  # fmt: skip


async def nodemailer(job: Job) -> Ran:
    tls: dict[str, dict[str, bool]] = {
        "none": {"ignoreTLS": True},
        "starttls": {"requireTLS": True},
        "implicit": {"secure": True},
    }
    transport: dict[str, Any] = {
        "host": "localhost", **tls[job.kind], "authMethod": job.mechanism, "tls": {"ca": job.authority.read_text()},
        "auth": {"user": USER, "pass": job.password}, "logger": True, "debug": True,
    }  # fmt: skip
    return await nodemailer_sends(job.port, transport, job.content)


async def nodemailer_sends(port: int, transport: dict[str, Any], *contents: bytes) -> Ran:
    envelope = {"from": BY_API.sender, "to": RECIPIENTS}
    mails = [{"envelope": envelope, "raw": b64encode(content).decode()} for content in contents]
    work = {"port": port, "mails": mails, "transport": transport}
    return await run("node", NODEMAILER, stdin=json.dumps(work).encode())


async def curl(job: Job) -> Ran:
    scheme = "smtps" if job.kind == "implicit" else "smtp"
    tls = () if job.kind == "none" else ("--ssl-reqd", "--cacert", job.authority)
    recipients = [word for recipient in RECIPIENTS for word in ("--mail-rcpt", recipient)]
    return await run(
        "curl", "--silent", "--verbose", f"{scheme}://localhost:{job.port}/client.example", *tls, "--user",
        f"{USER}:{job.password}", "--login-options", f"AUTH={job.mechanism}", "--mail-from", BY_API.sender, *recipients,
        "--upload-file", job.wire,
    )  # fmt: skip


Client = Callable[[Job], Awaitable[Ran]]
CLIENTS: tuple[Client, ...] = (swaks, msmtp, nodemailer, curl)
BY_EACH = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)


def said_mechanism(ran: Ran) -> list[str]:
    """What the client has logged in by, as its own record of the dialogue says."""
    return re.findall(r"(?:>|C:) +AUTH (\w+)", ran.output + ran.errors)


def jobs(door: FrontDoor, folder: Path, **changes: Any) -> list[Job]:
    """A job for each door and each mechanism."""
    return [
        Job(door.ports[kind], kind, mechanism, door.authority, folder, **changes)
        for kind in KINDS
        for mechanism in MECHANISMS
    ]


@BY_EACH
async def test_who_logs_in_may_send_by_every_door(bench: Bench, tmp_path: Path, client: Client) -> None:
    """Each with its own mail, so that what arrives shows which way it came; byte for byte."""
    door = await front_door(bench, tmp_path)
    sent = []
    for number, job in enumerate(jobs(door, tmp_path)):
        for name, content in GIVEN.items():
            marked = content.replace(b"\r\n\r\n", b"\r\nX-Way: %d %s\r\n\r\n" % (number, name.encode()), 1)
            sent.append(marked)
            ran = await client(replace(job, content=marked))
            assert ran.status == 0, (job, ran)
            assert said_mechanism(ran) == [job.mechanism], ran

    assert [below_the_block(got.raw, BY_API) for got in bench.ses.received] == sent
    assert {got.recipients for got in bench.ses.received} == {RECIPIENTS}
    await door.relay.event("message", len(sent))
    lines = [event for event in door.relay.log if event["event"] == "message"]
    assert [(line["user"], line["client"], line["outcome"]) for line in lines] == [(USER, USER, "delivered")] * len(
        sent
    )
    assert PASSWORD not in door.relay.raw


@BY_EACH
async def test_a_wrong_password_is_understood_as_that(bench: Bench, tmp_path: Path, client: Client) -> None:
    """The client says so, nothing is sent, and the log names the user and not the password."""
    door = await front_door(bench, tmp_path)
    attempts = jobs(door, tmp_path, password=WRONG, content=GIVEN["dots"])
    for number, job in enumerate((attempts[0], attempts[3], attempts[4]), 1):  # each one is answered later
        ran = await client(job)
        assert ran.status != 0, (job, ran)
        assert "535 5.7.8 User name or password is wrong" in ran.output + ran.errors, (job, ran)
        assert (await door.relay.event("login_failed", number))["user"] == USER

    assert bench.ses.total == 0
    assert WRONG not in door.relay.raw
    assert b64encode(f"\0{USER}\0{WRONG}".encode()).decode() not in door.relay.raw


@BY_EACH
async def test_no_password_is_said_where_tls_is_required(bench: Bench, tmp_path: Path, client: Client) -> None:
    """A client that would log in without TLS, at a door that requires it, does not get as far as its password."""
    door = await front_door(bench, tmp_path)
    async with tapped(("127.0.0.1", door.ports["starttls"])) as tap:
        ran = await client(Job(tap.port, "none", "PLAIN", door.authority, tmp_path, content=GIVEN["dots"]))

    assert ran.status != 0, ran
    assert tap.said.startswith(b"EHLO ")
    assert b"AUTH" not in tap.said
    assert bench.ses.total == 0
    assert not [event for event in door.relay.log if event["event"] in ("login_failed", "message")]


@BY_EACH
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_login_without_tls_is_refused_even_where_it_seemed_to_be_offered(
    bench: Bench, tmp_path: Path, client: Client, mechanism: str
) -> None:
    """A man in the middle who wants passwords tells clients that they may: 538, before LOGIN's password is said."""
    door = await front_door(bench, tmp_path, door={"require_tls": False})
    async with tapped(("127.0.0.1", door.ports["starttls"]), forge=offering_logins) as tap:
        ran = await client(Job(tap.port, "none", mechanism, door.authority, tmp_path, content=GIVEN["dots"]))

    assert ran.status != 0, ran
    assert "538 5.7.11 A password is taken over TLS only" in ran.output + ran.errors, ran
    assert said_mechanism(ran) == [mechanism], ran
    if mechanism == "LOGIN":  # PLAIN has it in the very line
        assert ENCODED not in tap.said
    assert ENCODED.decode() not in door.relay.raw
    assert (await door.relay.event("command_refused"))["command"] == "AUTH"
    assert bench.ses.total == 0
    assert not [event for event in door.relay.log if event["event"] == "login_failed"]


def offering_logins(said: bytes) -> bytes:
    """What a listener says, with logins in the last line of its answer to EHLO."""
    return said.replace(b"250 ENHANCEDSTATUSCODES\r\n", b"250 AUTH PLAIN LOGIN\r\n")


@pytest.mark.parametrize("secure", [False, True], ids=["starttls", "implicit"])
async def test_nodemailer_keeps_a_pool_of_sessions(bench: Bench, tmp_path: Path, secure: bool) -> None:
    """At most two sessions carry twenty messages that are sent at once: each arrives whole, once, answered."""
    door = await front_door(bench, tmp_path)
    transport = {
        "host": "localhost", "pool": True, "maxConnections": 2, "secure": secure, "requireTLS": not secure,
        "auth": {"user": USER, "pass": PASSWORD}, "tls": {"ca": door.authority.read_text()},
    }  # fmt: skip
    sent = [GIVEN["eight bit"].replace(b"eight bit", b"pooled %d" % number, 1) for number in range(20)]
    ran = await nodemailer_sends(door.ports["implicit" if secure else "starttls"], transport, *sent)

    assert ran.status == 0, ran
    arrived = {f"250 2.0.0 Ok {got.message_id}": below_the_block(got.raw, BY_API) for got in bench.ses.received}
    assert [arrived[answer] for answer in ran.output.splitlines()] == sent
    assert bench.ses.total == len(sent)
    await door.relay.event("message", len(sent))
    lines = [event for event in door.relay.log if event["event"] == "message"]
    assert len({line["session"] for line in lines}) <= 2
    assert {(line["user"], line["client"]) for line in lines} == {(USER, USER)}


async def test_nobody_s_client_is_told_what_to_do(bench: Bench, tmp_path: Path) -> None:
    """Without a login swaks hears 530 at each door: to log in, or to send STARTTLS first."""
    door = await front_door(bench, tmp_path)
    log_in, start_tls = "530 5.7.0 Authentication required", "530 5.7.0 Send STARTTLS first"
    for kind, options, says in (
        ("none", (), log_in),
        ("starttls", (), start_tls),
        ("starttls", ("--tls",), log_in),
        ("implicit", ("--tls-on-connect",), log_in),
    ):
        ran = await run(
            "swaks", "--server", f"127.0.0.1:{door.ports[kind]}", *options, "--from", BY_API.sender, "--to",
            RECIPIENTS[0],
        )  # fmt: skip
        assert ran.status != 0
        assert says in ran.output, ran
    assert bench.ses.total == 0
