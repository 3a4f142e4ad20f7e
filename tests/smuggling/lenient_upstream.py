"""An SMTP server as credulous as the most credulous ones: almost anything ends a message for it.

It takes one dot between any two of CR and LF for the end of data, and runs what follows as commands. A relay that is
behind it must therefore never send such a thing but once, at the end.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_ANY_END = re.compile(rb"[\r\n]\.[\r\n]+")
_OFFERS = b"250-upstream.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 60000000\r\n"


@dataclass
class LenientUpstream:
    """What came: the command lines, and the bytes of each message, dots still stuffed, with the end it was given."""

    port: int = 0
    commands: list[bytes] = field(default_factory=list)
    wires: list[bytes] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if task := asyncio.current_task():
            self._tasks.add(task)
        writer.write(b"220 upstream.test ESMTP\r\n")
        held = b""
        with contextlib.suppress(ConnectionError):
            while True:
                line, held = await _until(reader, held, re.compile(rb"\n"))
                if not line:
                    break
                self.commands.append(line.strip())
                verb = line[:4].upper()
                writer.write(
                    _OFFERS if verb == b"EHLO" else b"354 Go\r\n" if verb == b"DATA" else b"250 2.0.0 Ok id\r\n"
                )
                if verb == b"DATA":
                    wire, held = await _until(reader, b"\r\n" + held, _ANY_END)
                    self.wires.append(wire[2:])
                    writer.write(b"250 2.0.0 Ok id\r\n")
        writer.close()

    async def close(self) -> None:
        """Wait for the connections, which the relay has closed by now."""
        async with asyncio.timeout(10):
            await asyncio.gather(*self._tasks)


async def _until(reader: asyncio.StreamReader, held: bytes, end: re.Pattern[bytes]) -> tuple[bytes, bytes]:
    """Bytes up to and with the first match, and what came after it; b"" at the end of the input."""
    scanned = 0
    while not (match := end.search(held, scanned)):
        scanned = max(0, len(held) - 3)
        more = await reader.read(1 << 20)
        if not more:
            return b"", b""
        held += more
    return held[: match.end()], held[match.end() :]


@asynccontextmanager
async def lenient_upstream() -> AsyncIterator[LenientUpstream]:
    """A credulous server on loopback; leave when the relay has closed its connections."""
    upstream = LenientUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.close()
