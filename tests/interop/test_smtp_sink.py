"""Postfix's smtp-sink in the place of the SES SMTP endpoint: another maker's judgement of what the relay sends."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import trustme
from mails import BY_SMTP, RECIPIENTS, below_the_block, mails
from relay_process import Bench, RunningRelay, submit
from sink import Sink, smtp_sink, trusted

pytestmark = pytest.mark.interop

SENDER = BY_SMTP.sender
ARROWS = tuple(f"<{recipient}>" for recipient in RECIPIENTS)
ONE_ATTEMPT = {"hold_s": 0.1}  # less than the shortest pause between two
HARD = ("-B", "550 5.7.1 Not with me")

# smtp-sink's flags: what the client hears, and what the log calls it. 500 says that the command was wrong, hence ours.
TEMPORARY: dict[tuple[str, ...], tuple[str, str]] = {
    ("-f", "connect"): ("4.0.0", "unavailable"),
    ("-q", "connect"): ("4.4.2", "network"),
    ("-f", "ehlo"): ("4.0.0", "unavailable"),
    ("-e",): ("4.0.0", "unavailable"),
    ("-a",): ("4.4.2", "not_ses"),
    ("-r", "auth"): ("4.0.0", "unavailable"),
    ("-f", "auth", *HARD): ("4.3.5", "credentials"),
    ("-r", "mail"): ("4.0.0", "unavailable"),
    ("-f", "mail"): ("4.3.0", "our_fault"),
    ("-q", "mail"): ("4.4.2", "network"),
    ("-Q", "mail"): ("4.0.0", "unavailable"),
    ("-r", "rcpt"): ("4.0.0", "unavailable"),
    ("-q", "rcpt"): ("4.4.2", "network"),
    ("-r", "data"): ("4.0.0", "unavailable"),
    ("-q", "data"): ("4.4.2", "network"),
    ("-r", "."): ("4.0.0", "unavailable"),
    ("-q", "."): ("4.4.2", "lost_answer"),
    ("-Q", "."): ("4.0.0", "unavailable"),
}
FOR_GOOD: dict[tuple[str, ...], tuple[int, str, str]] = {
    ("-f", "mail", *HARD): (554, "5.0.0", "other"),
    ("-f", "mail", "-B", "553 5.1.7 No such sender"): (553, "5.1.7", "sender"),
    ("-f", "rcpt", *HARD): (554, "5.0.0", "recipient"),
    ("-f", "data", *HARD): (554, "5.0.0", "other"),
    ("-f", ".", *HARD): (554, "5.0.0", "other"),
    ("-f", ".", "-B", "552 5.3.4 Too big"): (552, "5.3.4", "size"),
    ("-A", "0"): (554, "5.0.0", "other"),  # 550 in the middle of the content
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who vouches for the TLS before smtp-sink."""
    return trustme.CA()


async def start(bench: Bench, sink: Sink, authority: trustme.CA, folder: Path, **changes: Any) -> RunningRelay:
    """A relay that has smtp-sink as its SES SMTP endpoint, by TLS from the first byte on."""
    bench.environment |= trusted(authority, folder)
    ses = {"smtp_endpoint": f"127.0.0.1:{sink.tap.port}", "smtp_tls": "implicit"}
    return await bench.start(ses=ses, **changes)


@pytest.mark.parametrize(
    ("flags", "eight_bit"),
    [((), True), (("-p",), True), (("-8",), False), (("-E", "-N", "-C", "-F"), True)],
    ids=["as it is", "no PIPELINING", "no 8BITMIME", "few extensions"],
)
async def test_every_byte_reaches_smtp_sink(
    bench: Bench, tmp_path: Path, authority: trustme.CA, flags: tuple[str, ...], eight_bit: bool
) -> None:
    """Whatever it offers: content below the block as the client gave it, on the wire and in smtp-sink's files."""
    given = mails(SENDER)
    async with smtp_sink(tmp_path, authority, *flags) as sink:
        relay = await start(bench, sink, authority, tmp_path)
        for content in given.values():
            assert await submit(relay, SENDER, content, *RECIPIENTS) == (250, "2.0.0 Ok")
        dumps, wire = await sink.dumps(), sink.tap.transactions

    assert [below_the_block(transaction.content, BY_SMTP) for transaction in wire] == list(given.values())
    assert sorted(dump.content for dump in dumps) == sorted(transaction.content for transaction in wire)
    assert {dump.recipients for dump in dumps} == {ARROWS}
    body = {below_the_block(dump.content, BY_SMTP): dump.mail for dump in dumps}
    assert body[given["eight bit"]] == f"<{SENDER}>" + " BODY=8BITMIME" * eight_bit
    assert body[given["plain"]] == f"<{SENDER}>"
    assert bench.ses.total == 0


