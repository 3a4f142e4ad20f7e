"""What a connection and the server that keeps it know of each other, so that neither imports the other whole."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from relay.model import Reply
from relay.observe.log import Journal
from relay.smtp import clocks
from relay.smtp.auth import Logins
from relay.smtp.collector import Collector
from relay.smtp.handler import Dialogue

T = TypeVar("T")


class Connection(Protocol):
    """What the server asks of a connection."""

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and close."""

    def drain(self) -> None:
        """Close now when nothing is under way, else after the message in hand."""


class Host(Protocol):
    """What a connection asks of the server it belongs to."""

    loop: asyncio.AbstractEventLoop
    hostname: str
    journal: Journal
    logins: Logins
    max_errors: int
    max_auth_failures: int
    session_limits: clocks.SessionLimits

    def admit(self, connection: Connection, peer: str | None, *, proxy: bool = False) -> Dialogue | Reply:
        """Register a connection, or say why not; again when a proxy has told for whom it speaks."""

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""

    def see_through(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work to its end, whatever becomes of the connection that it was begun for."""

    def hold(self, collector: Collector) -> bool:
        """Account for the bytes a collector holds; False when they are too many."""

    def release(self, collector: Collector) -> None:
        """The collector holds nothing any more."""
