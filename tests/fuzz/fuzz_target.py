"""The fuzz target: one listener that lives through all executions, and a SES that answers by sender.

After each session nothing may be left: no connection, no message, no task, no byte in hand.
"""

import asyncio
import gc
import socket
import ssl
import struct
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import cache
from types import TracebackType
from typing import Any, Self

import listener
import pytest
import trustme
from argon2 import PasswordHasher
from fuzz_oracle import Finding, Judgement, judge
from fuzz_strategies import LISTENERS, Session

from relay.model import Delivered, Outcome, Parcel
from relay.smtp import auth
from relay.smtp.door import Door
from relay.smtp.protocol import SmtpProtocol

MESSAGE_BYTES = 4000
PATIENCE_S = 10.0
BROKEN = "secret of the transport"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_READY_FOR_TLS = b"220 2.0.0 Ready to start TLS\r\n"
_TLS_ALERT = b"\x15"  # RFC 8446 section 5.1


class SesBySender(listener.ScriptedSes):
    """Calls each message by its parcel's id; refuses, defers or breaks where the sender says so."""

    async def send(self, parcel: Parcel) -> Outcome:
        """One answer."""
        word = parcel.sender.partition("@")[0]
        if word == "refused":
            return listener.REFUSED
        if word == "later":
            return listener.CREDENTIALS
        if word == "breaks":
            raise ValueError(BROKEN)
        self.parcels.append(parcel)
        return Delivered(parcel.id)


class _Client(asyncio.Protocol):
    def __init__(self, news: asyncio.Event) -> None:
        self.received = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reset = False
        self._news = news

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    @property
    def should_speak_tls(self) -> bool:
        """Whether what it sends now reaches the TLS library, and not the relay."""
        return _READY_FOR_TLS in self.received

    def connection_lost(self, error: Exception | None) -> None:
        self.reset = error is not None
        if not self.lost.done():
            self.lost.set_result(None)


def _listener(ses: SesBySender, kind: str) -> AbstractAsyncContextManager[listener.Listener]:
    """With limits that sessions of a few kilobytes reach, and logins that are quick to check."""
    clients = [listener.client_rule(deny=("@denied.test",)), listener.client_rule("app", users=("app",))]
    return listener.running(
        ses,
        limits=replace(listener.LIMITS, errors=30, in_flight_bytes=3500),
        headers=replace(listener.HEADERS, header_bytes=1000, hops=2, normalize=kind != "rejecting"),
        clients=clients,
        message_bytes=MESSAGE_BYTES,
        recipients=3,
        drain_s=0.1,
        users={"app": QUICK.hash("secret")},
        door=Door("starttls", _context()) if kind == "starttls" else Door(),
    )


@cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("relay.test").configure_cert(context)
    return context


