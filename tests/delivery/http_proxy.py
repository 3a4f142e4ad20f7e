"""An HTTP proxy on loopback that tunnels, and says what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A proxy that tunnels, and what it was asked; with `refusal` it answers that instead, `silent` nothing."""

    refusal: bytes = b""
    silent: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One tunnel."""
        task = asyncio.current_task()
        assert task
        self.tasks.append(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.asked.append(head[0])
        self.authorizations += [line.partition(": ")[2] for line in head if line.startswith("Proxy-Authorization")]
        if self.silent:
            await self.over.wait()
        if self.refusal or self.silent:
            writer.write(self.refusal)
            writer.close()
            return
        host, port = head[0].split()[1].rsplit(":", 1)
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction of a tunnel."""
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


@asynccontextmanager
async def proxy(
    refusal: bytes = b"", *, silent: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """A running proxy; with `tls` it is to be talked to in TLS."""
    running = Proxy(refusal, silent)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    async with server:
        yield running
        running.over.set()
        await asyncio.gather(*running.tasks)
