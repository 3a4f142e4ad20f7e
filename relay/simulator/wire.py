"""One SMTP connection as lines and messages: bytes, TLS and the idle clock, no commands.

Owns the socket's buffer. Guarantees that only CRLF.CRLF ends a message (RFC 5321 section 4.1.1.4), that nothing
sent before STARTTLS is read after it (RFC 3207 section 6), and that a connection holds a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import cast

_MAX_LINE = 64 * 1024
_PAUSE_AT = 1024 * 1024
_END = b"\r\n.\r\n"


Serve = Callable[["Wire"], Coroutine[None, None, None]]


class Idle(Exception):
    """The client has sent nothing for too long."""


class Gone(Exception):
    """The client has closed the connection, or should be treated as if it had."""


class Connections:
    """The connections that are open, so that they can be ended together."""

    def __init__(self) -> None:
        self.tasks: dict[Wire, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Drop every connection, and return when all are gone."""
        tasks = list(self.tasks.values())
        for wire in self.tasks:
            wire.abort()
        await asyncio.gather(*tasks)


class Wire(asyncio.Protocol):
    """A connection; `serve` is run on it as a task of its own."""

    def __init__(self, serve: Serve, connections: Connections, idle_s: float) -> None:
        self._serve = serve
        self._tasks = connections.tasks
        self._idle_s = idle_s
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._eof = False
        self._reading = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving."""
        self._transport = cast("asyncio.Transport", transport)
        self._tasks[self] = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Serve until the connection is not only closed but gone."""
        try:
            await self._serve(self)
        finally:
            self._transport.close()
            await self._lost.wait()
            del self._tasks[self]

    def data_received(self, data: bytes) -> None:
        """Take what came; a client that talks while it should listen is made to wait."""
        self._buffer += data
        if not self._reading and len(self._buffer) > _PAUSE_AT:
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> None:
        """The client will say no more."""
        self._eof = True
        self._arrived.set()

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is gone."""
        self._lost.set()
        self.eof_received()

    async def line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_LINE:
                raise Gone
            await self._more()
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    async def message(self, limit: int) -> bytes | None:
        """The content up to CRLF.CRLF, dots unstuffed; None when it is longer than `limit` bytes."""
        self._buffer[:0] = b"\r\n"  # the end of the DATA line: an empty message begins with its final dot
        too_long = False
        scanned = 0
        while (end := self._buffer.find(_END, scanned)) < 0:
            if len(self._buffer) > 2 * limit:  # stuffing adds at most a third
                too_long = True
                del self._buffer[: -len(_END)]
            scanned = max(0, len(self._buffer) - len(_END))
            await self._more()
        with memoryview(self._buffer) as view:
            content = bytes(view[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        del self._buffer[: end + len(_END)]
        return None if too_long or len(content) > limit else content

    async def _more(self) -> None:
        """Wait until something new has come."""
        if self._eof:
            raise Gone
        self._arrived.clear()
        self._reading = True
        self._transport.resume_reading()
        try:
            async with asyncio.timeout(self._idle_s):
                await self._arrived.wait()
        except TimeoutError:
            raise Idle from None
        finally:
            self._reading = False

    def send(self, *lines: str) -> None:
        """Send a reply: all lines but the last one are continued."""
        *continued, last = lines
        text = [f"{line[:3]}-{line[4:]}\r\n" for line in continued]
        self._transport.write("".join((*text, f"{last}\r\n")).encode("ascii", "replace"))

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Turn the connection over to TLS; whatever came before is dropped."""
        self._buffer.clear()
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=self._idle_s
            )
        except (OSError, TimeoutError):
            transport = None
        if transport is None:
            self._transport.abort()
            self._lost.set()  # a connection that is reset in the handshake is not reported as lost
            raise Gone
        self._transport = transport

    @property
    def peer(self) -> str:
        """The address that the client comes from."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()
