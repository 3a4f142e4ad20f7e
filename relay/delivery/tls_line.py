"""A connection that carries TLS and nothing else: to a host, or through an HTTP proxy to it.

Owns one socket, CONNECT (RFC 9110 section 9.3.6) and the handshake. Guarantees a bounded answer of the proxy, and
that certificate and name are verified as the given context says. Nothing is asked of the host. Works on asyncio's own
loop and on uvloop; its user sets the time limit.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from typing import Final, cast
from urllib.parse import SplitResult, unquote

from relay.delivery.smtp_wire import Broken
from relay.policy.outcomes import Trouble

_HEAD_BYTES: Final = 16_384
_END: Final = b"\r\n\r\n"


class Line(asyncio.Protocol):
    """The connection; made by whoever opens the socket, ended by `close` or `abort`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = bytearray()
        self._news = asyncio.Event()
        self._gone = self._loop.create_future()
        self._transport: asyncio.Transport
        self._tcp: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected."""
        self._transport = self._tcp = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something is said; what is too much ends it."""
        self._heard += data
        if len(self._heard) > _HEAD_BYTES:
            self.abort()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        del exc
        if not self._gone.done():
            self._gone.set_result(None)
        self._news.set()

    async def tunnel(self, proxy: SplitResult, host: str, port: int) -> None:
        """Have the proxy, to which this is connected, connect us to the host. Raises Broken."""
        self._transport.write(_connect_request(proxy, host, port))
        while _END not in self._heard:
            if self._gone.done() or self._tcp.is_closing():
                raise Broken(Trouble.PROXY, "the proxy closed the connection")
            self._news.clear()
            await self._news.wait()
        head, _, more = bytes(self._heard).partition(_END)
        status = head.partition(b"\r\n")[0]
        if status.split(b" ")[1:2] != [b"200"]:
            raise Broken(Trouble.PROXY, f"the proxy refused: {status[:100].decode('ascii', 'backslashreplace')}")
        if more:
            raise Broken(Trouble.PROXY, "the proxy said more than it was asked")
        self._heard.clear()

    async def start_tls(self, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
        """Begin TLS and verify that the other side is `host`. Raises Broken."""
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context,
                server_hostname=host, ssl_handshake_timeout=timeout_s, ssl_shutdown_timeout=timeout_s,
            )  # fmt: skip
        except OSError as error:  # of which ssl.SSLError and TimeoutError are kinds
            raise Broken(Trouble.TLS, str(error) or type(error).__name__) from error
        if transport is None:
            raise Broken(Trouble.TLS, "the connection was lost in the TLS handshake")
        self._transport = transport

    async def close(self, deadline_s: float) -> None:
        """End TLS and the connection in order, or within `deadline_s` in any case."""
        self._transport.close()
        await asyncio.wait([self._gone], timeout=deadline_s)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._tcp.abort()


def _connect_request(proxy: SplitResult, host: str, port: int) -> bytes:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode("latin-1")  # as aiohttp has it
        head += f"Proxy-Authorization: Basic {b64encode(login).decode()}\r\n"
    return f"{head}\r\n".encode("ascii")
