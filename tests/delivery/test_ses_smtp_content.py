"""What goes over the wire after DATA is the content, and ends where the content ends, however it is cut."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sinks import sink
from smtp_parts import at, in_short, parcel, transport

from relay.delivery.dot_stuffing import StrayLineEnding, has_eight_bit, wire_form
from relay.model import Buffer, Deferred, Delivered

if TYPE_CHECKING:
    from collections.abc import Sequence

# What some servers take for the end of data, and others for content
SMUGGLING = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
]  # fmt: skip
LENIENT_END = re.compile(rb"[\r\n]\.[\r\n]")
SECOND = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n"

lines = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"a", b"\0.", b"\xff"]), max_size=12)
cuts = st.lists(st.integers(0, 60), max_size=6)


def pieces(data: bytes, cuts: list[int]) -> tuple[Buffer, ...]:
    """The data cut in pieces, of each kind of buffer in turn."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    kinds = itertools.cycle((bytes, bytearray, memoryview))
    return tuple(kind(data[start:end]) for kind, (start, end) in zip(kinds, itertools.pairwise(edges), strict=False))


def reference(data: bytes) -> bytes:
    """RFC 5321 section 4.5.2, line by line."""
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    stuffed = [b"." + line if line.startswith(b".") else line for line in data.split(b"\r\n")[:-1]]
    return b"".join(line + b"\r\n" for line in [*stuffed, b"."])


def received(wire: bytes) -> tuple[bytes, bytes]:
    """What a strict server takes for the content, and what it takes for the next command."""
    content, _, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    kept = [line[1:] if line.startswith(b".") else line for line in (content + b"\r\n").split(b"\r\n")[1:-1]]
    return b"".join(line + b"\r\n" for line in kept), rest


@given(lines, st.sampled_from([b"", b"x", b"."]), cuts, st.integers(1, 20))
@example([b"a", b"."], b"", [2], 20)  # the cut between CR and LF, then the dot
@example([b"a", b"."], b"", [1, 2, 3], 1)
@example([], b"", [], 1)
def test_any_cut_gives_the_reference(lines: list[bytes], end: bytes, cuts: list[int], chunk: int) -> None:
    """Pieces of any sort and chunks of any size stuff as the whole does; a strict server gets the content back."""
    data = b"".join(line + b"\r\n" for line in lines) + end

    wire = b"".join(wire_form(pieces(data, cuts), chunk))

    assert wire == reference(data)
    assert received(wire) == (data if data.endswith(b"\r\n") or not data else data + b"\r\n", b"")


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a"]), max_size=12).map(b"".join), cuts, st.integers(1, 9)
)
@example(b"x\ra\n", [], 2)  # as many of the one as of the other, on two sides of a cut
def test_stray_line_endings_never_reach_the_end(data: bytes, cuts: list[int], chunk: int) -> None:
    """Content with a CR or LF outside of a CRLF never ends, not even for the most lenient server; any other does."""
    sent = b""
    rest = data.replace(b"\r\n", b"")
    stray = b"\r" in rest or b"\n" in rest
    try:
        for each in wire_form(pieces(data, cuts), chunk):
            sent += each
    except StrayLineEnding:
        assert stray
        assert not LENIENT_END.search(b"\r\n" + sent)
        return

    assert not stray
    assert sent == reference(data)


def test_chunks_are_bounded_and_small_pieces_travel_together() -> None:
    """Large content goes in chunks of the size asked for; the header pieces share one with the body."""
    large = (b"From: a@b\r\n", bytearray(b"Subject: x\r\n\r\n"), memoryview(b"x" * 998 + b"\r\n"), b"y" * 10_000)

    sizes = [len(chunk) for chunk in wire_form(large, 4096)]

    assert sizes[:2] == [4096, 4096]
    assert max(sizes) <= 4096 + len(b"\r\n.\r\n")
    assert len(list(wire_form(large))) == 1


@given(st.binary(max_size=50), cuts)
def test_eight_bit_is_found_in_any_piece(data: bytes, cuts: list[int]) -> None:
    """BODY=8BITMIME depends on the bytes, not on how they are cut."""
    assert has_eight_bit(pieces(data, cuts)) is not data.isascii()


@pytest.mark.parametrize("variant", SMUGGLING, ids=repr)
@pytest.mark.parametrize("cut", ["whole", "every byte"])
async def test_nothing_is_smuggled(variant: bytes, cut: str) -> None:
    """A real server sees exactly one message with exactly that content, or the send is refused and it sees none."""
    content = b"From: app@example.com\r\n\r\nHello" + variant + SECOND
    parts: Sequence[Buffer] = [content] if cut == "whole" else [bytes([byte]) for byte in content]
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel(parts))

    if isinstance(outcome, Delivered):
        assert [(m.content, m.recipients) for m in upstream.messages] == [(content, ("a@example.org",))]
        assert b"\0" in variant
    else:
        assert in_short(outcome) == "Deferred 451 4.3.0 our_fault"
        assert upstream.messages == []
        assert "DATA" not in upstream.commands


async def test_a_stray_line_ending_behind_the_first_chunk_stops_the_message() -> None:
    """Content that is found out only while it is sent is cut off before the final dot: nobody takes it."""
    content = b"From: app@example.com\r\n\r\n" + (b"x" * 70 + b"\r\n") * 10_000 + b"\n.\r\n" + SECOND
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel(content))
        after = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.3.0 our_fault"
    assert isinstance(after, Delivered)
    assert len(upstream.messages) == 1
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "address",
    [
        "a@b>\r\nRCPT TO:<c@d",
        "a@b\nRSET",
        "a@b> NOTIFY=NEVER",
        "a b@c",
        "\N{LATIN SMALL LETTER A WITH DIAERESIS}@b",
        "a\0@b",
        "<a@b>",
        '"a@b',
        '"a\r\n"@b',
        "a\x7f@b",
        '"a"b" c@d',
    ],
)
async def test_addresses_that_are_commands_are_not_said(address: str) -> None:
    """An address that would end the command or add a parameter to it is our fault, and never written."""
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        as_sender = await ses.send(parcel(sender=address))
        as_recipient = await ses.send(parcel(recipients=["a@example.org", address]))

    assert [in_short(as_sender), in_short(as_recipient)] == ["Deferred 451 4.3.0 our_fault"] * 2
    assert "MAIL" not in upstream.commands


@pytest.mark.parametrize("recipients", [[], [""]])
async def test_a_parcel_for_nobody_is_our_fault(recipients: list[str]) -> None:
    """Without a recipient there is nothing to ask SES for."""
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel(recipients=recipients))

    assert isinstance(outcome, Deferred)
    assert in_short(outcome) == "Deferred 451 4.3.0 our_fault"
    assert "MAIL" not in upstream.commands


async def test_unusual_addresses_are_said_as_they_are() -> None:
    """Quoted local parts, whatever they hold, and every character that RFC 5321 allows."""
    recipients = [
        '"a b>c,\\""@example.org',
        "!#$%&'*+-/=?^_`{|}~@example.org",
        "a@[127.0.0.1]",
        "a@xn--bcher-kva.example",
    ]
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel(sender="bounce+a=b@example.com", recipients=recipients))

    assert isinstance(outcome, Delivered)
    assert [(m.sender, m.recipients) for m in upstream.messages] == [("bounce+a=b@example.com", tuple(recipients))]
