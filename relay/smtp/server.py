"""Sockets, the registry of live connections and its limits, and the drain.

Owns the listening sockets (backlog 2048: with asyncio's 100, two hundred parallel new connections fall to a
tenth of the rate), the list of connections and of messages in hand, and the room they may take. Runs on the
event loop itself. Guarantees that a message in hand outlives its connection, and that `drain` ends in time.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from relay import replies
from relay.intake import Intake
from relay.model import Reply
from relay.observe.log import Journal
from relay.smtp.auth import Logins
from relay.smtp.clocks import SessionLimits
from relay.smtp.collector import Collector
from relay.smtp.door import Door
from relay.smtp.handler import Dialogue
from relay.smtp.host import Connection
from relay.smtp.session import Session
from relay.smtp.sockets import OpenSocket

BACKLOG = 2048

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Counts and bytes; see `limits` in config/relay.yaml."""

    connections: int
    connections_per_client: int
    errors: int
    auth_failures: int
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

    def __init__(self, intake: Intake, limits: ServerLimits, journal: Journal, hostname: str, logins: Logins) -> None:
        self.loop = asyncio.get_running_loop()
        self.hostname = hostname
        self.journal = journal
        self._room = Room(limits.in_flight_bytes)
        self.logins = logins
        self.max_errors = limits.errors
        self.max_auth_failures = limits.auth_failures
        self.session_limits = limits.session
        self._limits = limits
        self._intake = intake
        self._listeners: list[tuple[asyncio.Server, OpenSocket]] = []
        self._connections: dict[Connection, str] = {}
        self._per_client: Counter[str] = Counter()
        self._messages: set[asyncio.Task[Any]] = set()
        self._seen_through: set[asyncio.Task[Any]] = set()
        self._handed_on: Counter[int] = Counter()  # collectors whose content a message under way still needs
        self._draining = False
        self._quiet = asyncio.Event()
        self._prefix = secrets.token_hex(3)
        self._serial = itertools.count(1)

    @property
    def accepting(self) -> bool:
        """Whether new connections are welcome."""
        return bool(self._listeners) and not self._draining

    @property
    def connections(self) -> int:
        """Live sessions."""
        return len(self._connections)

    @property
    def messages(self) -> int:
        """Messages that are whole and not yet answered, and attempts that go on after the answer."""
        return len(self._messages)

    def change(self, limits: ServerLimits) -> None:
        """Hold to other limits; live sessions keep their budget of errors."""
        self.max_errors = limits.errors
        self.max_auth_failures = limits.auth_failures
        self.session_limits = limits.session
        self._limits = limits
        self._room.limit = limits.in_flight_bytes

    async def serve(self, opened: OpenSocket, door: Door) -> None:
        """Serve clients that come by this socket. Raises OSError, with the socket closed."""
        try:
            server = await self._attach(opened.sock, lambda: Session(self, door))
        except OSError:
            opened.close()
            raise
        self._listeners.append((server, opened))
        self.journal.listening(opened.name)

    async def _attach(self, sock: socket.socket, factory: Callable[[], Session]) -> asyncio.Server:
        if sock.family == getattr(socket, "AF_UNIX", None):
            return await self.loop.create_unix_server(factory, sock=sock, backlog=BACKLOG)
        return await self.loop.create_server(factory, sock=sock, backlog=BACKLOG)

    # Called by the connections

    def admit(self, connection: Connection, peer: str | None, *, proxy: bool = False) -> Dialogue | Reply:
        """Register a new connection, or say why not; again when a proxy has told for whom it speaks."""
        self._strike_off(connection)
        refusal = self._refusal(peer or "unix", proxy=proxy)
        if refusal is not None:
            self.journal.connection_refused(peer or "unix", refusal)
            return refusal
        self._connections[connection] = peer or "unix"
        self._per_client[peer or "unix"] += 1
        return Dialogue(self._intake, self.hand_on, f"{self._prefix}-{next(self._serial):x}", peer)

    def _refusal(self, peer: str, *, proxy: bool) -> Reply | None:
        if self._draining:
            return replies.SHUTTING_DOWN
        limits = self._limits
        crowded = not proxy and self._per_client[peer] >= limits.connections_per_client  # a proxy speaks for many
        if crowded or len(self._connections) >= limits.connections:
            return replies.TOO_MANY_CONNECTIONS
        return None

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._strike_off(connection)
        self._note_quiet()

    def _strike_off(self, connection: Connection) -> None:
        peer = self._connections.pop(connection, None)
        if peer is None:
            return
        self._per_client[peer] -= 1
        if not self._per_client[peer]:
            del self._per_client[peer]

    def hand_on(self, work: Coroutine[None, None, Any], collector: Collector) -> asyncio.Task[Any]:
        """Run a message to its end, whatever becomes of its connection; also what goes on after its answer."""
        task = self.loop.create_task(work)
        self._messages.add(task)
        self._handed_on[id(collector)] += 1

        def done(finished: asyncio.Task[Any]) -> None:
            self._messages.discard(finished)
            self._handed_on[id(collector)] -= 1
            if not self._handed_on[id(collector)]:
                del self._handed_on[id(collector)]
                self._room.release(collector)
            self._note_quiet()

        task.add_done_callback(done)
        return task

    def see_through(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work to its end, whatever becomes of the connection that it was begun for; the drain waits for none."""
        task = self.loop.create_task(work)
        self._seen_through.add(task)
        task.add_done_callback(self._seen_through.discard)
        return task

    def hold(self, collector: Collector) -> bool:
        """Account for the bytes a collector holds; False when there is no room for them."""
        return self._room.hold(collector)

    def release(self, collector: Collector) -> None:
        """The connection is done with the collector; what was handed on goes when the message is answered."""
        if id(collector) not in self._handed_on:
            self._room.release(collector)

    # The end

    async def drain(self, seconds: float) -> None:
        """Stop listening, let what is under way finish for at most `seconds`, then close what is left."""
        self._draining = True
        for server, opened in self._listeners:
            server.close()
            opened.remove_file()
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
