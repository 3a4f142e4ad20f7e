"""A relay that is measured from outside, by what Linux says about its process, and clients that speak bytes to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from relay_process import RunningRelay

MIB = 1 << 20
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value and what it may be: at most `bound`, or at least, where more is better."""

    campaign: str
    what: str
    value: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Measured:
    """A running relay, and what it took when it was ready."""

    def __init__(self, relay: RunningRelay) -> None:
        self.port = relay.port
        self._proc = Path(f"/proc/{relay.process.pid}")
        self.at_rest = self._memory("VmRSS")
        self.descriptors_at_rest = self.descriptors

    def _memory(self, field: str) -> float:
        """MiB; see proc_pid_status(5)."""
        for line in (self._proc / "status").read_text("ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)

    @property
    def grown(self) -> float:
        """MiB that the process has now and had not at rest."""
        return self._memory("VmRSS") - self.at_rest

    @property
    def peak(self) -> float:
        """MiB that the process ever had over those at rest."""
        return self._memory("VmHWM") - self.at_rest

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list((self._proc / "fd").iterdir()))

    async def descriptors_settle(self) -> int:
        """Descriptors more than at rest, once the relay has seen its clients go."""
        for _ in range(100):
            if self.descriptors <= self.descriptors_at_rest:
                break
            await asyncio.sleep(0.05)
        return max(0, self.descriptors - self.descriptors_at_rest)


class Client:
    """One session, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        """Send as fast as the relay takes it; a relay that has closed is noticed by who listens."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()

    async def reply(self) -> str:
        """The last line of the next reply; "" when the relay has closed."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    line = (await self._reader.readline()).decode("ascii").rstrip("\r\n")
                except ConnectionError:
                    return ""
                if line[3:4] != "-":
                    return line

    async def say(self, *lines: str) -> list[str]:
        """Send command lines in one packet; their replies."""
        await self.send("".join(f"{line}\r\n" for line in lines).encode("ascii"))
        return [await self.reply() for _ in lines]

    async def begin(self) -> None:
        """Come as far as the go-ahead for a message."""
        said = await self.say("MAIL FROM:<app@example.com>", "RCPT TO:<ann@customer.example>", "DATA")
        if said[-1][:3] != "354":
            raise RuntimeError(f"the relay does not take a message: {said}")


@asynccontextmanager
async def session(port: int) -> AsyncIterator[Client]:
    """A client that has been greeted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        greeting = await client.reply()
        if greeting[:3] != "220":
            raise RuntimeError(f"the relay does not let us in: {greeting!r}")
        await client.say("EHLO client.test")
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
