"""Moments that a real network shows too seldom: the client over a transport that does as it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from smtp_parts import CONTENT, client_context, parcel

from relay.delivery.dot_stuffing import CHUNK
from relay.delivery.smtp_client import Connection
from relay.delivery.smtp_dialogue import Dialogue, Refused
from relay.delivery.smtp_login import Terms
from relay.delivery.smtp_reply import Offers
from relay.delivery.smtp_wire import Broken, Silence, Wire
from relay.policy.outcomes import Stage, Trouble

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

LARGE = CONTENT + (b"x" * 76 + b"\r\n") * (3 * CHUNK // 78 + 2)  # a little more than three chunks


class Pipe(asyncio.Transport):
    """A transport without a network; `answer` is called with each write, after it."""

    def __init__(self, answer: Callable[[bytes], None], sizes: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.answer, self.sizes = answer, list(sizes)
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        self.answer(bytes(data))

    def get_write_buffer_size(self) -> int:
        """One size after the other, then always the last."""
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]

    def abort(self) -> None:
        self.aborted = True


class Scene:
    """A session at rest on a pipe, and what the server does when it hears the envelope, and then the content."""

    def __init__(self, on_content: Callable[[Wire, int], None]) -> None:
        self.wire = Wire(timeout_s=5.0)
        self.pipe = Pipe(self._answer)
        self.wire.connection_made(self.pipe)
        self.connection = Connection(Dialogue(self.wire, 5.0), Offers(), Terms("relay.test", _no_tls, 5.0))
        self._on_content = on_content
        self.content: list[bytes] = []

    def _answer(self, data: bytes) -> None:
        verb = data[:4]
        if verb in {b"MAIL", b"RCPT", b"RSET"}:
            self.wire.data_received(b"250 Ok\r\n")
        elif verb == b"DATA":
            self.wire.data_received(b"354 Go\r\n")
            self._on_content(self.wire, 0)
        else:
            self.content.append(data)
            self._on_content(self.wire, len(self.content))

    async def deliver(self, content: bytes) -> None:
        try:
            await self.connection.deliver(parcel(content))
        finally:
            self.wire.connection_lost(None)


async def _no_tls() -> ssl.SSLContext:
    return client_context()


async def test_a_drop_right_behind_354_is_no_lost_answer() -> None:
    """The connection was gone before a byte of content was written: SES cannot have the message."""
    scene = Scene(lambda wire, _: wire.connection_lost(None))

    with pytest.raises(Broken) as broken:
        await scene.deliver(CONTENT)

    assert broken.value.trouble is Trouble.STALE
    assert scene.content == []


async def test_a_drop_while_the_end_of_data_drains_is_a_lost_answer() -> None:
    """The last chunk was handed over and stuck in buffers: how much of it arrived, nobody knows."""

    def drop(wire: Wire, chunks: int) -> None:
        if chunks == 1:
            wire.pause_writing()
            asyncio.get_running_loop().call_soon(wire.connection_lost, None)

    scene = Scene(drop)
    with pytest.raises(Broken) as broken:
        await scene.deliver(CONTENT)

    assert broken.value.trouble is Trouble.LOST_ANSWER


@pytest.mark.parametrize("chunks", [1, 2, 3])
async def test_a_drop_between_chunks_is_a_safe_deferral(chunks: int) -> None:
    """Any chunk but the last may be lost without SES having the message."""
    scene = Scene(lambda wire, written: wire.connection_lost(None) if written == chunks else None)

    with pytest.raises(Broken) as broken:
        await scene.deliver(LARGE)

    assert broken.value.trouble is Trouble.STALE
    assert len(scene.content) == chunks
    assert not scene.content[-1].endswith(b"\r\n.\r\n")


@pytest.mark.parametrize("stuck", [False, True])
async def test_a_refusal_between_chunks_stops_the_content(stuck: bool) -> None:
    """Nothing more is written after the server's no, not even RSET, and the session is not used again."""

    def refuse(wire: Wire, chunks: int) -> None:
        if chunks == 1:
            if stuck:
                wire.pause_writing()
            wire.data_received(b"552 Message is too long.\r\n")

    scene = Scene(refuse)
    with pytest.raises(Refused) as refused:
        await scene.deliver(LARGE)

    assert refused.value.reply.code == 552
    assert len(scene.content) == 1
    assert scene.pipe.written[-1] == scene.content[0]
    assert not scene.connection.reusable


async def test_the_last_chunk_alone_ends_the_message() -> None:
    """Content in several chunks has one end."""

    def take(wire: Wire, chunks: int) -> None:
        if scene.content and scene.content[-1].endswith(b"\r\n.\r\n"):
            wire.data_received(b"250 Ok 01\r\n")

    scene = Scene(take)
    await scene.deliver(LARGE)

    assert b"".join(scene.content) == LARGE + b".\r\n"
    assert len(scene.content) == 4


@pytest.mark.parametrize(("sizes", "waits"), [((9, 9), 1), ((9, 8, 8, 7, 7, 7), 3)])
async def test_slow_progress_is_progress(sizes: tuple[int, ...], waits: int) -> None:
    """`timeout_s` is time without progress: while the buffer shrinks, however slowly, we go on."""
    wire = Wire(timeout_s=0.01)
    wire.connection_made(pipe := Pipe(lambda _: None, sizes))
    wire.pause_writing()

    with pytest.raises(Silence):
        await wire.drained()

    assert len(pipe.sizes) == 1
    assert len(sizes) == 2 * waits
    wire.connection_lost(None)


async def test_bytes_that_are_no_reply_are_no_progress() -> None:
    """A server that lets a reply drip does not get more time for it."""
    wire = Wire(timeout_s=0.05)
    wire.connection_made(Pipe(lambda _: None))
    waiting = asyncio.create_task(wire.reply(0.05))
    wire.data_received(b"220-")
    async with asyncio.timeout(5):
        while not waiting.done():
            wire.data_received(b"")
            await asyncio.sleep(0)

    assert isinstance(waiting.exception(), Silence)
    wire.connection_lost(None)


async def test_a_flood_of_replies_ends_the_connection() -> None:
    """A server that talks without being asked cannot fill our memory."""
    wire = Wire(timeout_s=5.0)
    wire.connection_made(pipe := Pipe(lambda _: None))
    wire.data_received(b"250 Ok\r\n" * 51)
    wire.check()
    wire.data_received(b"250 Ok\r\n" * 100)

    with pytest.raises(Broken, match="more replies than commands"):
        wire.check()
    assert pipe.aborted


@pytest.mark.parametrize(
    ("stage", "error", "trouble"),
    [
        (Stage.DATA, RuntimeError("x"), Trouble.OUR_FAULT),
        (Stage.FINAL, RuntimeError("x"), Trouble.LOST_ANSWER),
        (Stage.DATA, Broken(Trouble.STALE, "x"), Trouble.STALE),
        (Stage.FINAL, Broken(Trouble.STALE, "x"), Trouble.LOST_ANSWER),
    ],
)
async def test_after_the_end_of_data_every_error_is_a_lost_answer(
    stage: Stage, error: Exception, trouble: Trouble
) -> None:
    """Even a mistake of our own: the message may have been taken, and must not be repeated at once."""
    dialogue = Dialogue(Wire(1.0), 1.0)
    dialogue.stage = stage

    assert dialogue.explain(error).trouble is trouble