class Target:
    """A context in which sessions can be executed, one after the other."""

    def __init__(self) -> None:
        self.executions = self.accepted = self.resets = 0
        self.replies: Counter[str] = Counter()
        self._runner = asyncio.Runner()
        self._ses = SesBySender()
        self._patch = pytest.MonkeyPatch()
        self._arrived = 0
        self._news = asyncio.Event()

    def __enter__(self) -> Self:
        self._tap()
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._close()
        self._runner.close()
        self._patch.undo()

    def _open(self) -> None:
        self._contexts = {kind: _listener(self._ses, kind) for kind in LISTENERS}
        self._relays = {kind: self._runner.run(context.__aenter__()) for kind, context in self._contexts.items()}
        self._standing = self._runner.run(self._tasks())

    def _close(self) -> None:
        for context in self._contexts.values():
            self._runner.run(context.__aexit__(None, None, None))

    def _tap(self) -> None:
        """Know when bytes have reached the server, so that a packet comes on its own."""
        real = SmtpProtocol.data_received

        def data_received(protocol: SmtpProtocol, data: bytes) -> None:
            self._arrived += len(data)
            real(protocol, data)
            self._news.set()

        self._patch.setattr(SmtpProtocol, "data_received", data_received)
        self._patch.setattr(auth, "_HASHER", QUICK)  # for the users that there are not

    def execute(self, session: Session) -> Judgement | None:
        """One session; raises Finding. None when the client did not listen."""
        try:
            return self._runner.run(self._execute(session))
        except Finding:  # what it left behind is not the next session's
            self._close()
            self._open()
            raise

    async def _execute(self, session: Session) -> Judgement | None:
        self.executions += 1
        relay = self._relays[session.listener]
        self._ses.parcels.clear()
        relay.server.logins._failures.clear()  # those of one session must not lock out the next
        relay.output.seek(0)
        relay.output.truncate()
        client = await self._converse(session, relay.port)
        await self._settle(relay)
        self.resets += client.reset
        if session.ending == "abort":
            return None
        normalize = session.listener != "rejecting"
        judgement = judge(
            session.wire, _in_clear(bytes(client.received)), self._ses.parcels, MESSAGE_BYTES,
            normalize=normalize, cut_short=client.reset,
        )  # fmt: skip
        self.accepted += judgement.accepted
        self.replies.update(f"{answer.code} {answer.text}".split(" Ok m")[0] for answer in judgement.answers[1:])
        _check_faults(relay)
        return judgement

    async def _converse(self, session: Session, port: int) -> _Client:
        transport, client = await asyncio.get_running_loop().create_connection(
            lambda: _Client(self._news), "127.0.0.1", port
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._send(session, transport, client)
                if session.ending != "abort":
                    await client.lost
        except TimeoutError:
            raise Finding(f"neither answered nor closed; so far {bytes(client.received[-300:])!r}") from None
        finally:
            _reset(transport)
        return client

    async def _send(self, session: Session, transport: asyncio.Transport, client: _Client) -> None:
        due = self._arrived
        for chunk in session.chunks():
            if transport.is_closing():
                return
            transport.write(chunk)
            due += len(chunk)
            if session.ending != "eager":
                await self._reached(due, client)
        if session.ending != "abort":
            transport.write_eof()

    async def _reached(self, due: int, client: _Client) -> None:
        """Wait until so many bytes have reached the server, or it has closed."""
        while self._arrived < due and not client.lost.done() and not client.should_speak_tls:
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            ends: set[asyncio.Future[Any]] = {news, client.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def _settle(self, relay: listener.Listener) -> None:
        """Wait for the end of all that the session began; raises Finding when something stays."""
        server, now = relay.server, asyncio.get_running_loop().time
        patience = now() + PATIENCE_S
        while server.connections or server.messages or await self._tasks() - self._standing:
            if now() > patience:
                break
            await asyncio.sleep(0)
        if server.connections or server.messages:
            raise Finding(f"left over: {server.connections} connections, {server.messages} messages")
        if leaked := await self._tasks() - self._standing:
            raise Finding(f"tasks left over: {leaked}")
        if server._room.taken or server._room._held:
            raise Finding(f"{server._room.taken} bytes are still taken")

    @staticmethod
    async def _tasks() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    def sessions_in_memory(self) -> int:
        """How many connections' objects are still alive after a collection of garbage."""
        gc.collect()
        return sum(isinstance(each, SmtpProtocol) for each in gc.get_objects())


def _in_clear(received: bytes) -> bytes:
    """What was said before TLS: then nothing may come but the alert that tells a client that speaks none."""
    clear, ready, rest = received.partition(_READY_FOR_TLS)
    if rest and not rest.startswith(_TLS_ALERT):
        raise Finding(f"said in clear after STARTTLS: {rest!r}")
    return clear + ready


def _check_faults(relay: listener.Listener) -> None:
    """Nothing broke in the relay but what the SES of this target breaks on purpose."""
    for event in relay.events("internal_error"):
        if BROKEN not in str(event):
            raise Finding(f"an error inside the relay: {event}")


def _reset(transport: asyncio.Transport) -> None:
    """Close without TIME_WAIT: thousands of sessions must not use up the ports."""
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
