"""Sockets, the registry of live connections and its limits, and the drain.

Owns the listening sockets (backlog 2048: with asyncio's 100, two hundred parallel new connections fall to a
tenth of the rate), the list of connections and of messages in hand, and the room they may take. Runs on the
event loop itself. Guarantees that a message in hand outlives its connection, and that `drain` ends in time.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass

from relay import replies
from relay.intake import Intake
from relay.model import Reply
from relay.observe.log import Journal
from relay.smtp.clocks import SessionLimits
from relay.smtp.collector import Collector
from relay.smtp.handler import Dialogue
from relay.smtp.host import Connection
from relay.smtp.protocol import SmtpProtocol

BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Counts and bytes; see `limits` in config/relay.yaml."""

    connections: int
    connections_per_client: int
    errors: int
    in_flight_bytes: int
    session: SessionLimits


class Room:
    """Bytes of message content that the relay holds at this moment, against `in_flight_bytes`."""

    __slots__ = ("_held", "limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._held: dict[int, int] = {}

    def hold(self, collector: Collector) -> bool:
        """Account for what `collector` holds now; False when that is more than there is room for."""
        key, size = id(collector), len(collector.content)
        self.taken += size - self._held.get(key, 0)
        self._held[key] = size
        return self.taken <= self.limit

    def release(self, collector: Collector) -> None:
        """The collector's content is gone."""
        self.taken -= self._held.pop(id(collector), 0)


class Server:
    """All listeners of one relay."""

    def __init__(self, intake: Intake, limits: ServerLimits, journal: Journal, hostname: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.hostname = hostname
        self.journal = journal
        self._room = Room(limits.in_flight_bytes)
        self.max_errors = limits.errors
        self.session_limits = limits.session
        self._limits = limits
        self._intake = intake
        self._sockets: list[asyncio.Server] = []
        self._connections: dict[Connection, str] = {}
        self._per_client: Counter[str] = Counter()
        self._messages: set[asyncio.Task[Reply]] = set()
        self._draining = False
        self._quiet = asyncio.Event()
        self._prefix = secrets.token_hex(3)
        self._serial = itertools.count(1)

    @property
    def accepting(self) -> bool:
        """Whether new connections are welcome."""
        return bool(self._sockets) and not self._draining

    @property
    def connections(self) -> int:
        """Live sessions."""
        return len(self._connections)

    @property
    def messages(self) -> int:
        """Messages that are whole and not yet answered."""
        return len(self._messages)

    def change(self, limits: ServerLimits) -> None:
        """Hold to other limits; live sessions keep their budget of errors."""
        self.max_errors = limits.errors
        self.session_limits = limits.session
        self._limits = limits
        self._room.limit = limits.in_flight_bytes

    async def listen(self, host: str, port: int) -> list[str]:
        """Open one listener, `localhost` meaning 127.0.0.1 and ::1; returns the addresses. Raises OSError."""
        opened: list[str] = []
        for address in await _addresses(host):
            try:
                server = await self.loop.create_server(lambda: SmtpProtocol(self), address, port, backlog=BACKLOG)
            except OSError:
                if not opened:
                    raise
                continue  # a host without IPv6 has no ::1
            self._sockets.append(server)
            bound = server.sockets[0].getsockname()
            port = bound[1]
            opened.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        for name in opened:
            self.journal.listening(name)
        return opened

    # Called by the connections

    def admit(self, connection: Connection, peer: str | None) -> Dialogue | Reply:
        """Register a new connection, or say why not."""
        refusal = self._refusal(peer or "unix")
        if refusal is not None:
            self.journal.connection_refused(peer or "unix", refusal)
            return refusal
        self._connections[connection] = peer or "unix"
        self._per_client[peer or "unix"] += 1
        return Dialogue(self._intake, self.hand_on, f"{self._prefix}-{next(self._serial):x}", peer)

    def _refusal(self, peer: str) -> Reply | None:
        if self._draining:
            return replies.SHUTTING_DOWN
        limits = self._limits
        if len(self._connections) >= limits.connections or self._per_client[peer] >= limits.connections_per_client:
            return replies.TOO_MANY_CONNECTIONS
        return None

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        peer = self._connections.pop(connection, None)
        if peer is not None:
            self._per_client[peer] -= 1
            if not self._per_client[peer]:
                del self._per_client[peer]
        self._note_quiet()

    def hand_on(self, work: Coroutine[None, None, Reply], collector: Collector) -> asyncio.Task[Reply]:
        """Run a message to its end, whatever becomes of its connection."""
        task = self.loop.create_task(work)
        self._messages.add(task)

        def done(finished: asyncio.Task[Reply]) -> None:
            self._messages.discard(finished)
            self.release(collector)
            self._note_quiet()

        task.add_done_callback(done)
        return task

    def hold(self, collector: Collector) -> bool:
        """Account for the bytes a collector holds; False when there is no room for them."""
        return self._room.hold(collector)

    def release(self, collector: Collector) -> None:
        """The collector holds nothing any more."""
        self._room.release(collector)

    # The end

    async def drain(self, seconds: float) -> None:
        """Stop listening, let what is under way finish for at most `seconds`, then close what is left."""
        self._draining = True
        for server in self._sockets:
            server.close()
        self.journal.draining(len(self._connections), len(self._messages))
        for connection in list(self._connections):
            connection.drain()
        self._note_quiet()
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            await self._cut_short()

    async def _cut_short(self) -> None:
        self.journal.drain_cut(len(self._connections), len(self._messages))
        for connection in list(self._connections):
            connection.hang_up(replies.SHUTTING_DOWN)
        for task in list(self._messages):
            task.cancel()
        await asyncio.gather(*self._messages, return_exceptions=True)

    def _note_quiet(self) -> None:
        if self._draining and not self._connections and not self._messages:
            self._quiet.set()


async def _addresses(host: str) -> list[str]:
    return ["127.0.0.1", "::1"] if host == "localhost" else [host]
