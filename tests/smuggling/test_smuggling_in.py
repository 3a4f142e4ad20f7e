"""Inbound: whatever some server takes for an end of data is content here, in every context and split at every byte.

One message comes of it or none, no byte of it is read as a command, and what SES gets has no stray CR or LF.
"""

from dataclasses import replace

import listener
import pytest
import smuggling_parts as parts
from smuggling_parts import BLOCK, HEAD, VARIANTS, Tap, talking

from relay import replies

variants = pytest.mark.parametrize("variant", VARIANTS, ids=repr)
REJECTING = replace(listener.HEADERS, normalize=False)
PATIENT = replace(listener.LIMITS, errors=10_000)


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> Tap:
    """Tells when a chunk has reached the server on its own."""
    return Tap(monkeypatch)


def commands_read(relay: listener.Listener) -> int:
    """Refused commands: what smuggled text would be, if it were read as commands."""
    return sum(event["reply"][:3] in ("500", "501", "503", "553") for event in relay.events("refused"))


@variants
async def test_in_the_body_it_is_content(variant: bytes, tap: Tap) -> None:
    """Exactly one message for each, with the reference's bytes, at every chunking."""
    wire = parts.in_body(variant)
    expected = BLOCK + parts.normalized(parts.content_of(wire))
    async with listener.running() as relay, talking(relay.port, tap) as talk:
        for number, chunks in enumerate(parts.chunkings(wire), 1):
            assert await talk.message(*chunks) == "250 2.0.0 Ok 0100-ses-id"
            assert tap.chunks[-len(chunks) - 1 : -1] == [len(chunk) for chunk in chunks]  # they did come like that
            assert len(relay.ses.parcels) == number
            assert relay.ses.message() == expected
            assert relay.ses.parcels[-1].recipients == ("ann@example.org",)
        assert commands_read(relay) == 0
        assert not parts.has_stray(expected)


@variants
async def test_just_before_the_true_end_it_is_content(variant: bytes, tap: Tap) -> None:
    """The ends run into each other; the true one is found, once."""
    wire = HEAD + b"\r\nHello" + variant + parts.END
    expected = BLOCK + parts.normalized(parts.content_of(wire))
    async with listener.running() as relay, talking(relay.port, tap) as talk:
        for chunks in parts.chunkings(wire):
            assert (await talk.message(*chunks))[:3] == "250"
            assert relay.ses.message() == expected
        assert commands_read(relay) == 0


@variants
async def test_as_the_first_bytes_it_is_content(variant: bytes, tap: Tap) -> None:
    """The line end of DATA itself begins the first line, and no other does."""
    wire = variant + b"Hello" + parts.END
    content = parts.normalized(parts.content_of(wire))
    async with listener.running() as relay, talking(relay.port, tap) as talk:
        for chunks in parts.chunkings(wire):
            assert (await talk.message(*chunks))[:3] == "250"
            assert relay.ses.message().endswith(b"\r\n\r\n" + content.removeprefix(b"\r\n"))
        assert commands_read(relay) == 0


@variants
@pytest.mark.parametrize("context", ["header", "body"])
async def test_where_stray_line_endings_are_rejected_nothing_is_sent(variant: bytes, context: str, tap: Tap) -> None:
    """The whole message is refused after its true end; what has no stray CR or LF is not touched."""
    wire = parts.in_body(variant) if context == "body" else parts.in_header(variant)
    content = parts.content_of(wire)
    async with listener.running(headers=REJECTING) as relay, talking(relay.port, tap) as talk:
        for chunks in ([wire], parts.bytewise(wire)):
            answer = await talk.message(*chunks)
            if parts.has_stray(content):
                assert answer == str(replies.STRAY_LINE_ENDINGS)
            elif context == "header":
                assert answer == str(replies.HEADERS_MALFORMED)  # a NUL
            else:
                assert answer[:3] == "250"
                assert relay.ses.message() == BLOCK + content
        assert bool(relay.ses.parcels) == (context == "body" and not parts.has_stray(content))
        assert commands_read(relay) == 0