async def test_it_logs_in_with_the_password_of_the_region(bench: Bench, tmp_path: Path, authority: trustme.CA) -> None:
    """smtp-sink believes any password; ours is the one that is derived for the region. One session serves for all."""
    async with smtp_sink(tmp_path, authority) as sink:
        relay = await start(bench, sink, authority, tmp_path)
        for _ in range(3):
            await submit(relay, SENDER, mails(SENDER)["plain"])
        [session] = sink.tap.sessions

    [login] = [line.split()[-1] for line in bytes(session.said).splitlines() if line.startswith(b"AUTH PLAIN ")]
    user, password = bench.ses.smtp_login(BY_SMTP.region)
    assert b64decode(login).decode() == f"\0{user}\0{password}"


@pytest.mark.parametrize(("flags", "answer"), TEMPORARY.items(), ids=map(" ".join, TEMPORARY))
async def test_trouble_is_temporary(
    bench: Bench, tmp_path: Path, authority: trustme.CA, flags: tuple[str, ...], answer: tuple[str, str]
) -> None:
    """Soft rejects, cut connections, and whatever refuses before MAIL: the client is told to try again."""
    async with smtp_sink(tmp_path, authority, *flags) as sink:
        relay = await start(bench, sink, authority, tmp_path, delivery=ONE_ATTEMPT)
        code, text = await submit(relay, SENDER, mails(SENDER)["plain"])
        line = await relay.event("message")

    assert (code, (text[:5], line["cause"])) == (451, answer)


@pytest.mark.parametrize(("flags", "answer"), FOR_GOOD.items(), ids=map(" ".join, FOR_GOOD))
async def test_refusals_are_for_good(
    bench: Bench, tmp_path: Path, authority: trustme.CA, flags: tuple[str, ...], answer: tuple[int, str, str]
) -> None:
    """Hard rejects from MAIL on reach the client, and are not tried again though there is time."""
    async with smtp_sink(tmp_path, authority, *flags) as sink:
        relay = await start(bench, sink, authority, tmp_path)
        code, text = await submit(relay, SENDER, mails(SENDER)["plain"])
        line = await relay.event("message")
        said = sink.tap.said

    assert (code, text[:5], line["cause"]) == answer
    assert said.count(b"MAIL FROM:") == 1


async def test_an_answer_that_was_lost_is_not_asked_for_again(
    bench: Bench, tmp_path: Path, authority: trustme.CA
) -> None:
    """smtp-sink takes the message and hangs up: there is time for another attempt, and there is none."""
    async with smtp_sink(tmp_path, authority, "-q", ".") as sink:
        relay = await start(bench, sink, authority, tmp_path, delivery={"hold_s": 5})
        code, text = await submit(relay, SENDER, mails(SENDER)["plain"])
        [sent] = sink.tap.transactions

    assert (code, text[:5], sent.code) == (451, "4.4.2", 0)
    assert below_the_block(sent.content, BY_SMTP) == mails(SENDER)["plain"]


async def test_a_refused_message_does_not_spoil_the_next(bench: Bench, tmp_path: Path, authority: trustme.CA) -> None:
    """smtp-sink cuts every session at DATA; the relay opens another for each message."""
    async with smtp_sink(tmp_path, authority, "-q", "data") as sink:
        relay = await start(bench, sink, authority, tmp_path, delivery=ONE_ATTEMPT)
        answers = [await submit(relay, SENDER, mails(SENDER)["plain"]) for _ in range(3)]

    assert [code for code, _ in answers] == [451] * 3
    assert len(sink.tap.sessions) == 3
