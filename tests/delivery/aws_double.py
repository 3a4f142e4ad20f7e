"""A server on loopback that hears HTTP requests as they come and answers whatever a test wants, right or wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoint, ApiEndpoints, Operation, Question
from relay.aws.exchange import Exchange
from relay.delivery.ses_api import SesApi
from relay.model import Parcel
from relay.settings.model import CredentialSource

MESSAGE_ID = "0100017a2b3c4d5e-01234567-89ab-cdef-0123-456789abcdef-000000"
V1_OK = (
    '<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><SendRawEmailResult>'
    f"<MessageId>{MESSAGE_ID}</MessageId></SendRawEmailResult><ResponseMetadata><RequestId>r</RequestId>"
    "</ResponseMetadata></SendRawEmailResponse>"
)
V2_OK = f'{{"MessageId":"{MESSAGE_ID}"}}'
WHEN = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
KEYS = CredentialSource(
    "default", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalr/bPxRfi"
)  # AWS's sample


def error_xml(code: str, message: str) -> str:
    """An error document of the Query API."""
    return (
        '<ErrorResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )


def http(status: str, body: str, *headers: str, length: int | None = None) -> bytes:
    """A response; `length` lies about the body's."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass(frozen=True)
class Heard:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def fields(self) -> dict[str, str]:
        """The parameters of the Query API; latin-1, so that nothing is lost."""
        pairs = parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, encoding="latin-1")
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


Plan = Callable[["Double", asyncio.StreamWriter], Awaitable[bool]]


@dataclass
class Double:
    """What the server heard, and what it does with a head and with a whole request; both return "go on"."""

    on_request: Plan
    on_head: Plan
    keep_body: bool = True
    url: str = ""
    heads: int = 0
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.writers.append(writer)
        task = asyncio.current_task()
        assert task
        self.tasks.append(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.closed.release()

    async def ended(self) -> None:
        """Wait until every connection has been done with."""
        await asyncio.gather(*self.tasks)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        self.heads += 1
        if not await self.on_head(self, writer):
            return False
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in fields.items()}
        assert len(headers) == len([line for line in head[1:] if line])
        body = await self._body(reader, int(headers.get("content-length", "0")))
        method, target, _ = head[0].split()
        self.heard.append(Heard(target, headers, body, method))
        return await self.on_request(self, writer)

    async def _body(self, reader: asyncio.StreamReader, left: int) -> bytes:
        kept = []
        while left:
            part = await reader.readexactly(min(left, 65536))
            left -= len(part)
            if self.keep_body:
                kept.append(part)
        return b"".join(kept)


def answer(raw: bytes, *, then_close: bool = False) -> Plan:
    """Answer with these bytes."""

    async def plan(_: Double, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        await writer.drain()
        return not then_close

    return plan


def in_turn(*answers: bytes) -> Plan:
    """Answer with each of these once, then for ever with the last."""
    left = list(answers)

    async def plan(double: Double, writer: asyncio.StreamWriter) -> bool:
        return await answer(left.pop(0) if len(left) > 1 else left[0])(double, writer)

    return plan


async def go_on(_: Double, __: asyncio.StreamWriter) -> bool:
    """Nothing yet: read the body."""
    return True


async def drop(_: Double, writer: asyncio.StreamWriter) -> bool:
    """Reset the connection."""
    writer.transport.abort()
    return False


async def hang_up(_: Double, __: asyncio.StreamWriter) -> bool:
    """Close the connection in good order."""
    return False


async def silence(double: Double, _: asyncio.StreamWriter) -> bool:
    """Say nothing until the test is over."""
    await double.released.wait()
    return False


@asynccontextmanager
async def aws_double(
    on_request: Plan | None = None,
    *,
    on_head: Plan = go_on,
    tls: ssl.SSLContext | None = None,
    keep_body: bool = True,
    name: str = "127.0.0.1",
) -> AsyncIterator[Double]:
    """A running server; by default SES that is content with everything."""
    double = Double(on_request or answer(http("200 OK", V1_OK)), on_head, keep_body)
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    double.url = f"https://localhost:{port}" if tls else f"http://{name}:{port}"
    try:
        yield double
    finally:
        double.released.set()
        server.close()
        for writer in double.writers:
            writer.transport.abort()
        await double.ended()
        await server.wait_closed()


def parcel(*content: bytes, **changes: object) -> Parcel:
    """A parcel to send."""
    fields: dict[str, object] = {
        "id": "p1",
        "identity": "example.com",
        "region": "us-west-2",
        "transport": "api",
        "credentials": "default",
        "sender": "a@example.com",
        "recipients": ("b@example.net",),
        "content": content or (b"From: a@example.com\r\n", b"\r\nHello\r\n"),
        "return_path_arn": "arn:aws:ses:us-west-2:123456789012:identity/example.com",
    }
    return Parcel(**(fields | changes))  # type: ignore[arg-type]  # a dict of mixed values


class Here(ApiEndpoints):
    """The double's address, without asking botocore, which takes longer than all the rest of a test."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url

    async def find(self, operation: Operation | Question, region: str) -> ApiEndpoint:
        path = "/v2/email/outbound-emails" if operation == "SendEmail" else "/"
        return ApiEndpoint(self._url + path, self._url.partition("//")[2], path)


@asynccontextmanager
async def ses_api(
    where: str | ApiEndpoints,
    *,
    keys: CredentialSource = KEYS,
    timeout_s: float = 5.0,
    final_s: float = 5.0,
    trust: Callable[[], ssl.SSLContext] = lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
) -> AsyncIterator[SesApi]:
    """A transport to a URL, or to what botocore finds; closed at the end."""
    exchange = Exchange(timeout_s, user_agent="ses-relay/test", final_s=final_s, trust=trust)
    api = SesApi(
        CredentialBook({"default": keys}),
        Here(where) if isinstance(where, str) else where,
        timeout_s=timeout_s,
        mode="auto",
        clock=lambda: WHEN,
        exchange=exchange,
    )
    try:
        yield api
    finally:
        await api.close()
