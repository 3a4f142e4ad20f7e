"""Commands and addresses: what is inside an address or a line stays there, and what comes out of turn does nothing."""

from dataclasses import replace

import listener
import pytest
import smuggling_parts as parts
from smuggling_parts import HEAD, Tap, talking

from relay import replies
from relay.model import Outcome

PATIENT = replace(listener.LIMITS, errors=10_000)
MESSAGE = HEAD + b"\r\nHello" + parts.END
# Standard libraries decode these into line ends and commands, when they are asked to.
ENCODED_WORDS = [
    b"=?utf-8?q?a=0d=0aRCPT=20TO:victim=40example.org?=",
    b"=?utf-8?q?a=0D=0ADATA=0D=0A?=",
    b"=?utf-8?b?YQ0KUkNQVCBUTzo8dmljdGltQGV4YW1wbGUub3JnPg==?=",
    b"=?us-ascii?q?=00?=",
]
CONTROLS = [bytes([code]) for code in (*range(10), *range(11, 32), 127)]  # LF alone ends a command here


@pytest.mark.parametrize("word", ENCODED_WORDS)
@pytest.mark.parametrize("command", [b"MAIL FROM", b"RCPT TO"])
@pytest.mark.parametrize("shape", [b"<%b@example.com>", b"%b@example.com", b"<a.%b.b@example.com>"])
async def test_encoded_words_are_no_part_of_an_address(word: bytes, command: bytes, shape: bytes) -> None:
    """Nobody down the road gets to decode them: they are refused, and the session goes on."""
    async with listener.running() as relay, talking(relay.port) as talk:
        if command == b"MAIL FROM":
            [answer] = await talk.say(b"MAIL FROM:" + shape % word)
        else:
            _, answer = await talk.say(b"MAIL FROM:<app@example.com>", b"RCPT TO:" + shape % word)
        assert answer == str(replies.BAD_SENDER if command == b"MAIL FROM" else replies.BAD_RECIPIENT)
        await talk.say(b"RSET")
        await talk.message(MESSAGE)
        assert [parcel.sender for parcel in relay.ses.parcels] == ["app@example.com"]


@pytest.mark.parametrize("control", CONTROLS, ids=repr)
@pytest.mark.parametrize(
    "shape",
    [b"a%bb@example.com", b"ab@exam%bple.com", b'"a%bb"@example.com', b'"a\\%bb"@example.com', b"%ba@example.com"],
)
async def test_a_control_byte_in_an_address_is_refused(control: bytes, shape: bytes) -> None:
    """Wherever it stands, quoted or not; the session goes on, in step."""
    address = shape % control
    async with listener.running(limits=PATIENT) as relay, talking(relay.port) as talk:
        assert await talk.say(b"MAIL FROM:<%b>" % address) == [str(replies.BAD_SENDER)]
        said = await talk.say(b"MAIL FROM:<app@example.com>", b"RCPT TO:<%b>" % address, b"RSET", b"NOOP")
        assert said == [str(each) for each in (replies.SENDER_OK, replies.BAD_RECIPIENT, replies.OK, replies.OK)]
        assert relay.ses.parcels == []


@pytest.mark.parametrize("control", [b"\r", b"\0", b"\x0b", b"\x0c", b"\x1b", b"\x85", b"\xa0"], ids=repr)
async def test_what_stands_behind_an_address_is_no_second_command(control: bytes) -> None:
    """Only LF ends a command line: a CR, or what Unicode calls a line end, does not."""
    second = b"RCPT TO:<victim@example.org>"
    async with listener.running() as relay, talking(relay.port) as talk:
        [answer] = await talk.say(b"MAIL FROM:<app@example.com>" + control + second)
        assert answer[:3] in ("501", "553", "555")
        assert (await talk.say(second)) == [str(replies.NEED_MAIL)]
        assert (await talk.say(b"NOOP" + control + b"MAIL FROM:<app@example.com>"))[0][:3] == "500"
        assert (await talk.say(b"DATA")) == [str(replies.NEED_MAIL)]
        assert relay.ses.parcels == []


@pytest.mark.parametrize(
    "parameter",
    [
        b"SIZE=1\rRCPT TO:<victim@example.org>",
        b"BODY=8BITMIME\0",
        b"AUTH=<>\x0bRCPT",
        b"ENVID=a>\rDATA",
        b"SIZE=1 > RCPT TO:<victim@example.org>",
    ],
)
async def test_parameters_hold_no_commands(parameter: bytes) -> None:
    """Refused, or tolerated and forgotten: nothing of them goes on to SES."""
    async with listener.running() as relay, talking(relay.port) as talk:
        [answer] = await talk.say(b"MAIL FROM:<app@example.com> " + parameter)
        assert answer[:3] in ("250", "501", "555")
        await talk.say(b"RSET")
        assert (await talk.message(MESSAGE))[:3] == "250"
        assert relay.ses.parcels[0].recipients == ("ann@example.org",)


