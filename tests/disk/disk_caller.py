"""Who asks the relay from outside: a client that waits for each reply, and a probe of its readiness."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice

from conservation import Evidence
from letters import Letter
from senders import Session

PATIENCE_S = 30.0
_SOON_S = 3.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Caller(Session):
    """A client that offers one message after the other over one connection, and counts what decided over each."""

    def __init__(self, streams: Streams, notes: Evidence, answers: Counter[str]) -> None:
        super().__init__(*streams)
        self._answers = answers
        self._notes = notes

    async def offer(self, letter: Letter) -> str:
        """Offer a message; the reply that decides over it, and to what it was given."""
        reply = await self._offer(letter)
        if not reply.startswith("content: 250"):
            await self.say("RSET")
        self._answers[" ".join(reply.split()[:3])] += 1
        return reply

    async def _offer(self, letter: Letter) -> str:
        commands = [f"MAIL FROM:<{letter.sender}>", *(f"RCPT TO:<{one}>" for one in letter.recipients), "DATA"]
        for command in commands:
            (reply,) = await self.say(command)
            if reply[:1] not in "23":
                return f"{command[:4]}: {reply}"
        self._notes.offered.update(letter.recipients)
        self._writer.write(letter.content + b".\r\n")
        reply = await self.reply()
        self._notes.acknowledged.update(letter.recipients if reply.startswith("250") else ())
        self._notes.refused.update(letter.recipients if reply.startswith("5") else ())
        self._notes.put_off.update(letter.recipients if reply.startswith("4") else ())
        return f"content: {reply}"


class Offers:
    """Messages offered by one client, and by another when the first waits for longer than `_SOON_S` for a reply."""

    def __init__(self, clients: AsyncExitStack, port: int, notes: Evidence, answers: Counter[str]) -> None:
        self._clients = clients
        self._port = port
        self._notes = notes
        self._answers = answers
        self._client: Caller | None = None
        self._waiting: set[asyncio.Task[str]] = set()

    async def make(self, letters: Iterator[Letter], number: int) -> None:
        """Offer so many."""
        for letter in islice(letters, number):
            if self._client is None:
                self._client = await self._clients.enter_async_context(caller(self._port, self._notes, self._answers))
            _, waiting = await asyncio.wait({asyncio.create_task(self._client.offer(letter))}, timeout=_SOON_S)
            if waiting:
                self._waiting |= waiting
                self._client = None

    async def settled(self) -> None:
        """Return when every client has had its reply, or has lost its connection."""
        await asyncio.gather(*self._waiting, return_exceptions=True)


class Probe:
    """Who looks at /readyz, as an orchestrator does."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ready(self) -> bool:
        """Whether it says 200."""
        async with asyncio.timeout(PATIENCE_S), _connected(self._port) as (reader, writer):
            writer.write(b"GET /readyz HTTP/1.0\r\nHost: relay\r\n\r\n")
            return (await reader.readline()).split()[1] == b"200"

    async def unready(self) -> bool:
        """Whether it says anything else."""
        return not await self.ready()


@asynccontextmanager
async def caller(port: int, notes: Evidence, answers: Counter[str]) -> AsyncIterator[Caller]:
    """A client that has been greeted."""
    async with _connected(port) as streams:
        client = Caller(streams, notes, answers)
        await client.reply()
        await client.say("EHLO client.test")
        yield client


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
