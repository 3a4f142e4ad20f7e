"""What the log says about a session: enough to find the fault, and never what might be a password."""

import asyncio

import listener
import pytest

SECRET = "AHVzZXIAcGFzc3dvcmQ="


async def _say(port: int, *lines: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for line in (*lines, "QUIT"):
        writer.write(line.encode() + b"\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_refused_commands_are_logged_with_their_session() -> None:
    async with listener.running() as relay:
        await _say(relay.port, "EHLO c", "MAIL FROM:<who@elsewhere.test>")
        [event] = relay.events("command_refused")
    assert event["command"] == "MAIL FROM:<who@elsewhere.test>"
    assert event["reply"] == "550 5.7.1 No identity is configured for this sender"
    assert event["session"]


async def test_a_password_that_comes_uninvited_is_not_logged() -> None:
    """As AUTH's argument, or as a line of its own from a client that did not look at our answer."""
    async with listener.running() as relay:
        await _say(relay.port, "EHLO c", f"AUTH PLAIN {SECRET}", "AUTH LOGIN", SECRET, f"auth plain {SECRET}")
        logged = relay.output.getvalue()
        commands = [event["command"] for event in relay.events("command_refused")]
    assert SECRET not in logged
    assert commands == ["AUTH", "AUTH", "unknown, 20 bytes", "AUTH"]


@pytest.mark.parametrize(("behind", "gone"), [(b"", True), (b"QUIT\r\n", None)], ids=["nothing more", "QUIT"])
async def test_who_half_closes_is_gone_unless_there_is_more_to_answer(behind: bytes, gone: bool | None) -> None:
    """Exim says QUIT behind its message, half-closes, and waits for the answers."""
    ses = listener.ScriptedSes(gate=asyncio.Event())
    async with listener.running(ses) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx\r\n.\r\n" + behind)
        writer.write_eof()
        await ses.has_got(1)
        assert ses.gate is not None
        ses.gate.set()
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        [event] = relay.events("message")
    assert b"250 2.0.0 Ok 0100-ses-id\r\n" in heard
    assert event.get("client_gone") is gone
