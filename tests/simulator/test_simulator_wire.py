"""How bytes become lines and messages, at any chunking, with a transport that only counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.wire import Connections, Gone, Idle, Wire


class Pipe(asyncio.Transport):
    """A transport that goes nowhere, and says whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        """Nothing to close."""


async def read(use: Callable[[Wire], Coroutine[Any, Any, Any]], feed: Callable[[Wire], Coroutine[Any, Any, None]],
               idle_s: float = 10) -> Any:  # fmt: skip
    """What `use` makes of the bytes that `feed` sends."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def serve(wire: Wire) -> None:
        try:
            done.set_result(await use(wire))
        except (Gone, Idle) as error:
            done.set_exception(error)

    connections = Connections()
    wire = Wire(serve, connections, idle_s)
    wire.connection_made(Pipe())
    await feed(wire)
    try:
        return await done
    finally:
        wire.connection_lost(None)
        await asyncio.gather(*connections.tasks.values())


def chunks(*parts: bytes) -> Callable[[Wire], Coroutine[Any, Any, None]]:
    """Feed the parts one by one, with a turn of the loop after each."""

    async def feed(wire: Wire) -> None:
        for part in parts:
            wire.data_received(part)
            await asyncio.sleep(0)

    return feed


def unstuffed(content: bytes) -> bytes:
    """RFC 5321 section 4.5.2, line by line."""
    return b"\r\n".join(line.removeprefix(b".") for line in content.split(b"\r\n"))


@given(
    content=st.lists(st.sampled_from([b".", b"\r\n", b"\n", b"\r", b"x"])).map(b"".join),
    cuts=st.lists(st.integers(0, 40)),
)
def test_a_message_ends_at_its_final_dot_only(content: bytes, cuts: list[int]) -> None:
    """Whatever the content and the chunks: the message is what stands before the first CRLF.CRLF."""
    sent = content + b"\r\n.\r\n"
    edges = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    parts = [sent[start:end] for start, end in itertools.pairwise(edges)]
    whole = b"\r\n" + sent
    expected = unstuffed(whole[: whole.index(b"\r\n.\r\n") + 2])[2:]

    assert asyncio.run(read(lambda wire: wire.message(1000), chunks(*parts))) == expected


async def test_the_limit_counts_the_message_itself() -> None:
    """Neither the stuffed dots nor the final one."""
    sent = b"..\r\n" * 10 + b".\r\n"

    assert await read(lambda wire: wire.message(30), chunks(sent)) == b".\r\n" * 10
    assert await read(lambda wire: wire.message(29), chunks(sent)) is None


async def test_content_beyond_the_limit_is_forgotten_as_it_comes() -> None:
    """Memory is bounded by the limit, and what follows the message is still understood."""
    held: list[int] = []

    async def feed(wire: Wire) -> None:
        for _ in range(100):
            await chunks(b"x" * 1000)(wire)
            held.append(len(wire._buffer))
        await chunks(b"\r\n.\r\nNOOP\r\n")(wire)

    async def use(wire: Wire) -> tuple[bytes | None, bytes]:
        return await wire.message(5000), await wire.line()

    assert await read(use, feed) == (None, b"NOOP")
    assert max(held) <= 11_005


async def test_a_client_that_talks_out_of_turn_is_paused() -> None:
    """Nobody reads, so the transport must stop, and go on when somebody does."""
    pauses: list[bool] = []
    go = asyncio.Event()

    async def feed(wire: Wire) -> None:
        await chunks(b"x" * 1024 * 1024 + b"\r\n")(wire)
        pauses.append(wire._transport.paused)  # type: ignore[attr-defined]  # the test's own transport
        go.set()
        await chunks(b".\r\n")(wire)
        pauses.append(wire._transport.paused)  # type: ignore[attr-defined]  # the test's own transport

    async def use(wire: Wire) -> bytes | None:
        await go.wait()
        return await wire.message(2 * 1024 * 1024)

    assert len(await read(use, feed)) == 1024 * 1024 + 2
    assert pauses[0] is True


async def test_an_endless_line_ends_the_session() -> None:
    """Instead of filling the memory."""
    with pytest.raises(Gone):
        await read(lambda wire: wire.line(), chunks(*[b"x" * 10_000] * 7))


@pytest.mark.parametrize("sent", [b"", b"NOO", b"From: a@example.com\r\n\r\n"])
async def test_silence_is_noticed_wherever_it_falls(sent: bytes) -> None:
    """Before a line, inside one, and inside a message."""

    async def use(wire: Wire) -> bytes | None:
        return await (wire.message(1000) if b":" in sent else wire.line())

    with pytest.raises(Idle):
        await read(use, chunks(sent), idle_s=0.01)
