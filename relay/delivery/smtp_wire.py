"""One connection to an SMTP server: bytes out, replies in, back-pressure, patience, TLS.

Owns the socket and nothing of the dialogue. Guarantees that every wait ends: a reply comes whole within its time,
and writing makes progress within each `timeout_s`; that no more than a few replies and one chunk of a message are
held; that nothing which came in clear is read after TLS has begun (RFC 3207 section 6). Refuses servers that talk
anything but SMTP. Works on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

from relay.delivery.patience import Watch
from relay.delivery.smtp_reply import MalformedReply, ReplyParser, UpstreamReply
from relay.policy.outcomes import Trouble

_MAX_REPLIES: Final = 128  # unread; the longest pipeline is MAIL and 50 RCPT
_MAX_ADDRESSES: Final = 8
_TLS_GOODBYE_S: Final = 3.0

P = TypeVar("P", bound=asyncio.Protocol)


class Broken(Exception):
    """There is no answer, and none to come: the connection ended, or never came about.

    `trouble` is LOST_ANSWER when the message may have been taken.
    """

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


class Silence(Broken):
    """Nothing happened for as long as we wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Trouble.TIMEOUT_BEFORE_SENT, f"no progress for {seconds:g} s")


class Wire(asyncio.Protocol):
    """A connection as the dialogue sees it. `dial` makes one; `timeout_s` is time without progress."""

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._watch = Watch(self._loop, self._on_silence)
        self._parser = ReplyParser()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._ended: Broken | None = None
        self._gone = self._loop.create_future()
        self._transport: asyncio.Transport
        self._tcp: asyncio.Transport
        self.replies: deque[UpstreamReply] = deque()

    # What the event loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected."""
        self._transport = self._tcp = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of a reply, or several."""
        try:
            self.replies.extend(self._parser.feed(data))
        except MalformedReply as malformed:
            self._drop(Broken(Trouble.NOT_AWS, str(malformed)))
        if len(self.replies) > _MAX_REPLIES:
            self._drop(Broken(Trouble.NOT_AWS, "more replies than commands"))
        if self.replies:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._end(Broken(Trouble.STALE, f"connection lost: {exc}" if exc else "connection closed"))
        self._watch.stop()
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """The buffer of the transport is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The buffer of the transport has drained."""
        self._paused = False
        self._wake()

    # What the dialogue does

    @property
    def quiet(self) -> bool:
        """Whether the connection stands and the server has said nothing that was not asked for."""
        return self._ended is None and not self.replies and not self._parser.pending

    @property
    def encrypted(self) -> bool:
        """Whether TLS has begun, and with it the server was verified."""
        return self._transport is not self._tcp

    @property
    def peer(self) -> str:
        """The server's IP address."""
        return str(self._tcp.get_extra_info("peername")[0])

    def check(self) -> None:
        """Raise what ended the connection, if it has ended."""
        if self._ended is not None:
            raise self._ended

    def write(self, data: bytes) -> None:
        """Send without waiting; loss shows in the next wait."""
        if self._ended is None:
            self._transport.write(data)

    async def reply(self, patience_s: float) -> UpstreamReply:
        """The next whole reply. Raises Broken when none can come any more, or none came in time."""
        while not self.replies:
            await self._event(patience_s)
        return self.replies.popleft()

    async def drained(self) -> None:
        """Return when there is room to write, or a reply. Raises Silence when nothing moves for `timeout_s`."""
        while self._paused and not self.replies:
            unsent = self._unsent()
            try:
                await self._event(self._timeout_s)
            except Silence:
                if self._unsent() >= unsent:
                    raise

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS and verify that the server is `host`; refuses if anything was sent before it."""
        if not self.quiet:
            raise Broken(Trouble.TLS, str(self._ended or "the server said more before TLS than it was asked"))
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_hostname=host,
                ssl_handshake_timeout=self._timeout_s,
                ssl_shutdown_timeout=min(_TLS_GOODBYE_S, self._timeout_s),
            )
        except OSError as error:  # of which ssl.SSLError and TimeoutError are kinds
            raise Broken(Trouble.TLS, str(error) or type(error).__name__) from error
        if transport is None:
            raise Broken(Trouble.TLS, "the connection was lost in the TLS handshake")
        self._transport = transport

    def abort(self) -> None:
        """Drop the connection at once."""
        self._drop(Broken(Trouble.STALE, "dropped"))

    def part(self) -> None:
        """Say QUIT and close, without waiting for the answer."""
        self.write(b"QUIT\r\n")
        self._end(Broken(Trouble.STALE, "parted"))
        self._transport.close()

    async def quit(self, deadline_s: float) -> None:
        """Say QUIT, wait for the answer and the end of the connection, but no longer than `deadline_s`."""
        self.write(b"QUIT\r\n")
        try:
            async with asyncio.timeout(deadline_s):
                with suppress(Broken):
                    await self.reply(deadline_s)
                self._transport.close()
                await asyncio.shield(self._gone)
        except TimeoutError:
            pass
        finally:
            self.abort()

    # Inside

    async def _event(self, patience_s: float) -> None:
        self.check()
        self._waiter = self._loop.create_future()
        self._watch.wait(patience_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._watch.rest()

    def _wake(self, error: Broken | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)

    def _end(self, reason: Broken) -> None:
        # The first reason is the true one; a reply that had come before it is still read
        if self._ended is None:
            self._ended = reason
            self._wake(None if self.replies else reason)

    def _drop(self, reason: Broken) -> None:
        self._end(reason)
        self._watch.stop()
        self._tcp.abort()  # below TLS, whose own abort raises after a close in Pythons up to 3.11.2

    def _on_silence(self, seconds: float) -> None:
        self._wake(Silence(seconds))

    def _unsent(self) -> int:
        below = self._tcp.get_write_buffer_size() if self.encrypted else 0
        return self._transport.get_write_buffer_size() + below


async def dial(host: str, port: int, timeout_s: float) -> Wire:
    """Connect to the first address of `host` that answers. Raises Broken."""
    return await connect(host, port, timeout_s, lambda: Wire(timeout_s))


async def connect(host: str, port: int, timeout_s: float, protocol: Callable[[], P]) -> P:
    """Connect something to the first address of `host` that answers; each gets its share of `timeout_s`.

    Raises Broken. (asyncio's way to try addresses in parallel is missing in uvloop.)
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    addresses = await _resolve(host, port, timeout_s)
    reason: OSError = OSError("no address")
    for tried, address in enumerate(addresses):
        share = max(deadline - loop.time(), 0.0) / (len(addresses) - tried)
        try:
            async with asyncio.timeout(share):
                _, connected = await loop.create_connection(protocol, address, port)
                return connected
        except OSError as error:
            reason = error
    raise Broken(Trouble.CONNECT, f"{host} port {port}: {reason or type(reason).__name__}")


async def _resolve(host: str, port: int, timeout_s: float) -> list[str]:
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Broken(Trouble.DNS, f"{host}: {error or type(error).__name__}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_MAX_ADDRESSES]
