"""One request and its answer, over pooled connections: all that the relay knows of HTTP towards AWS.

Owns the aiohttp session, time limits and proxies. Guarantees one attempt per call (aiohttp repeats nothing but
idempotent methods on its own), no redirects, no cookies, a bounded answer, and that a failure says whether the
whole body had been handed to the network. If it had, SES may have the message and the answer is *lost*; that
includes a pooled connection that the server closed just as we wrote, for which RFC 9110 section 9.2.2 permits no
guess. Idle connections are therefore given up early, before servers do. If it had not, SES cannot have verified
the signature, which covers the whole body, and nothing was sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from yarl import URL

from relay.aws.endpoints import ApiEndpoint
from relay.aws.trust import tls_context
from relay.policy.outcomes import Trouble

ANSWER_BYTES: Final = 65_536
FINAL_S: Final = 60.0  # what the answer to a complete request may take beyond the time without progress
IDLE_S: Final = 10.0
BREATH: Final = 8  # blocks written or hashed before others get the event loop, about a millisecond
_AT_ONCE: Final = 65_536  # aiohttp buffers up to here without waiting for the network

# First match decides; whatever else breaks before the body is complete has lost a connection
_TROUBLES: Final[tuple[tuple[type[Exception], Trouble], ...]] = (
    (aiohttp.ClientConnectorDNSError, Trouble.DNS),
    (aiohttp.ClientProxyConnectionError, Trouble.PROXY),
    (aiohttp.ClientHttpProxyError, Trouble.PROXY),
    (aiohttp.ClientSSLError, Trouble.TLS),
    (ssl.SSLError, Trouble.TLS),
    (TimeoutError, Trouble.TIMEOUT_BEFORE_SENT),
    (aiohttp.ClientConnectorError, Trouble.CONNECT),
    (aiohttp.ClientError, Trouble.STALE),
    (OSError, Trouble.STALE),
)


class NoAnswer(Exception):
    """The exchange broke; `trouble` says how far it had come, `detail` is for the log."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble, self.detail = trouble, detail


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, its body at most ANSWER_BYTES and, if longer, cut; `date` is the server's clock, or ""."""

    status: int
    error_type: str
    content_type: str
    body: bytes
    date: str = ""


class Body(aiohttp.Payload):
    """A request body in blocks that knows whether all of it has been handed to the network.

    Args:
        blocks: gives the blocks, of together `size` bytes.
        size: the Content-Length.
    """

    _autoclose = True  # nothing to close

    def __init__(self, blocks: Callable[[], Iterable[bytes]], size: int) -> None:
        super().__init__(None)
        self._blocks, self._bytes = blocks, size
        self._size = size  # aiohttp's name, for Content-Length
        self.patience_s: float | None = None
        self.sent = False
        self.when_sent: Callable[[], None] = lambda: None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text; aiohttp asks for it only in its own logs."""
        return b"".join(self._blocks()).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the blocks to the network; each must make room for the next in time."""
        left = self._bytes
        for count, block in enumerate(self._blocks(), 1):
            left -= len(block)
            if _is_closed(writer):
                raise aiohttp.ClientConnectionResetError("the server has closed the connection")
            self.sent = left <= 0
            if self._bytes < _AT_ONCE:
                await writer.write(block)
            else:
                async with asyncio.timeout(self.patience_s):
                    await writer.write(block)
            if count % BREATH == 0:
                await asyncio.sleep(0)
        self.when_sent()


def _is_closed(writer: AbstractStreamWriter) -> bool:
    transport = writer.transport if isinstance(writer, StreamWriter) else None
    return transport is None or transport.is_closing()


class Exchange:
    """A pool of connections to AWS; made in an event loop or before it, used in one.

    Args:
        timeout_s: seconds without progress.
        final_s: how much longer the answer may take.
        trust: makes the TLS context; called once, in a thread.
        user_agent: what we call ourselves.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        user_agent: str,
        final_s: float = FINAL_S,
        trust: Callable[[], ssl.SSLContext] = tls_context,
    ) -> None:
        self._timeout_s, self._answer_s, self._trust = timeout_s, timeout_s + final_s, trust
        self._constant = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def post(self, endpoint: ApiEndpoint, headers: Iterable[tuple[str, str]], body: Body) -> Answer:
        """Send the body, once. Raises NoAnswer."""
        body.patience_s = self._timeout_s
        return await self._exchange("POST", endpoint, headers, body)

    async def get(self, endpoint: ApiEndpoint, headers: Iterable[tuple[str, str]]) -> Answer:
        """Ask for something. Raises NoAnswer."""
        return await self._exchange("GET", endpoint, headers, None)

    async def _exchange(
        self, method: str, endpoint: ApiEndpoint, headers: Iterable[tuple[str, str]], body: Body | None
    ) -> Answer:
        session = self._session or await self._open()
        response = None
        try:
            async with asyncio.timeout(None) as limit:  # for an answer that trickles in, line by line
                if body is not None:
                    now = asyncio.get_running_loop().time
                    body.when_sent = lambda: limit.reschedule(now() + self._answer_s)
                response = await session.request(
                    method,
                    parsed(endpoint.url),
                    data=body,
                    headers=headers,
                    proxy=endpoint.proxy,
                    allow_redirects=False,
                )
                return await self._read(response)
        except Exception as error:
            raise NoAnswer(_trouble(error, body), _describe(error)) from error
        finally:
            if response is not None:
                response.close()  # back to the pool it went by itself if all of the answer was read

    async def close(self) -> None:
        """Close idle connections; exchanges under way break."""
        if self._session:
            await self._session.close()

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                try:
                    trust = await asyncio.to_thread(self._trust)
                except Exception as error:  # whatever is wrong with the bundle: no trust, no call
                    raise NoAnswer(Trouble.TLS, f"certificate authorities: {error}") from error
                self._session = self._new_session(trust)
        return self._session

    def _new_session(self, trust: ssl.SSLContext) -> aiohttp.ClientSession:
        # How much is sent at once is the caller's to decide, so the pool has no limit of its own
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=trust, limit=0, keepalive_timeout=IDLE_S, resolver=aiohttp.ThreadedResolver()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._constant,
            timeout=aiohttp.ClientTimeout(connect=self._timeout_s, sock_read=self._answer_s),
        )

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        content, get = response.content, response.headers.get
        if content.is_eof():  # small answers come in one packet
            body = content.read_nowait(ANSWER_BYTES)
        else:
            async with asyncio.timeout(self._answer_s):
                body = await _at_most(content, ANSWER_BYTES)
        return Answer(response.status, get("x-amzn-errortype", ""), get("Content-Type", ""), body, get("Date", ""))


async def _at_most(content: aiohttp.StreamReader, limit: int) -> bytes:
    parts, size = [], 0
    while size < limit and (part := await content.readany()):
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:limit]


@lru_cache(maxsize=256)
def parsed(url: str) -> URL:
    """The URL as aiohttp wants it, what is escaped in it left so, since the signature covers it."""
    return URL(url, encoded="%" in url)


def _trouble(error: Exception, body: Body | None) -> Trouble:
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return Trouble.NOT_AWS  # what came back is no HTTP
    if body is not None and body.sent:
        return Trouble.LOST_ANSWER
    return next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), Trouble.OUR_FAULT)


def _describe(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):  # its own text shows the proxy's URL, password and all
        return f"{type(error).__name__}: {error.status} {error.message}"
    return f"{type(error).__name__}: {error}"
