"""The one aiosmtpd subclass: an SMTP connection, from the socket to lines and messages, and back.

Owns the life of one connection: bytes in and out, the switch into and out of DATA, TLS, the timer. Every
private name of aiosmtpd 1.4.6 and of asyncio's streams that the relay leans on is used here and nowhere else;
`tests/contract` fails when one of them goes. The dialogue itself is `relay.smtp.session`.

Guarantees: a client that closes or half-closes cannot cancel a message already handed on; replies to pipelined
commands leave in order and in one write (RFC 2920); nothing that was sent before TLS counts after it (RFC 3207);
memory per connection is bounded, but for the one message it is sending.

aiosmtpd's own constructor, command loop and DATA reader are not used: the first inspects every attribute of
the object for each connection, the second answers exceptions with a permanent 500 that quotes them, the third
spends a Python object on every line.
"""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from typing import Any

from aiosmtpd.smtp import SMTP

from relay import replies
from relay.errors import Rejection
from relay.model import UNKNOWN_PEER, Reply
from relay.smtp import clocks
from relay.smtp.collector import Collector
from relay.smtp.door import Door, peer_of
from relay.smtp.handler import Dialogue
from relay.smtp.host import Host
from relay.smtp.proxy_header import ProxyHeader, Source, Unnamed

_COMMAND_BYTES = 2048  # RFC 5321 section 4.5.3.1.4 asks for 512, parameters of extensions come on top
AUTH_LINE_BYTES = 12_288  # RFC 4954 section 4, for each line of an exchange; some send all of it in the first
_READER_BYTES = 16 * 1024  # commands that wait for their turn; reading stops at twice this
_REPLY_BYTES = 64 * 1024  # replies that a client has not read yet, before we stop answering it
_HANDSHAKE_S = 30
_LINGER_S = 5.0  # for the last reply to be read
_PROXY_S = 5.0