def recipients(relay: listener.Listener) -> list[bytes]:
    """Everybody who got mail."""
    return [each.encode() for parcel in relay.ses.parcels for each in parcel.recipients]


async def test_what_follows_data_in_the_same_packet_is_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not wait for 354 has begun its message: its commands there are text, split as it may be."""
    wire = b"MAIL FROM:<app@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n" + parts.SECOND + b"\r\n.\r\nNOOP\r\n"
    tap = Tap(monkeypatch)
    async with listener.running() as relay:
        for chunks in parts.chunkings(wire):
            async with talking(relay.port, tap) as talk:
                await talk.send(*chunks)
                said = [await talk.reply() for _ in range(5)]
            assert [each[:3] for each in said] == ["250", "250", "354", "250", "250"]
            assert relay.ses.message().endswith(b"\r\n\r\n" + parts.SECOND + b"\r\n")
        assert set(recipients(relay)) == {b"ann@example.org"}


async def test_a_message_for_nobody_is_not_taken_and_its_bytes_are_commands() -> None:
    """RFC 2920 section 3.1: who sends content behind a refused DATA must expect that. Each line has its own reply."""
    async with listener.running(limits=PATIENT) as relay, talking(relay.port) as talk:
        said = await talk.say(b"MAIL FROM:<app@example.com>", b"DATA", b"From: x", b"", b"Hello", b".", b"RSET")
        assert [each[:3] for each in said] == ["250", "503", "500", "500", "500", "500", "250"]
        assert relay.ses.parcels == []


async def test_commands_behind_the_end_of_data_are_the_next_transaction() -> None:
    """In one packet with it, and after a refusal too: nothing of the message before is left over."""
    begin = b"MAIL FROM:<app@example.com>\r\nRCPT TO:<%b@example.org>\r\nDATA\r\n"
    wire = begin % b"one" + MESSAGE + begin % b"two" + b"stray\n" + MESSAGE + begin % b"three" + MESSAGE + b"DATA\r\n"
    rejecting = replace(listener.HEADERS, normalize=False)
    async with listener.running(headers=rejecting) as relay, talking(relay.port) as talk:
        await talk.send(wire)
        said = [(await talk.reply())[:3] for _ in range(13)]
        assert said == ["250", "250", "354", "250", "250", "250", "354", "554", "250", "250", "354", "250", "503"]
        assert recipients(relay) == [b"one@example.org", b"three@example.org"]


@pytest.mark.parametrize("line", [b"DATA\n", b"DATA\r\r\n", b"DATA \r\n"], ids=repr)
async def test_however_data_ends_the_message_ends_with_crlf_dot_crlf(line: bytes) -> None:
    """A bare LF behind DATA is taken, as behind any command; the rule for the content stays."""
    async with listener.running() as relay, talking(relay.port) as talk:
        await talk.say(b"MAIL FROM:<app@example.com>", b"RCPT TO:<ann@example.org>")
        await talk.send(line)
        if (await talk.reply())[:3] != "354":
            assert relay.ses.parcels == []
            return
        await talk.send(HEAD + b"\r\nHello\n.\nMAIL FROM:<evil@example.com>\n.\r\nNOOP\r\n.\r\n")
        assert (await talk.reply())[:3] == "250"
        assert await talk.say(b"NOOP") == [str(replies.OK)]
        assert relay.ses.message().endswith(b"Hello\r\n.\r\nMAIL FROM:<evil@example.com>\r\n.\r\nNOOP\r\n")


async def test_a_transaction_that_failed_leaves_nothing_to_build_on() -> None:
    """After every kind of refused message, DATA alone or RCPT alone starts nothing."""
    outcomes: list[Outcome | Exception] = [listener.REFUSED, listener.CREDENTIALS, ValueError("boom")]
    async with listener.running(limits=PATIENT, message_bytes=1000) as relay, talking(relay.port) as talk:
        for content in (MESSAGE, MESSAGE, MESSAGE, b"x" * 2000 + parts.END, b"From: a\r\nFrom: b" + parts.END):
            relay.ses.outcomes.extend(outcomes[:1])
            del outcomes[:1]
            assert (await talk.message(content))[:3] != "250"
            relay.ses.outcomes.clear()
            assert await talk.say(b"DATA", b"RCPT TO:<victim@example.org>") == [str(replies.NEED_MAIL)] * 2
