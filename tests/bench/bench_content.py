"""What the content of a message costs: milliseconds of CPU to receive (collect and unstuff), check and strip it.

    python tests/bench/bench_content.py [ROUNDS]

`receive` is the collector fed with chunks of 64 KiB, `check` the search for stray line ends, `strip` all else of
`finish`, `total` the whole way; the best of the rounds. The aim: 10 MB of lines within 35 ms, 32 MB of blank
lines within 1000 ms, 39 MB of nothing but bare CR or LF within 400 ms, since nobody else is served meanwhile.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from relay.arn import parse_identity_arn
from relay.model import Buffer, Client, Identity
from relay.policy.admission import ClientRule
from relay.policy.content import has_stray
from relay.policy.headers import HeaderRules, Message, Stamp, finish
from relay.policy.routing import Router
from relay.smtp.collector import Collector

MB = 1_000_000
CHUNK = 64 * 1024
HEADER = (
    b"Received: from app by host\r\n\twith SMTP; Fri, 20 Nov 2026 12:00:00 +0000\r\n"
    b"From: App <app@example.com>\r\nTo: somebody@example.net\r\nBcc: other@example.net\r\nSubject: invoice\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
TEXT = b"Far out in the uncharted backwaters of the unfashionable end of the town, 76" + b"\r\n"
ARN = parse_identity_arn("arn:aws:ses:us-west-2:123456789012:identity/example.com")
IDENTITY = Identity("example.com", ("@example.com",), ARN, ARN, ARN, "us-west-2")
ROUTER = Router([IDENTITY])
RULE = ClientRule.of("local")
CLIENT = Client("session", "127.0.0.1", "local")
RULES = HeaderRules(
    normalize=True,
    add_missing=True,
    strip=frozenset({"bcc", "return-path", "sender"}),
    received="minimal",
    header_bytes=100_000,
    hops=50,
    hostname="relay.example.com",
)
STAMP = Stamp("id", datetime(2026, 11, 20, tzinfo=UTC), "token")


def repeated(line: bytes, size: int) -> bytes:
    """A message on the wire: a header, `size` bytes of one line, the end of data."""
    return HEADER + line * (size // len(line)) + b"\r\n.\r\n"


MESSAGES = {
    "1 KB": repeated(TEXT, 700),
    "10 MB of text lines": repeated(TEXT, 10 * MB),
    "10 MB, every line stuffed": repeated(b"." + TEXT, 10 * MB),
    "10 MB with bare LF": repeated(TEXT.replace(b"\r", b""), 10 * MB),
    "39 MB of bare CR": repeated(b"\r", 39 * MB),
    "39 MB of bare LF": repeated(b"\n", 39 * MB),
    "32 MB of blank lines": repeated(b"\r\n", 32 * MB),
    "32 MB of blank lines, stuffed": repeated(b"..\r\n", 32 * MB),
}


def receive(chunks: list[bytes]) -> Buffer:
    """Collect a message that arrives in chunks."""
    collector = Collector(40 * MB)
    for chunk in chunks:
        collector.feed(chunk)
    return collector.content


def strip(content: Buffer) -> Message:
    """Finish a message."""
    return finish(content, "app@example.com", IDENTITY, ROUTER, RULE, CLIENT, RULES, STAMP)


def best(work: Callable[[], object], rounds: int) -> float:
    """Milliseconds of CPU of the fastest round."""
    samples = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        samples.append(time.process_time() - start)
    return min(samples) * 1000


def main(rounds: int) -> None:
    """Print a table."""
    print(f"{'CPU ms':32}{'receive':>10}{'check':>10}{'strip':>10}{'total':>10}")
    for name, wire in MESSAGES.items():
        chunks = [wire[at : at + CHUNK] for at in range(0, len(wire), CHUNK)]
        content = receive(chunks)
        received = best(partial(receive, chunks), rounds)
        checked = best(partial(has_stray, content), rounds)
        finished = best(partial(strip, content), rounds)
        stripped, total = max(finished - checked, 0), received + finished
        print(f"{name:32}{received:10.3f}{checked:10.3f}{stripped:10.3f}{total:10.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