class SmtpProtocol(SMTP):
    """One client's connection to one listener; `converse` is the subclass's."""

    # What SMTP.__init__ would set to the same value on every connection.
    __ident__ = "ESMTP"
    event_handler: Any = None
    enable_SMTPUTF8 = False  # noqa: N815 - the library's name
    tls_context: Any = None
    require_starttls: Any = False
    _decode_data = False
    _proxy_timeout: Any = None
    _tls_handshake_okay = True
    _handle_hooks: dict[str, Any] = {}  # noqa: RUF012 - empty for ever

    def __init__(self, host: Host, door: Door) -> None:
        self._host = host
        self._door = door
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
        self._preamble: ProxyHeader | None = None  # of a trusted proxy
        self._in_preamble = False
        self._early_tls = b""
        self._collector: Collector | None = None
        self._arrived: asyncio.Future[None] = self.loop.create_future()
        self._crowded = False  # whether the message under way has found no room
        self._busy = False
        self._eof = False
        self._draining = False
        self._out = bytearray()
        self._opened = self._last_byte = self._data_began = self.loop.time()

    async def converse(self) -> None:
        """Hold the dialogue until the connection is to be closed."""
        raise NotImplementedError

    @property
    def dialogue(self) -> Dialogue:
        """The session; there is one as long as there is a connection that was let in."""
        if self._admitted is None:
            raise RuntimeError("this connection was never let in")
        return self._admitted

    @property
    def over_tls(self) -> bool:
        """Whether what is said is encrypted."""
        return self._original_transport is not None

    # The connection

    def connection_made(self, transport: Any) -> None:
        """Let the client in, or tell it why not; after a TLS handshake, begin anew."""
        if self._original_transport is not None:
            super().connection_made(transport)
            return
        peer = peer_of(transport)
        proxy = self._door.trusts(peer)
        answer = self._host.admit(self, peer, proxy=proxy)
        if isinstance(answer, Reply):
            transport.write(_line(answer))
            transport.close()
            return
        self._admitted = answer
        if proxy:
            self._preamble, self._in_preamble = ProxyHeader(), True
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; a message that was handed on goes its way without it."""
        if self._admitted is None:
            return
        self._admitted.gone = True
        self._host.forget(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Bytes go to the PROXY header, to the message, or to the reader of commands, whichever is under way."""
        self._last_byte = self.loop.time()
        if self._collector is not None:
            self._take(self._collector, data)
        elif self._preamble is not None and self._in_preamble:
            self._take_preamble(self._preamble, data)
        elif self._door.tls == "implicit" and not self.over_tls:
            self._early_tls += data  # a quick client's handshake, before there is somebody who understands it
        elif self._admitted is not None:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """A client that half-closes still gets the answers to all that it has sent."""
        if self._admitted is None:
            return False
        self._eof = True
        self._reader.feed_eof()
        # Nearly always gone: who half-closes and reads on is served all the same. But who has said more (Exim: QUIT)
        # behind the message in hand waits for the answers.
        self._admitted.gone = not self._reader._buffer  # type: ignore[attr-defined]
        if self._collector is not None or self._in_preamble:  # the rest will never come
            self.transport.close()
        return not self.over_tls

    async def _handle_client(self) -> None:
        try:
            if self._preamble is not None and not await self._know_the_client(self._preamble):
                return
            if self._door.tls == "implicit":
                await self.begin_tls()
            await self.converse()
        except OSError as error:
            self._host.journal.connection_broken(self.dialogue.client, error)
        finally:
            self._end()

    def _end(self) -> None:
        """Let go; asyncio does not tell of the loss of a connection whose TLS handshake failed."""
        if self.transport is not None:
            self.transport.close()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._host.forget(self)

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
        deadline = self._deadline()
        if self._busy:
            return  # armed again when the message in our hands is answered
        if self.loop.time() < deadline.when:
            self._timeout_handle = self.loop.call_at(deadline.when, self._timeout_cb)
            return
        self._host.journal.session_closed(self.dialogue.client, deadline.reply)
        self.hang_up(deadline.reply)

    # What is said

    def say(self, reply: Reply) -> None:
        """Queue one reply; it leaves when no further command waits to be answered."""
        self._out += _line(reply)

    def say_raw(self, lines: bytes) -> None:
        """Queue lines that are no plain reply, each with its CRLF."""
        self._out += lines

    def flush(self) -> None:
        """Let out what is queued."""
        if self._out and self.transport is not None:
            self.transport.write(bytes(self._out))
            self._out.clear()

    def hang_up(self, reply: Reply) -> None:
        """Say `reply` and close."""
        if self.transport is not None and not self.transport.is_closing():
            self._out += _line(reply)
            self.flush()
            self.transport.close()
            # Closing waits for the client to read what is buffered; not for ever
            self.loop.call_later(_LINGER_S, self.transport.abort)

    def drain(self) -> None:
        """Close now when nothing is under way, else after the message in hand (RFC 5321 section 3.8)."""
        self._draining = True
        if not self._busy and self._collector is None and not self.dialogue.in_transaction:
            self.hang_up(replies.SHUTTING_DOWN)

    # What is heard

    async def next_line(self, limit: int | None = None) -> bytes:
        """The next line without its ending; raises IncompleteReadError at the end of the input, or Rejection.

        A command, which AUTH alone makes long, or a line of up to `limit` bytes with its ending.
        """
        if b"\n" not in self._reader._buffer:  # type: ignore[attr-defined] # see the module's docstring
            self.flush()
            if self.transport is not None and self.transport.get_write_buffer_size() > _REPLY_BYTES:
                await self._writer.drain()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await self._skip_line(error.consumed)
            raise Rejection(replies.COMMAND_TOO_LONG) from None
        if len(line) > (limit or _room_for(line)):
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

    def _set_rset_state(self) -> None:
        super()._set_rset_state()  # type: ignore[no-untyped-call] # the library leaves it untyped
        self.dialogue.reset()

    # DATA

    async def collect(self) -> Collector:
        """Read to the end of the message (CRLF.CRLF and nothing else), which is found even past the size limit."""
        self._data_began = self._last_byte = self.loop.time()
        self._arrived = self.loop.create_future()
        self._crowded = False
        collector = self._collector = Collector(self.dialogue.message_bytes)
        self._reset_timeout()
        early = bytes(self._reader._buffer)  # type: ignore[attr-defined] # see the module's docstring
        if early:
            self._reader._buffer.clear()  # type: ignore[attr-defined]
            self._reader._maybe_resume_transport()  # type: ignore[attr-defined]
            self._take(collector, early)
        try:
            await self._whole_message()
        except BaseException:
            self._host.release(collector)
            raise
        return collector

    async def _whole_message(self) -> None:
        if self._eof and self._collector is not None:
            raise ConnectionAbortedError("the client has closed in the middle of a message")
        await self._arrived
        if self._crowded:
            raise Rejection(replies.NO_ROOM)

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
        self._arrive(left)

    def end_of_message(self) -> None:
        """The message in hand is answered: the clocks run again."""
        self._busy = False
        self._last_byte = self.loop.time()
        if self.transport is not None:
            self._reset_timeout()

    def _arrive(self, left: bytes) -> None:
        if not self._arrived.done():
            self._arrived.set_result(None)
        if left and self._eof:
            self._reader._buffer.extend(left)  # type: ignore[attr-defined] # which takes nothing any more by itself
        elif left:
            super().data_received(left)

    # PROXY

    def _take_preamble(self, preamble: ProxyHeader, data: bytes) -> None:
        try:
            left = preamble.feed(data)
        except ValueError as error:
            self._in_preamble = False
            if not self._arrived.done():
                self._arrived.set_exception(error)
            return
        if left is None:
            return
        self._in_preamble = False
        if self._door.tls == "implicit":
            self._early_tls, left = left, b""
        self._arrive(left)

    async def _know_the_client(self, preamble: ProxyHeader) -> bool:
        """Wait for the PROXY header of a trusted proxy, and admit its client, also one that it cannot name."""
        try:
            async with asyncio.timeout(_PROXY_S):
                await self._arrived
        except (ValueError, TimeoutError) as error:
            self._host.journal.connection_broken(self.dialogue.client, error)
            return False
        if preamble.origin is not Unnamed.LOCAL:
            named = preamble.origin.address if isinstance(preamble.origin, Source) else UNKNOWN_PEER
            answer = self._host.admit(self, named)
            if isinstance(answer, Reply):
                self.hang_up(answer)
                return False
            self._admitted = answer
        return True

    # TLS

    async def begin_tls(self) -> None:
        """Do the handshake (RFC 3207, RFC 8314); raises ssl.SSLError or ConnectionError when there is none.

        The library's own STARTTLS command does the same with a reply of its own. What has come in clear and was
        not yet read is dropped with the session that began in clear.
        """
        context = self._door.context
        if context is None:
            raise ConnectionAbortedError("this listener has no certificate")
        if self._eof:  # TLS would wait for a handshake that cannot come
            self.flush()
            raise ConnectionAbortedError("the client has closed before the TLS handshake")
        self.flush()
        handshake = self.loop.create_future()
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        self._reader._maybe_resume_transport()  # type: ignore[attr-defined] # paused by too much of it
        self._tls_protocol = sslproto.SSLProtocol(
            self.loop, self, context, handshake, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S
        )
        self._original_transport = self.transport
        self._original_transport.set_protocol(self._tls_protocol)
        self.transport = self._tls_protocol._app_transport
        self._tls_protocol.connection_made(self._original_transport)
        _feed(self._tls_protocol, self._early_tls)
        self._early_tls = b""
        await handshake
        self.dialogue.encrypted()


def _room_for(command: bytes) -> int:
    return AUTH_LINE_BYTES if command[:5].upper() == b"AUTH " else _COMMAND_BYTES


def _feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Hand bytes to a protocol as a transport would."""
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def _line(reply: Reply) -> bytes:
    return f"{reply}\r\n".encode("ascii", "replace")
