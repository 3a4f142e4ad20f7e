"""Clients that are gone before anybody has looked at them."""

import asyncio
import socket
import struct
from collections.abc import Callable

import listener
import pytest
import uvloop

from relay import replies

ELSEWHERE = listener.client_rule("here", network="192.0.2.0/24", unix=True)
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection
MAIL = b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx: y\r\n.\r\n"


def send_and_reset(port: int) -> None:
    """Say everything at once, without listening, and reset the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(MAIL)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


def say_nothing_wrong(port: int) -> None:
    """Come later, and wait for the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(b"QUIT\r\n")
        while wire.recv(1000):
            pass


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_who_resets_the_connection_is_not_taken_for_a_unix_socket(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The system keeps what such a client has sent, and forgets its address: it is nobody, not `unix`."""

    async def scene() -> listener.Listener:
        async with listener.running(clients=[ELSEWHERE]) as relay:
            send_and_reset(relay.port)  # in the loop's own thread: it accepts only when this is over
            await asyncio.to_thread(say_nothing_wrong, relay.port)  # by now the first one has had its answers
            return relay

    with asyncio.Runner(loop_factory=loop) as runner:
        relay = runner.run(scene())
    assert relay.ses.parcels == []
    for refused in relay.events("command_refused")[:1]:  # none where the greeting already meets the reset
        assert refused["reply"] == str(replies.NOT_A_CLIENT)
        assert refused["peer"] in ("127.0.0.1", "unknown")
