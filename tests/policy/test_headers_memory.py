"""What a hostile message costs from its first byte until it is ready to send: memory, never time."""

import tracemalloc
from collections.abc import Callable

import pytest
from surgery import ADDING, FROM, surgery

from relay.errors import Rejection
from relay.policy.headers import Message
from relay.replies import HEADERS_TOO_BIG
from relay.smtp.collector import Collector

MB = 1_000_000
CHUNK = 64 * 1024


def received(start: bytes, line: bytes, size: int, limit: int = 40 * MB) -> Collector:
    """Collect a message of `size` bytes that repeats one line, without ever holding the whole wire form."""
    collector = Collector(limit)
    chunk = line * (CHUNK // len(line))
    collector.feed(start)
    for _ in range(size // len(chunk)):
        assert collector.feed(chunk) is None
    assert collector.feed(b"\r\n.\r\n") == b""
    return collector


def peak(work: Callable[[], Message]) -> tuple[int, Message]:
    """The most memory that `work` held at once, in bytes."""
    tracemalloc.start()
    try:
        message = work()
        return tracemalloc.get_traced_memory()[1], message
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"", b"\r\n"),
        (FROM + b"Bcc: a\r\n\r\n", b"\r\n"),
        (FROM + b"\r\n", b"..\r\n"),
        (FROM + b"\r\n", b"line\r\n"),
    ],
    ids=["blank lines", "blank lines below a header", "dots", "short lines"],
)
def test_a_message_is_held_once(start: bytes, line: bytes) -> None:
    """Receive, check, strip, ready to send: far from three times 32 MB, because the body is never copied."""
    used, message = peak(lambda: surgery(received(start, line, 32 * MB).content, rules=ADDING))

    assert message.size > 23 * MB
    assert used < 1.3 * 32 * MB


def test_normalizing_holds_the_message_and_its_copy() -> None:
    """8 MB of bare LF become 16 MB: those, the original and little else."""
    used, message = peak(lambda: surgery(received(FROM + b"\r\n", b"\n", 8 * MB).content, rules=ADDING))

    assert message.size > 15 * MB
    assert used < 1.3 * (8 + 16) * MB


def test_one_endless_header_line_is_refused_without_a_copy() -> None:
    """32 MB that begin as a field and never end: the section's bound decides, not its size."""
    content = received(b"Subject: ", b"x", 32 * MB).content
    tracemalloc.start()
    try:
        with pytest.raises(Rejection) as refused:
            surgery(content, rules=ADDING)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert refused.value.reply == HEADERS_TOO_BIG
    assert used < MB
