"""The DATA collector: one end of data, dots unstuffed, any chunking, bounded memory."""

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.smtp.collector import Collector

MIB = 1 << 20
PLENTY = 100 * MIB

# What other servers have taken for an end of data, or been talked into.
NOT_AN_END = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n. \r\n",
    b"\r\n..\r\n",
]

wires = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\0", b"a", b"text", *NOT_AN_END])
).map(b"".join)


def reference(wire: bytes) -> tuple[bytes, bytes] | None:
    """The rule as RFC 5321 states it, line by line: (content, leftover), or None while the end is missing."""
    *lines, rest = wire.split(b"\r\n")
    if b"." not in lines:
        return None
    end = lines.index(b".")
    content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    return content, b"\r\n".join([*lines[end + 1 :], rest])


def collect(chunks: Iterable[bytes], limit: int = PLENTY) -> tuple[Collector, bytes | None]:
    """Feed chunks until the end; what comes after the chunk with the end belongs to the leftover."""
    collector, leftover = Collector(limit), None
    for chunk in chunks:
        if leftover is None:
            leftover = collector.feed(chunk)
        else:
            leftover += chunk
    return collector, leftover


def cut(wire: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """Cut at these offsets; some chunks may be empty."""
    start = 0
    for place in sorted(min(place, len(wire)) for place in places):
        yield wire[start:place]
        start = place
    yield wire[start:]


@given(wires, st.lists(st.integers(0, 60)))
@example(b".\r\n", [])
@example(b"\r\n.\r\n", [1, 2, 3, 4])
def test_any_chunking_gives_what_the_reference_gives(wire: bytes, places: list[int]) -> None:
    """Content, leftover, the missing end and the count of bytes depend on the bytes alone."""
    collector, leftover = collect(cut(wire, places))
    expected = reference(wire)

    assert leftover == (expected and expected[1])
    if expected:
        assert bytes(collector.content) == expected[0]
        assert collector.received == len(wire) - len(expected[1])


@given(wires, st.integers(0, 40), st.lists(st.integers(0, 60)))
def test_the_limit_counts_unstuffed_bytes_at_any_chunking(wire: bytes, limit: int, places: list[int]) -> None:
    """A message is oversize exactly if its content is longer than the limit, and its true end is found still."""
    collector, leftover = collect(cut(wire, places), limit)
    expected = reference(wire)

    assert leftover == (expected and expected[1])
    if expected:
        assert collector.oversize == (len(expected[0]) > limit)
        assert bytes(collector.content) == (b"" if collector.oversize else expected[0])


@pytest.mark.parametrize("variant", NOT_AN_END, ids=repr)
def test_only_crlf_dot_crlf_ends_a_message(variant: bytes) -> None:
    """What is nearly an end stays content, wherever the chunks are split, also at the very beginning."""
    for wire in (b"a" + variant + b"MAIL FROM:<x>\r\n.\r\nQUIT\r\n", variant + b"\r\n.\r\n", b"a\r\n" + variant):
        for first in range(len(wire) + 1):
            for second in range(first, len(wire) + 1):
                collector, leftover = collect(cut(wire, [first, second]))
                expected = reference(wire)
                assert leftover == (expected and expected[1])
                assert expected is None or bytes(collector.content) == expected[0]


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"a\r\n..\r\n..b\r\n.c\r\n.\r\n", b"a\r\n.\r\n.b\r\nc\r\n"),
        (b"a\n..b\r..c\r\n.\r\n", b"a\n..b\r..c\r\n"),
        (b"a..\r\n.\r\n", b"a..\r\n"),
        (b"\xff\0\r\n.\r\n", b"\xff\0\r\n"),
    ],
    ids=repr,
)
def test_dots(wire: bytes, content: bytes) -> None:
    """One leading dot of each CRLF-delimited line goes, doubled or not; all other bytes stay."""
    for size in (1, 2, 3, len(wire)):
        collector, leftover = collect(wire[at : at + size] for at in range(0, len(wire), size))
        assert leftover == b""
        assert bytes(collector.content) == content


def test_pipelined_commands_are_left_over() -> None:
    """What follows the end belongs to the dialogue, byte for byte, and is not counted as received."""
    collector, leftover = collect([b"a\r\n.\r\nMAIL FROM:<b@c.example>\r\n.\r\n"])

    assert leftover == b"MAIL FROM:<b@c.example>\r\n.\r\n"
    assert collector.received == len(b"a\r\n.\r\n")


def test_a_message_of_exactly_the_limit_is_taken() -> None:
    """The limit is a number of content bytes, not of wire bytes; one more is too many."""
    taken, _ = collect([b"..23456", b"\r\n.\r", b"\n"], limit=8)
    refused, _ = collect([b"..234567", b"\r\n.\r", b"\n"], limit=8)

    assert (bytes(taken.content), taken.oversize) == (b".23456\r\n", False)
    assert (bytes(refused.content), refused.oversize) == (b"", True)


def test_an_oversized_message_holds_no_memory_while_it_drains() -> None:
    """200 MiB without any CRLF: memory stays within the limit, and next to nothing is held after it."""
    limit, chunk = 4 * MIB, b"x" * (256 * 1024)
    collector = Collector(limit)
    tracemalloc.start()
    try:
        for _ in range(200 * MIB // len(chunk)):
            assert collector.feed(chunk) is None
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert collector.feed(b"\r\n.\r\nRSET\r\n") == b"RSET\r\n"
    assert collector.oversize
    assert collector.received == 200 * MIB + 5
    assert held < len(chunk)
    assert peak < limit * 1.5


def test_ends_that_trickle_in_are_found() -> None:
    """One byte at a time, with everything that looks like an end on the way."""
    body = b"".join(b"line" + variant for variant in NOT_AN_END)
    wire = body + b"\r\n.\r\n"
    collector, leftover = collect(wire[at : at + 1] for at in range(len(wire)))

    assert leftover == b""
    assert (bytes(collector.content), b"") == reference(wire)
