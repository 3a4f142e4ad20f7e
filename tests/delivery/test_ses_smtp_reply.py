"""Replies and EHLO offers are read from bytes in any cut; what is no reply is refused, within bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.smtp_reply import (
    MAX_LINE,
    MAX_LINES,
    MalformedReply,
    Offers,
    ReplyParser,
    UpstreamReply,
    parse_offers,
)

text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
replies = st.builds(
    UpstreamReply,
    st.integers(200, 599),
    st.lists(text, min_size=1, max_size=4).map(tuple),
)


def encoded(reply: UpstreamReply) -> bytes:
    """The reply as a server writes it."""
    *rest, last = reply.lines
    return "".join([f"{reply.code}-{line}\r\n" for line in rest] + [f"{reply.code} {last}\r\n"]).encode()


@given(st.lists(replies, max_size=5), st.lists(st.integers(0, 400)))
def test_replies_come_whole_in_any_cut(sent: list[UpstreamReply], cuts: list[int]) -> None:
    """However the bytes arrive, the same replies come out, in order, and nothing is left."""
    data = b"".join(map(encoded, sent))
    parser = ReplyParser()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    got = [reply for start, end in pairwise(edges) for reply in parser.feed(data[start:end])]

    assert got == sent
    assert not parser.pending


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_malformed(data: bytes) -> None:
    """Any bytes are replies, the beginning of one, or malformed; codes are always 200 to 599."""
    parser = ReplyParser()
    try:
        got = list(parser.feed(data))
    except MalformedReply:
        return

    assert all(200 <= reply.code <= 599 for reply in got)
    assert parser.pending == (not data.endswith(b"\n") and bool(data)) or b"-" in data


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"25 Ok\r\n",
        b"2500 Ok\r\n",
        b"150 Ok\r\n",
        b"600 Ok\r\n",
        b"25x Ok\r\n",
        b" 250 Ok\r\n",
        b"HTTP/1.1 200\r\n",
    ],
)
def test_malformed_codes_are_refused(data: bytes) -> None:
    """A reply begins with a code from 200 to 599, then a blank, a hyphen or the end of the line."""
    with pytest.raises(MalformedReply):
        list(ReplyParser().feed(data))


def test_good_replies_before_a_bad_one_are_kept() -> None:
    """The answer to a message counts, even if the server talks nonsense behind it."""
    got: list[UpstreamReply] = []

    with pytest.raises(MalformedReply):
        got.extend(ReplyParser().feed(b"250 Ok id\r\nnonsense\r\n"))

    assert got == [UpstreamReply(250, ("Ok id",))]


@pytest.mark.parametrize("ending", [b"", b"\r\n"])
def test_a_line_without_end_is_refused(ending: bytes) -> None:
    """A server cannot make us hold a line of any length."""
    with pytest.raises(MalformedReply):
        list(ReplyParser().feed(b"250 " + b"x" * MAX_LINE + ending))


def test_a_reply_without_end_is_refused() -> None:
    """Nor lines without number; the longest reply allowed is read."""
    allowed = b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n"

    assert [len(reply.lines) for reply in ReplyParser().feed(allowed)] == [MAX_LINES]
    with pytest.raises(MalformedReply):
        list(ReplyParser().feed(b"250-x\r\n" * MAX_LINES))


def test_foreign_bytes_do_not_reach_the_log_as_they_are() -> None:
    """Text beyond ASCII is escaped."""
    (reply,) = ReplyParser().feed(b"250 \xff\xc3\xa4\r\n")

    assert reply.text == r"\xff\xc3\xa4"


@pytest.mark.parametrize(
    ("lines", "offers"),
    [
        (("mail.example",), Offers()),
        (("SIZE 5",), Offers()),  # the first line is the server's name
        (("x", "SIZE 5"), Offers(size=5)),
        (("x", "size"), Offers(size=0)),
        (("x", "SIZE much"), Offers(size=0)),
        (("x", "SIZE " + "9" * 5000), Offers(size=0)),
        (("x", "AUTH PLAIN LOGIN", ""), Offers(auth=frozenset({"PLAIN", "LOGIN"}))),
        (("x", "AUTH=plain"), Offers(auth=frozenset({"PLAIN"}))),
        (("x", "STARTTLS", "8BITMIME", "pipelining"), Offers(starttls=True, eight_bit=True, pipelining=True)),
        (("x", "XSTARTTLS", "8BITMIMES"), Offers()),
    ],
)
def test_offers(lines: tuple[str, ...], offers: Offers) -> None:
    """Keywords count in any case, as whole words; what cannot be understood limits nothing."""
    assert parse_offers(UpstreamReply(250, lines)) == offers


@pytest.mark.parametrize(("limit", "size", "too_small"), [(None, 9, False), (0, 9, False), (9, 9, False), (8, 9, True)])
def test_only_a_named_size_limits(limit: int | None, size: int, too_small: bool) -> None:
    """SIZE absent, without a number or 0 takes everything; else the very byte decides."""
    assert Offers(size=limit).too_small_for(size) is too_small
