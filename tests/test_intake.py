"""What one message costs the others."""

import asyncio
import threading

import listener
import pytest

from relay.policy import headers


@pytest.mark.parametrize(("size", "aside"), [(1000, False), (900_000, False), (2_000_000, True)])
async def test_a_large_message_is_finished_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, *, aside: bool
) -> None:
    """Line endings of tens of megabytes take long, and the other sessions go on; small ones are not worth a thread."""
    finish, threads = headers.finish, []

    def watched(*arguments: object) -> headers.Message:
        threads.append(threading.current_thread())
        return finish(*arguments)  # type: ignore[arg-type] # those that it is called with

    monkeypatch.setattr(headers, "finish", watched)
    async with listener.running(message_bytes=10_000_000) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n")
        writer.write(b"x: y\r\n\r\n" + b"\n" * size + b"\r\n.\r\nQUIT\r\n")
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"250 2.0.0 Ok" in said
    assert [thread is not threading.main_thread() for thread in threads] == [aside]