@variants
async def test_in_the_header_section_it_ends_it_or_is_refused(variant: bytes, tap: Tap) -> None:
    """A line with a dot alone or a NUL is no field: readers could disagree. An empty line ends the section for all."""
    wire = parts.in_header(variant)
    content = parts.normalized(parts.content_of(wire))
    head = content.partition(b"\r\n\r\n")[0]
    well_formed = all(b":" in line and b"\0" not in line for line in head.split(b"\r\n"))
    async with listener.running(limits=PATIENT) as relay, talking(relay.port, tap) as talk:
        for chunks in parts.chunkings(wire):
            answer = await talk.message(*chunks)
            assert answer == ("250 2.0.0 Ok 0100-ses-id" if well_formed else str(replies.HEADERS_MALFORMED))
            assert not well_formed or relay.ses.message() == BLOCK + content
        assert bool(relay.ses.parcels) == well_formed
        assert commands_read(relay) == 0


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\n\n", b"\r\r", b"\n\r\n"], ids=repr)
@pytest.mark.parametrize("hidden", [b"X-SES-SOURCE-ARN: evil", b"Bcc: evil@example.org", b"From: evil@example.com"])
async def test_a_header_field_cannot_hide_behind_a_stray_line_ending(end: bytes, hidden: bytes, tap: Tap) -> None:
    """What others would read as a field is read as one here, and stripped; or it is body for everybody."""
    wire = HEAD + b"Subject: x" + end + hidden + b"\r\n\r\nHello" + parts.END
    head, _, body = parts.normalized(parts.content_of(wire)).partition(b"\r\n\r\n")
    is_field = hidden in head.split(b"\r\n")
    async with listener.running() as relay, talking(relay.port, tap) as talk:
        answer = await talk.message(*parts.bytewise(wire))
        if is_field and hidden.startswith(b"From"):
            assert answer == str(replies.BAD_FROM)
            assert relay.ses.parcels == []
            return
        kept = head.replace(b"\r\n" + hidden, b"") if is_field else head
        assert answer[:3] == "250"
        assert relay.ses.message() == BLOCK + kept + b"\r\n\r\n" + body


@variants
async def test_over_the_size_limit_the_true_end_is_found(variant: bytes, tap: Tap) -> None:
    """Wherever the limit falls, before, in or behind the variant: one refusal, then the session goes on."""
    limit = len(HEAD) + 30
    async with listener.running(message_bytes=limit, limits=PATIENT) as relay, talking(relay.port, tap) as talk:
        for before in range(20, 32 + len(variant)):
            wire = HEAD + b"\r\n" + b"x" * before + variant + parts.SECOND + parts.END
            for chunks in ([wire], parts.bytewise(wire), [wire[:limit], wire[limit:]]):
                assert await talk.message(*chunks) == str(replies.TOO_BIG)
        assert relay.ses.parcels == []
        assert commands_read(relay) == 0
        assert (await talk.message(HEAD + b"\r\nsmall" + parts.END))[:3] == "250"
        assert len(relay.ses.parcels) == 1


@variants
async def test_split_at_every_byte_over_the_size_limit(variant: bytes, tap: Tap) -> None:
    wire = parts.in_body(variant)
    async with listener.running(message_bytes=len(HEAD), limits=PATIENT) as relay, talking(relay.port, tap) as talk:
        for chunks in parts.chunkings(wire):
            assert await talk.message(*chunks) == str(replies.TOO_BIG)
        assert relay.ses.parcels == []
        assert commands_read(relay) == 0


@variants
async def test_without_room_the_true_end_is_found(variant: bytes, tap: Tap) -> None:
    """A message that is put off is read to its end as well; nothing in it is a command."""
    wire = parts.in_body(variant)
    limits = replace(listener.LIMITS, in_flight_bytes=len(HEAD) + 10)
    async with listener.running(limits=limits) as relay, talking(relay.port, tap) as talk:
        for chunks in ([wire], parts.bytewise(wire), [wire[: len(HEAD)], wire[len(HEAD) :]]):
            assert await talk.message(*chunks) == str(replies.NO_ROOM)
        assert relay.ses.parcels == []
        assert commands_read(relay) == 0
        assert (await talk.message(b"x" + parts.END))[:3] == "250"


def test_the_reference_is_right() -> None:
    """By hand: what the tests above compare with."""
    assert parts.content_of(b"a\r\n..\r\n.b\r\n.\r\n") == b"a\r\n.\r\nb\r\n"
    assert parts.normalized(b"a\n.\rb\r\r\nc\n\r") == b"a\r\n.\r\nb\r\n\r\nc\r\n\r\n"
    assert [parts.has_stray(text) for text in (b"a\r\n", b"a\n", b"a\r", b"\r\r\n", b"\n\r")] == [False, *[True] * 4]
    for variant in VARIANTS:
        assert parts.content_of(parts.in_body(variant)).startswith(HEAD)
