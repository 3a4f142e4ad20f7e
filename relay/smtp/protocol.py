"""The one aiosmtpd subclass: an SMTP connection, from bytes to replies.

Owns the command loop, the switch into and out of DATA, and the timer of one connection. Every private name of
aiosmtpd 1.4.6 and of asyncio's stream reader that the relay leans on is used here and nowhere else;
`tests/contract` fails when one of them goes. What a command means is decided by `relay.smtp.handler`.

Guarantees: an exception anywhere becomes 451 with a generic text and an empty envelope; a client that closes
or half-closes cannot cancel a message already handed on; replies to pipelined commands leave in order and in
one write (RFC 2920); memory per connection is bounded, but for the one message it is sending.

aiosmtpd's own constructor, command loop and DATA reader are not used: the first inspects every attribute of
the object for each connection, the second answers exceptions with a permanent 500 that quotes them, the third
spends a Python object on every line.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiosmtpd.smtp import SMTP

from relay import replies
from relay.errors import Rejection
from relay.model import Reply
from relay.smtp import clocks
from relay.smtp.collector import Collector
from relay.smtp.handler import Dialogue
from relay.smtp.host import Host

_COMMAND_BYTES = 2048  # RFC 5321 section 4.5.3.1.4 asks for 512, parameters of extensions come on top
_READER_BYTES = 16 * 1024  # commands that wait for their turn; reading stops at twice this
_REPLY_BYTES = 64 * 1024  # replies that a client has not read yet, before we stop answering it
_PARTING_S = 1.0  # in a drain, time for the QUIT of a client whose message is done: some take 421 for a failure
_GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"


class SmtpProtocol(SMTP):
    """One client's connection to one listener."""

    # What SMTP.__init__ would set to the same value on every connection.
    __ident__ = "ESMTP"
    event_handler: Any = None
    enable_SMTPUTF8 = False  # noqa: N815 - the library's name
    tls_context: Any = None
    require_starttls: Any = False
    _decode_data = False
    _proxy_timeout: Any = None
    _tls_handshake_okay = True

    def __init__(self, host: Host) -> None:
        self._host = host
        self.loop = host.loop
        self.hostname = host.hostname
        reader = asyncio.StreamReader(limit=_READER_BYTES, loop=self.loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, self._cb_client_connected, self.loop)
        self.transport: Any = None
        self.session: Any = None
        self.envelope: Any = None
        self._handler_coroutine: Any = None
        self._timeout_handle: Any = None
        self._tls_protocol: Any = None
        self._original_transport: Any = None
        # Ours
        self._admitted: Dialogue | None = None
        self._collector: Collector | None = None
        self._collected: asyncio.Future[None] = self.loop.create_future()
        self._crowded = False  # whether the message under way has found no room
        self._busy = False
        self._draining = False
        self._errors_left = host.max_errors
        self._out = bytearray()
        self._opened = self._last_byte = self._data_began = self.loop.time()

    @property
    def dialogue(self) -> Dialogue:
        """The session; there is one as long as there is a connection that was let in."""
        if self._admitted is None:
            raise RuntimeError("this connection was never let in")
        return self._admitted

    # The connection

    def connection_made(self, transport: Any) -> None:
        """Let the client in, or tell it why not."""
        answer = self._host.admit(self, _peer(transport))
        if isinstance(answer, Reply):
            transport.write(_line(answer))
            transport.close()
            return
        self._admitted = answer
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; a message that was handed on goes its way without it."""
        if self._admitted is None:
            return
        self._admitted.gone = True
        self._host.forget(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Bytes of a message go to the collector, bytes of commands to the reader."""
        self._last_byte = self.loop.time()
        if self._collector is not None:
            self._take(self._collector, data)
        elif self._admitted is not None:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """A client that half-closes still gets the answers to all that it has sent."""
        if self._admitted is None:
            return False
        self._reader.feed_eof()
        self._admitted.gone = True  # nearly always: who half-closes and reads on is served, and logged as gone
        if self._collector is not None:  # the rest of this message will never come
            self.transport.close()
        return self.session.ssl is None

    # The timer

    def _reset_timeout(self, duration: float | None = None) -> None:  # noqa: ARG002 - the library's signature
        """Arm the one timer of the connection; when it fires it looks at the time of the last byte."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_at(self._deadline().when, self._timeout_cb)

    def _deadline(self) -> clocks.Deadline:
        limits = self._host.session_limits
        if self._collector is not None:
            return clocks.inside_data(limits, self._data_began, self._last_byte, self._collector.received)
        return clocks.between_messages(limits, self._opened, self._last_byte)

    def _timeout_cb(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        deadline, now = self._deadline(), self.loop.time()
        if self._busy:
            return  # armed again when the message in our hands is answered
        if now < deadline.when:
            self._timeout_handle = self.loop.call_at(deadline.when, self._timeout_cb)
            return
        self._host.journal.session_closed(self.dialogue.client, deadline.reply)
        self.hang_up(deadline.reply)

    # The end

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and close."""
        if self.transport is not None and not self.transport.is_closing():
            self._out += _line(reply)
            self._flush()
            self.transport.close()

    def drain(self) -> None:
        """Close now when nothing is under way, else after the message in hand (RFC 5321 section 3.8)."""
        self._draining = True
        if not self._busy and self._collector is None and not self.dialogue.in_transaction:
            self.hang_up(replies.SHUTTING_DOWN)

    # The command loop

    async def _handle_client(self) -> None:
        self._out += f"220 {self.hostname} {self.__ident__}\r\n".encode("ascii")
        while self.transport is not None and not self.transport.is_closing():
            line = b""
            try:
                line = await self._next_line()
                await self._command(line)
            except asyncio.IncompleteReadError:  # the client has said all it had to say
                self._flush()
                self._writer.close()
            except Rejection as refused:
                self._refuse(refused.reply, line)
            except Exception as error:  # noqa: BLE001 - the last line of defence: our faults are never permanent
                self._host.journal.internal_error(self.dialogue.client.session, error)
                self._set_rset_state()
                self._refuse(replies.INTERNAL, line)
            if self._errors_left <= 0:
                self._host.journal.session_closed(self.dialogue.client, replies.TOO_MANY_ERRORS)
                self.hang_up(replies.TOO_MANY_ERRORS)
            elif self._draining and not self.dialogue.in_transaction:
                self.loop.call_later(_PARTING_S, self.hang_up, replies.SHUTTING_DOWN)

    async def _next_line(self) -> bytes:
        """The next command without its line ending; raises IncompleteReadError at the end of the input."""
        if b"\n" not in self._reader._buffer:  # type: ignore[attr-defined] # see the module's docstring
            self._flush()
            if self.transport.get_write_buffer_size() > _REPLY_BYTES:
                await self._writer.drain()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await self._skip_line(error.consumed)
            raise Rejection(replies.COMMAND_TOO_LONG) from None
        if len(line) > _COMMAND_BYTES:
            raise Rejection(replies.COMMAND_TOO_LONG)
        return line.rstrip(b"\r\n")

    async def _skip_line(self, consumed: int) -> None:
        while consumed:
            await self._reader.readexactly(consumed)
            try:
                await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                consumed = error.consumed
            else:
                consumed = 0

    async def _command(self, line: bytes) -> None:
        word, _, argument = line.partition(b" ")
        verb = word.upper()
        if self._draining and not self.dialogue.in_transaction and verb != b"QUIT":
            self.hang_up(replies.SHUTTING_DOWN)
            return
        method = _COMMANDS.get(verb)
        if method is not None:
            await method(self, argument.strip().decode("ascii", "surrogateescape") or None)
            return
        fixed = replies.FIXED.get(verb, replies.COMMAND_UNKNOWN)
        if not fixed.positive:
            raise Rejection(fixed)
        self._answer(fixed)

    def _answer(self, reply: Reply) -> None:
        """Queue one reply; it leaves when no further command waits to be answered."""
        self._out += _line(reply)

    def _refuse(self, reply: Reply, line: bytes) -> None:
        self._host.journal.refused(self.dialogue.client, reply, _loggable(line))
        self._errors_left -= reply.code >= 500
        self._answer(reply)

    def _flush(self) -> None:
        if self._out and self.transport is not None:
            self._writer.write(bytes(self._out))
            self._out.clear()

    def _set_rset_state(self) -> None:
        super()._set_rset_state()  # type: ignore[no-untyped-call] # the library leaves it untyped
        self.dialogue.reset()

    # Commands

    async def smtp_HELO(self, hostname: str | None) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greet(hostname, extended=False)
        self._out += f"250 {self.hostname}\r\n".encode("ascii")

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """RFC 5321 section 4.1.1.1: what is offered is exactly what is there."""
        self._greet(hostname, extended=True)
        self._out += (
            f"250-{self.hostname}\r\n250-SIZE {self.dialogue.message_bytes}\r\n"
            "250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
        ).encode("ascii")

    def _greet(self, hostname: str | None, *, extended: bool) -> None:
        if not hostname:
            raise Rejection(replies.SYNTAX_HELO)
        self._set_rset_state()
        self.session.extended_smtp = extended
        self.session.host_name = hostname
        self.dialogue.hello(hostname)

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.2."""
        self._need_helo()
        self._answer(self.dialogue.mail(_raw(arg)))

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.3."""
        self._need_helo()
        self._answer(self.dialogue.recipient(_raw(arg)))

    async def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.4: take the message, hand it on, say what became of it."""
        self._need_helo()
        if arg:
            raise Rejection(replies.SYNTAX_NO_ARGUMENT)
        self.dialogue.check_data()
        self._out += _GO_AHEAD
        self._flush()
        try:
            collector = await self._collect()
            if self._crowded:
                raise Rejection(replies.NO_ROOM)
            reply = await self.dialogue.message(collector)
        finally:
            self._busy = False
            self._last_byte = self.loop.time()
            if self.transport is not None:
                self._reset_timeout()
            self._set_rset_state()
        if reply.positive:
            self._errors_left = self._host.max_errors
        self._answer(reply)

    async def smtp_RSET(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.5."""
        if arg:
            raise Rejection(replies.SYNTAX_NO_ARGUMENT)
        self._set_rset_state()
        self._answer(replies.OK)

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: ARG002 - nobody gains from an error here
        """RFC 5321 section 4.1.1.10."""
        self.hang_up(replies.BYE)

    def _need_helo(self) -> None:
        if not self.session.host_name:
            raise Rejection(replies.NEED_HELO)

    # DATA

    async def _collect(self) -> Collector:
        """Read to the end of the message (CRLF.CRLF and nothing else), which is found even past the size limit."""
        self._data_began = self._last_byte = self.loop.time()
        self._collected = self.loop.create_future()
        self._crowded = False
        collector = self._collector = Collector(self.dialogue.message_bytes)
        self._reset_timeout()
        early = bytes(self._reader._buffer)  # type: ignore[attr-defined] # see the module's docstring
        if early:
            self._reader._buffer.clear()  # type: ignore[attr-defined]
            self._reader._maybe_resume_transport()  # type: ignore[attr-defined]
            self._take(collector, early)
        try:
            await self._collected
        except asyncio.CancelledError:
            self._host.release(collector)
            raise
        return collector

    def _take(self, collector: Collector, data: bytes) -> None:
        left = collector.feed(data)
        if not self._host.hold(collector):
            self._crowded = True
            collector.abandon()
            self._host.release(collector)
        if left is None:
            return
        self._collector = None
        self._busy = True
        if not self._collected.done():
            self._collected.set_result(None)
        if left:
            super().data_received(left)


