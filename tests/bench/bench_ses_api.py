"""What a SendRawEmail costs in CPU: `python tests/bench/bench_ses_api.py [calls]`.

The server answers from another process, always the same, so that only the sender is measured. Prints a line per
case: CPU milliseconds per call (user and system, of this process), and calls per second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints
from relay.delivery.ses_api import SesApi
from relay.model import Delivered, Parcel
from relay.settings.model import CredentialSource

ANSWER = (
    b'<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><SendRawEmailResult><MessageId>'
    b"0100017a2b3c4d5e-01234567-89ab-cdef-0123-456789abcdef-000000</MessageId></SendRawEmailResult>"
    b"<ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>"
    b"</SendRawEmailResponse>"
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 01234567-89ab-cdef-0123-456789abcdef\r\nContent-Type: text/xml\r\n"
    b"Content-Length: %d\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\n\r\n%s" % (len(ANSWER), ANSWER)
)
# name, bytes, parallel, how many times fewer calls
CASES = [("2 KB x1", 2_000, 1, 1), ("2 KB x16", 2_000, 16, 1), ("1 MB x1", 10**6, 1, 20), ("1 MB x16", 10**6, 16, 20)]


class Canned(asyncio.Protocol):
    """Answers each complete request with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.head, self.left = b"", 0

    def data_received(self, data: bytes) -> None:
        if not self.left:
            self.head += data
            head, found, body = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self.left, data, self.head = int(length.partition(b":")[2]), body, b""
        self.left -= len(data)
        if not self.left:
            self.transport.write(REPLY)  # type: ignore[attr-defined]  # asyncio's callback has the wider type


def serve(listening: socket.socket) -> None:
    """The other process."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Canned, sock=listening)
        await server.serve_forever()

    uvloop.run(forever())


def parcel(size: int) -> Parcel:
    """A message of about `size` bytes of text, in the pieces that the relay makes."""
    block = b"X-SES-SOURCE-ARN: arn:aws:ses:us-east-1:123456789012:identity/example.com\r\n" * 3
    body = b"From: a@example.com\r\nSubject: bench\r\n\r\n" + b"The quick brown fox jumps over the dog.\r\n" * (
        size // 41
    )
    return Parcel(
        id="bench", identity="example.com", region="us-east-1", transport="api", credentials="default",
        sender="a@example.com", recipients=("b@example.net",), content=(block, body), return_path_arn="-",
    )  # fmt: skip


async def measure(api: SesApi, mail: Parcel, calls: int, parallel: int) -> tuple[float, float]:
    """CPU seconds and elapsed seconds for each call."""

    async def some(count: int) -> None:
        for _ in range(count):
            outcome = await api.send(mail)
            if not isinstance(outcome, Delivered):
                raise SystemExit(f"not delivered: {outcome}")

    await asyncio.gather(*(some(3) for _ in range(parallel)))
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(some(calls // parallel) for _ in range(parallel)))
    done = calls // parallel * parallel
    return (time.process_time() - cpu) / done, (time.perf_counter() - wall) / done


async def run(url: str, calls: int) -> None:
    """All cases against one server."""
    source = CredentialSource("default", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="secret")
    for name, size, parallel, less in CASES:
        api = SesApi(
            CredentialBook({"default": source}), ApiEndpoints(url),
            timeout_s=30, mode="auto", clock=lambda: datetime.now(UTC),
        )  # fmt: skip
        results = sorted([await measure(api, parcel(size), calls // less, parallel) for _ in range(5)])
        cpu, wall = results[2]
        print(f"ses_api  {name:9} {cpu * 1000:7.3f} ms CPU per call, {1 / wall:8.0f} calls/s")
        await api.close()


def main() -> None:
    """Start the server, measure, stop it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,), daemon=True)
    server.start()
    os.environ["NO_PROXY"] = "127.0.0.1"
    try:
        calls = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
        uvloop.run(run(f"http://127.0.0.1:{listening.getsockname()[1]}/", calls))
    finally:
        server.terminate()
        server.join()
        listening.close()


if __name__ == "__main__":
    main()
