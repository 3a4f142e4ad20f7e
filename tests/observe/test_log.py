"""One line per message, and what is counted with it."""

import asyncio

import listener
import pytest

from relay.model import Outcome

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
