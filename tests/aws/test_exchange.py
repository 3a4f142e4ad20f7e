"""A request body on its way to the network."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter

from relay.aws.exchange import BREATH, Body


class Sink(asyncio.Transport):
    """A network that takes everything at once, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += data

    def is_closing(self) -> bool:
        return self.closed


def writer_to(sink: Sink) -> StreamWriter:
    """What aiohttp hands to a body."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(sink)
    return StreamWriter(protocol, loop)


async def test_others_have_their_turn() -> None:
    """However fast the network is, the event loop turns after every few blocks."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    sink, task = Sink(), asyncio.create_task(other())
    await Body(lambda: [b"x" * 1000] * 10 * BREATH, 10_000 * BREATH).write(writer_to(sink))
    task.cancel()

    assert turns >= 10
    assert len(sink.taken) == 10_000 * BREATH


async def test_sent_means_that_the_last_block_is_out() -> None:
    """A body that the connection's end has cut short was not sent; a whole one was."""
    sink = Sink()
    whole = Body(lambda: [b"one", b"two"], 6)
    await whole.write(writer_to(sink))

    def closing() -> list[bytes]:
        sink.closed = True
        return [b"one", b"two"]

    cut = Body(closing, 6)
    with pytest.raises(aiohttp.ClientConnectionResetError):
        await cut.write(writer_to(sink))

    assert (sink.taken, whole.sent, cut.sent) == (b"onetwo", True, False)


def test_the_body_can_be_shown() -> None:
    """For the logs of aiohttp, should anybody turn them on."""
    assert Body(lambda: [b"one", b"two"], 6).decode() == "onetwo"
