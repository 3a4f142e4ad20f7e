"""What the smuggling tests are made of: the variants, an attack, the one right reading of it, and a client.

The reading is that of RFC 5321 sections 4.1.1.4 and 4.5.2, and of RFC 5322 section 2.1, in the plainest form there
is. It shares nothing with the relay.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from relay.smtp.protocol import SmtpProtocol

# What one server or another has taken for the end of data
VARIANTS = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
]  # fmt: skip
END = b"\r\n.\r\n"
BLOCK = b"".join(
    b"X-SES-%b-ARN: arn:aws:ses:us-west-2:123456789012:identity/example.com\r\n" % name
    for name in (b"SOURCE", b"FROM", b"RETURN-PATH")
)
HEAD = b"From: app@example.com\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
SECOND = (
    b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n"
    b"From: evil@example.com\r\nSubject: smuggled\r\n\r\nsmuggled"
)

_LINE_END = re.compile(rb"\r\n|\r|\n")
_STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def in_body(variant: bytes) -> bytes:
    """The wire of a message with the variant in its body, and behind it what it is to smuggle."""
    return HEAD + b"\r\nHello" + variant + SECOND + END


def in_header(variant: bytes) -> bytes:
    """The same in the header section."""
    return HEAD + b"Subject: x" + variant + SECOND + END


def content_of(wire: bytes) -> bytes:
    """The content of a wire that holds one message and nothing else: to the first CRLF.CRLF, dots unstuffed."""
    *lines, rest = wire.split(b"\r\n")
    assert lines.index(b".") == len(lines) - 1
    assert rest == b""
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-1])


def normalized(content: bytes) -> bytes:
    """Each CR, LF and CRLF is a line end."""
    return _LINE_END.sub(b"\r\n", content)


def has_stray(content: bytes) -> bool:
    """Whether a CR or LF stands outside a CRLF."""
    return _STRAY.search(content) is not None


def chunkings(wire: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and cut in two at every place."""
    yield [wire]
    yield bytewise(wire)
    yield from ([wire[:at], wire[at:]] for at in range(1, len(wire)))


def bytewise(wire: bytes) -> list[bytes]:
    """Each byte on its own."""
    return [wire[at : at + 1] for at in range(len(wire))]


class Tap:
    """Counts the bytes that have reached the server, so that a client knows when a chunk has come on its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chunks: list[int] = []
        self._news = asyncio.Event()
        real = SmtpProtocol.data_received

        def data_received(protocol: SmtpProtocol, data: bytes) -> None:
            self.chunks.append(len(data))
            real(protocol, data)
            self._news.set()

        monkeypatch.setattr(SmtpProtocol, "data_received", data_received)

    async def until(self, count: int) -> None:
        """Wait until that many bytes have come since the start."""
        async with asyncio.timeout(10):
            while sum(self.chunks) < count:
                self._news.clear()
                await self._news.wait()


class Talk:
    """A client that sends bytes, chunk by chunk, and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: Tap | None) -> None:
        self._reader, self._writer, self._tap = reader, writer, tap
        self._sent = sum(tap.chunks) if tap else 0

    async def send(self, *chunks: bytes) -> None:
        """Send; with a tap, each chunk only when the one before has arrived."""
        for chunk in chunks:
            self._writer.write(chunk)
            self._sent += len(chunk)
            if self._tap:
                await self._tap.until(self._sent)
        await self._writer.drain()

    async def reply(self) -> str:
        """The next reply, its last line; "" when the server has closed."""
        async with asyncio.timeout(10):
            while True:
                line = (await self._reader.readline()).decode("ascii")
                if line[3:4] != "-":
                    return line.removesuffix("\r\n")

    async def say(self, *lines: bytes) -> list[str]:
        """Send command lines in one packet; their replies."""
        await self.send(b"".join(line + b"\r\n" for line in lines))
        return [await self.reply() for _ in lines]

    async def message(self, *chunks: bytes, sender: bytes = b"app@example.com", to: bytes = b"ann@example.org") -> str:
        """One transaction up to the reply to the message, and a NOOP that shows that nothing is out of step."""
        begun = await self.say(b"MAIL FROM:<%b>" % sender, b"RCPT TO:<%b>" % to, b"DATA")
        assert [each[:3] for each in begun] == ["250", "250", "354"]
        await self.send(*chunks)
        answer = await self.reply()
        assert await self.say(b"NOOP") == ["250 2.0.0 Ok"]
        return answer


@asynccontextmanager
async def talking(port: int, tap: Tap | None = None) -> AsyncIterator[Talk]:
    """A session that has said EHLO."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    talk = Talk(reader, writer, tap)
    try:
        assert (await talk.reply()).startswith("220")
        assert (await talk.say(b"EHLO client.test"))[0].startswith("250")
        yield talk
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
