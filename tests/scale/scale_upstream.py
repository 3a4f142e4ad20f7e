"""An SES that costs next to nothing, in a process of its own: says yes to every call, and counts them.

For measuring the relay and not the local SES, which checks signatures and policies. `down` makes it close every
connection without an answer, which is an outage.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvloop

ID = b"0100017a2b3c4d5e-01234567-89ab-cdef-0123-456789abcdef-000000"
BODY = (
    b'<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><SendRawEmailResult><MessageId>'
    + ID
    + b"</MessageId></SendRawEmailResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef"
    b"</RequestId></ResponseMetadata></SendRawEmailResponse>"
)
YES = (
    b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 01234567-89ab-cdef-0123-456789abcdef\r\nContent-Type: text/xml\r\n"
    b"Content-Length: %d\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\n\r\n%s" % (len(BODY), BODY)
)


class _Yes(asyncio.Protocol):
    """Answers each complete request; only those that carry a message are counted."""

    def __init__(self, taken: Any, down: Any) -> None:
        self._taken, self._down = taken, down
        self._head, self._left, self._mail = b"", 0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        if self._down.value:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            lengths = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._left, self._head = int(next(lengths, b":0").partition(b":")[2]), b""
            self._mail = self._left > 1000  # questions about the account are short
        self._left -= len(data)
        if not self._left:
            self._answer()

    def _answer(self) -> None:
        if self._down.value:
            self._transport.abort()
            return
        self._taken.value += self._mail
        self._transport.write(YES)


class Upstream:
    """What another process does, by memory that both see."""

    def __init__(self, port: int, taken: Any, down: Any) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._taken, self._down = taken, down

    @property
    def taken(self) -> int:
        """Messages that it has said yes to."""
        return int(self._taken.value)

    def down(self, is_down: bool) -> None:
        """Begin or end an outage."""
        self._down.value = is_down


def _serve(listening: socket.socket, taken: Any, down: Any) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Yes(taken, down), sock=listening)
        await server.serve_forever()

    uvloop.run(forever())


@contextmanager
def upstream() -> Iterator[Upstream]:
    """One that runs."""
    context = multiprocessing.get_context("fork")
    taken, down = context.Value("q", 0, lock=False), context.Value("b", 0, lock=False)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        server = context.Process(target=_serve, args=(listening, taken, down), daemon=True)
        server.start()
        try:
            yield Upstream(listening.getsockname()[1], taken, down)
        finally:
            server.terminate()
            server.join()
