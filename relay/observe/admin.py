"""The admin endpoint: health, readiness, metrics, and a status page, over HTTP.

Owns its sockets and a look at the event loop's lag. Read-only: GET and HEAD, no CORS, nothing changes by a
request. Guarantees bounds whatever is sent: one request per connection, which ends after `LONGEST_S`, at most
`CONNECTIONS` of them, small headers, and no body is read. Refuses to know what readiness means: it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from relay.observe import loop_lag
from relay.observe.metrics import Metrics
from relay.observe.status_page import page
from relay.settings.addresses import TcpAddress

CONNECTIONS = 64
LONGEST_S = 30.0
_HEADER_LINE = 4096  # bytes
_HEADER_LINES = 64
_STOP_S = 2.0

# aiohttp logs whatever it cannot parse, with a traceback: anybody's noise. Our own errors go to `report`.
_LIBRARY_LOG = logging.getLogger("relay.observe.admin")
_LIBRARY_LOG.setLevel(logging.CRITICAL)

_SAFE = {
    "Cache-Control": "no-store",
    "Server": "ses-relay",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Admin:
    """The endpoint of one relay; what it says comes from the callables, asked anew for each request.

    `ready` returns None when the relay would accept mail now, else why not. `status` is for people. `report`
    hears of our own errors. `upstream` finds out for each region in use whether SES takes mail there. `scraped` is
    told that the metrics are about to be read, and must not wait for anything.
    """

    def __init__(
        self,
        bind: TcpAddress,
        metrics: Metrics,
        *,
        ready: Callable[[], str | None],
        status: Callable[[], Mapping[str, object]],
        report: Callable[[Exception], None],
        upstream: Callable[[], Awaitable[Mapping[str, bool]]],
        scraped: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bind = bind
        self._metrics = metrics
        self._ready = ready
        self._upstream, self._scraped = upstream, scraped
        self._status = status
        self._report = report
        self._runner = web.AppRunner(
            self._application(), access_log=None, logger=_LIBRARY_LOG, shutdown_timeout=_STOP_S,
            lingering_time=0, auto_decompress=False,
            max_line_size=_HEADER_LINE, max_field_size=_HEADER_LINE, max_headers=_HEADER_LINES,
        )  # fmt: skip
        self._gate = _Gate(self._runner, now)
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> list[str]:
        """Listen; returns the addresses as host:port. Raises OSError when the address cannot be had."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for host in self._bind.hosts:
            try:
                self._servers.append(await loop.create_server(self._gate, host, self._bind.port, backlog=CONNECTIONS))
            except OSError:
                if not self._servers:  # with one it is `localhost` on a machine without IPv6
                    await self._runner.cleanup()
                    raise
        self._watch = loop.create_task(loop_lag.watch(self._tick), name="loop lag")
        names = (server.sockets[0].getsockname()[:2] for server in self._servers)
        return [str(TcpAddress(host, port)) for host, port in names]

    async def stop(self) -> None:
        """Close the sockets, let requests under way end within 2 s. Does nothing when it never started."""
        if self._watch is None:
            return
        for server in self._servers:
            server.close()
        self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await self._watch
        await self._runner.cleanup()
        for server in self._servers:
            await server.wait_closed()
        self._servers, self._watch = [], None

    def _tick(self, lag: float) -> None:
        self._metrics.loop_lag(lag)
        self._gate.close_old()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        application.on_response_prepare.append(_finish)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/", self._show_status)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the prober hears 500 and the log why
            self._report(error)
            return web.Response(status=500, text="internal error\n")

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        reason = self._ready()
        if reason is not None:
            return web.Response(status=503, text=f"{reason}\n")
        if request.query.get("upstream") != "1":
            return web.Response(text="ready\n")
        regions = await self._upstream()
        lines = [f"{region} {'up' if up else 'down'}\n" for region, up in sorted(regions.items())]
        return web.Response(status=200 if all(regions.values()) else 503, text="".join(lines) or "no region in use\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        self._scraped()
        # In a thread: a page of a thousand identities takes longer than a message may wait.
        body, content_type = await asyncio.to_thread(self._metrics.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _show_status(self, _: web.Request) -> web.Response:
        return web.Response(text=page(self._status()), content_type="text/html")


class _Gate:
    """Makes the protocol of each new connection: aiohttp's, or one that hangs up when there are too many."""

    def __init__(self, runner: web.AppRunner, now: Callable[[], float]) -> None:
        self._runner = runner
        self._now = now
        self._since: dict[asyncio.Protocol, float] = {}

    def __call__(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= CONNECTIONS:
            return _HangUp()
        handler = server()
        self._since[handler] = self._now()
        return handler

    def close_old(self) -> None:
        """Close what has been open for longer than any request takes: clients that never finish their headers."""
        server = self._runner.server
        live = server.connections if server is not None else []
        self._since = {handler: since for handler, since in self._since.items() if handler in live}
        oldest = self._now() - LONGEST_S
        for handler in live:
            if self._since.get(handler, oldest) < oldest:
                handler.force_close()


class _HangUp(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _finish(_: web.Request, response: web.StreamResponse) -> None:
    """On every response: nothing is cached, framed or guessed at, no version is told, and the connection ends."""
    response.headers.update(_SAFE)
    response.force_close()
