"""An SMTP server by other people (aiosmtpd) that takes everything and tells what it took."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@dataclass(frozen=True)
class Message:
    """What came in one transaction."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class Sink:
    """Where messages end, and the hooks that aiosmtpd calls."""

    port: int = 0
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)
    at_data: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)  # wait for it before the answer to a message
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)  # the client went while we held the answer
    busiest: int = 0
    _busy: int = 0

    async def handle_MAIL(self, _: SMTP, __: Session, envelope: Envelope, sender: str, options: list[str]) -> str:  # noqa: N802 aiosmtpd's name
        self.commands.append("MAIL")
        self.options.append(options)
        envelope.mail_from = sender
        return "250 Ok"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        self.commands.append("DATA")
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        self.at_data.set()
        try:
            await self.answer.wait()
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        finally:
            self._busy -= 1
        assert isinstance(envelope.original_content, bytes)
        self.messages.append(Message(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.original_content))
        return f"250 Ok id-{len(self.messages)}"

    def session(self, **settings: Any) -> SMTP:
        """A server for the next connection."""
        self.connections += 1
        return SMTP(self, authenticator=_login, hostname="sink.test", **settings)


def _login(_: SMTP, __: Session, ___: Envelope, mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    good = (data.login, data.password) == (b"user", b"secret")
    return AuthResult(success=good, handled=good)


@asynccontextmanager
async def sink(
    *,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    held: bool = False,
    **settings: Any,
) -> AsyncIterator[Sink]:
    """A sink on loopback. With `held` it answers no message before `answer` is set."""
    got = Sink()
    if not held:
        got.answer.set()
    if starttls:
        settings |= {"tls_context": starttls, "require_starttls": True}
    else:
        settings |= {"auth_require_tls": False}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: got.session(**settings), "127.0.0.1", 0, ssl=implicit)
    got.port = server.sockets[0].getsockname()[1]
    try:
        yield got
    finally:
        server.close()
        await server.wait_closed()
