"""A server on loopback that gives every HTTP request the same answer, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def answering(*head: str, status: str = "200 OK", body: str = "", silent: bool = False) -> AsyncIterator[str]:
    """Its URL. `head` are header lines; a `silent` one reads and says nothing."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *head]
    answer = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
    serving: set[asyncio.Task[None]] = set()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        serving.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if silent:
                await over.wait()
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()
        await asyncio.gather(*serving)
        await server.wait_closed()