_SHOWN_WHOLE = frozenset({b"EHLO", b"HELO", b"MAIL", b"RCPT"})
_Method = Callable[[SmtpProtocol, str | None], Awaitable[None]]
_COMMANDS: dict[bytes, _Method] = {
    b"EHLO": SmtpProtocol.smtp_EHLO,
    b"HELO": SmtpProtocol.smtp_HELO,
    b"MAIL": SmtpProtocol.smtp_MAIL,
    b"RCPT": SmtpProtocol.smtp_RCPT,
    b"DATA": SmtpProtocol.smtp_DATA,
    b"RSET": SmtpProtocol.smtp_RSET,
    b"QUIT": SmtpProtocol.smtp_QUIT,
}


def _loggable(line: bytes) -> str:
    """A refused command for the log: arguments only where they cannot be a password (RFC 4954 sends them in lines)."""
    verb = line.partition(b" ")[0].upper()
    if verb in _SHOWN_WHOLE:
        return line[:_COMMAND_BYTES].decode("ascii", "backslashreplace")
    return verb.decode("ascii") if verb in _COMMANDS or verb in replies.FIXED else f"unknown, {len(line)} bytes"


def _line(reply: Reply) -> bytes:
    return f"{reply}\r\n".encode("ascii", "replace")


def _raw(arg: str | None) -> bytes:
    return (arg or "").encode("ascii", "surrogateescape")


def _peer(transport: asyncio.BaseTransport) -> str | None:
    """The client's IP address; None on a Unix socket."""
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None and raw.family == getattr(socket, "AF_UNIX", None):
        return None
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else None
