"""What a message by SMTP costs in CPU: `python tests/bench/bench_ses_smtp.py [messages]`.

The server answers from another process, over plain loopback, and throws away what it gets, so that only the
client is measured. Each case is measured against aiosmtplib, one connection per worker kept open. Prints a line
per case: CPU milliseconds per message (user and system, of this process), and messages per second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import time
from base64 import encodebytes
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from ssl import create_default_context

import aiosmtplib
import uvloop

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import SmtpEndpoint
from relay.delivery.ses_smtp import SesSmtp
from relay.model import Delivered, Parcel
from relay.settings.model import CredentialSource

Send = Callable[[], Awaitable[None]]

ANSWERS = {
    b"EHLO": b"250-sink\r\n250-8BITMIME\r\n250-SIZE 41943040\r\n250 AUTH PLAIN LOGIN",
    b"AUTH": b"235 Ok",
    b"DATA": b"354 Go",
    b"QUIT": b"221 Bye",
}
# name, bytes, workers, share of the messages
CASES = [
    ("2 KB x1", 2_000, 1, 1),
    ("2 KB x16", 2_000, 16, 1),
    ("1 MB x16", 1_000_000, 16, 20),
    ("10 MB x1", 10_000_000, 1, 200),
]


class Sink(asyncio.Protocol):
    """Answers every line, and the end of data."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.in_data, self.tail = False, b""
        self.say(b"220 sink")

    def say(self, text: bytes) -> None:
        self.transport.write(text + b"\r\n")  # type: ignore[attr-defined]  # asyncio's callback has the wider type

    def data_received(self, data: bytes) -> None:
        if self.in_data:
            self.tail = (self.tail + data)[-5:] if len(data) < 5 else data[-5:]
            if self.tail == b"\r\n.\r\n":
                self.in_data = False
                self.say(b"250 Ok 0107017033dbb64d-be13a01e-0000-000000")
            return
        for line in data.splitlines():
            verb = line[:4].upper()
            self.in_data, self.tail = verb == b"DATA", b""
            self.say(ANSWERS.get(verb, b"250 Ok"))


def serve(listening: socket.socket) -> None:
    """The other process."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, sock=listening)
        await server.serve_forever()

    uvloop.run(forever())


def message(size: int) -> bytes:
    """A message of about `size` bytes: a short text, and an attachment in base64."""
    text = b"The quick brown fox jumps over the lazy dog.\r\n" * 20
    return b"From: a@example.com\r\nSubject: bench\r\n\r\n" + text + _attachment(size - len(text))


def _attachment(size: int) -> bytes:
    return encodebytes(Random(1).randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")


async def ours(port: int, content: bytes, workers: int, stack: AsyncExitStack) -> list[Send]:
    """The transport, which makes its sessions itself."""
    source = CredentialSource("default", smtp_username="user", smtp_password="secret")
    ses = SesSmtp(
        CredentialBook({"default": source}), lambda _: SmtpEndpoint("127.0.0.1", port, "none"),
        timeout_s=30, concurrency=32, mode="auto", helo="relay.test", tls=create_default_context,
    )  # fmt: skip
    stack.push_async_callback(ses.close)
    block = b"X-SES-SOURCE-ARN: arn:aws:ses:us-east-1:123456789012:identity/example.com\r\n" * 3
    mail = Parcel(
        id="bench", identity="example.com", region="us-east-1", transport="smtp", credentials="default",
        sender="a@example.com", recipients=("b@example.net",), content=(block, content), return_path_arn="-",
    )  # fmt: skip

    async def send() -> None:
        outcome = await ses.send(mail)
        if not isinstance(outcome, Delivered):
            raise SystemExit(f"not delivered: {outcome}")

    return [send] * workers


async def theirs(port: int, content: bytes, workers: int, stack: AsyncExitStack) -> list[Send]:
    """A client of aiosmtplib for each worker."""
    clients = [aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(workers)]
    for client in clients:
        await client.connect()
        stack.push_async_callback(client.quit)

    async def send(client: aiosmtplib.SMTP) -> None:
        await client.sendmail("a@example.com", ["b@example.net"], content)

    return [partial(send, client) for client in clients]


async def measure(senders: list[Send], messages: int) -> tuple[float, float]:
    """CPU seconds and elapsed seconds for each message."""
    each = max(messages // len(senders), 2)

    async def some(send: Send, count: int) -> None:
        for _ in range(count):
            await send()

    await asyncio.gather(*(some(send, 2) for send in senders))
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(some(send, each) for send in senders))
    done = each * len(senders)
    return (time.process_time() - cpu) / done, (time.perf_counter() - wall) / done


async def run(port: int, messages: int) -> None:
    """All cases, the median of five."""
    for name, size, workers, less in CASES:
        for who, make in (("ses_smtp", ours), ("aiosmtplib", theirs)):
            async with AsyncExitStack() as stack:
                senders = await make(port, message(size), workers, stack)
                results = sorted([await measure(senders, messages // less) for _ in range(5)])
            cpu, wall = results[2]
            print(f"{who:11}{name:9} {cpu * 1000:7.3f} ms CPU per message, {1 / wall:8.0f} messages/s")


def main() -> None:
    """Start the server, measure, stop it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,), daemon=True)
    server.start()
    try:
        messages = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
        uvloop.run(run(listening.getsockname()[1], messages))
    finally:
        server.terminate()
        server.join()
        listening.close()


if __name__ == "__main__":
    main()
