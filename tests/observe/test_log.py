"""One line per message, and what is counted with it."""

import asyncio
import io
import json

import listener
import pytest

from relay.model import Client, Outcome
from relay.observe.log import Journal
from relay.observe.log_output import open_log
from relay.observe.metrics import Metrics
from relay.replies import NO_RULE

MAIL = b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n%sx: y\r\n.\r\nQUIT\r\n"


async def say(port: int, lines: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(lines)
    await reader.read()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("outcome", "dry_run", "header", "verdict"),
    [
        (listener.DELIVERED, False, b"", "delivered"),
        (listener.CREDENTIALS, False, b"", "deferred"),
        (listener.REFUSED, False, b"", "failed"),
        (listener.DELIVERED, True, b"", "dry_run"),
        (listener.DELIVERED, False, b"From: ceo@elsewhere.test\r\n", "refused"),
        (RuntimeError("x"), False, b"", "error"),
    ],
)
async def test_every_message_has_one_line_and_one_count(
    outcome: Outcome | Exception, header: bytes, verdict: str, *, dry_run: bool
) -> None:
    """Whatever became of it: the log and the metric say the same word."""
    ses = listener.ScriptedSes()
    ses.outcomes.append(outcome)
    async with listener.running(ses, dry_run=dry_run) as relay:
        await say(relay.port, MAIL % header)
        lines = relay.events("message")
        metrics, _ = relay.metrics.render()
    assert [line["outcome"] for line in lines] == [verdict]
    label = f'identity="example.com",outcome="{verdict}",region="us-west-2",transport="api"'
    assert f"ses_relay_messages_total{{{label}}} 1.0" in metrics.decode()


async def test_a_client_that_is_refused_at_mail_has_no_message() -> None:
    async with listener.running() as relay:
        await say(relay.port, b"EHLO c\r\nMAIL FROM:<x@elsewhere.test>\r\nQUIT\r\n")
        metrics, _ = relay.metrics.render()
    assert relay.events("message") == []
    assert 'ses_relay_rejections_total{reply="550 5.7.1"} 1.0' in metrics.decode()


class Broken(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


async def test_a_log_that_cannot_be_written_keeps_no_mail_from_its_answer() -> None:
    """The client of a message that SES has must hear so, or it sends it again."""
    async with listener.running() as relay:
        relay.intake._journal.change(open_log("json", "debug", Broken()), masked=False)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"FOO\r\n" + MAIL % b"")
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"250 2.0.0 Ok 0100-ses-id" in said
    assert said.splitlines()[-1].startswith(b"221")


def journal(output: io.StringIO, *, masked: bool = True) -> Journal:
    """Which writes JSON."""
    return Journal(open_log("json", "debug", output), Metrics("test"), masked=masked)


async def test_masked_means_everything_that_is_said_of_a_session() -> None:
    """Commands, and names in logins, which are addresses too."""
    output, client = io.StringIO(), Client("s", "192.0.2.1", "x")
    journal(output).refused(client, NO_RULE, "MAIL FROM: secret person @nowhere.example")
    journal(output).login_failed(client, 'secret"person@nowhere.example')
    journal(output).login_unchecked(client, "secret person@nowhere.example", "too many")
    command, *users = map(json.loads, output.getvalue().splitlines())
    assert command["command"] == "MAIL FROM:***"
    assert [line["user"] for line in users] == ["***@nowhere.example"] * 2


async def test_masked_means_everything_that_is_said_of_a_message() -> None:
    """Also the user that sent it and its Message-ID."""
    headers = b"Message-ID: <secret,person@inside.example>\r\n"
    async with listener.running() as relay:
        relay.intake._journal.change(open_log("json", "debug", relay.output), masked=True)
        await say(relay.port, MAIL.replace(b"<a@", b'<"secret \\"person"@') % headers)
        [line] = relay.events("message")
    assert (line["sender"], line["recipients"]) == ("***@example.com", ["***@example.org"])
    assert line["message_id"] == "***@inside.example>"
    assert "secret" not in json.dumps(line)


async def test_a_user_name_of_any_length_makes_no_line_of_any_length() -> None:
    output, client = io.StringIO(), Client("s", "192.0.2.1", "x")
    for masked in (True, False):
        journal(output, masked=masked).login_failed(client, "x" * 9000)
    assert [len(json.loads(line)["user"]) for line in output.getvalue().splitlines()] == [256, 256]


async def test_a_message_id_of_any_length_makes_no_line_of_any_length() -> None:
    async with listener.running() as relay:
        await say(relay.port, MAIL % (b"Message-ID: <" + b"\xff" * 90_000 + b">\r\n"))
        [line] = relay.events("message")
    assert line["outcome"] == "delivered"
    assert len(line["message_id"]) == 998


async def test_a_message_that_is_taken_for_commands_is_not_logged() -> None:
    async with listener.running() as relay:
        await say(
            relay.port, b"EHLO c\r\nmail the PASSWORD hunter2 to bob\r\nrcpt hunter2\r\nehlo hunter2 again\r\nQUIT\r\n"
        )
        assert "hunter2" not in relay.output.getvalue()
