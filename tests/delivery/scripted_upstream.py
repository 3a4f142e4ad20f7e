r"""Plays the part of an SMTP server from a transcript, and says where the client left it.

# a comment says what must hold
@ recipients: a@example.org, b@example.org     settings of the case, see test_ses_smtp_dialogues.py
S: 220 mail.example ESMTP                     the server says this line
S| 250 Ok\r\n250 Ok                           the server says these bytes, Python escapes, no line ending added
C: EHLO relay.test                            the client must say this line
C~ AUTH PLAIN *                               the client must say a line of this shape (* and ?)
C.                                            the client must close
tls                                           the server's side of a TLS handshake, which must succeed
login                                         greeting, EHLO and AUTH as SES does them, without TLS
close | reset                                 the server closes, or resets the connection
silence                                       the server says nothing more, and reads until the client closes
---                                           what follows is the next connection

At the end of each connection the client may say QUIT, and must close. There must be as many connections as in the
transcript. A settings line may come more than once.
"""

from __future__ import annotations

import asyncio
import codecs
import socket
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATIENCE_S = 20.0
LOGIN = """\
S: 220 email-smtp.amazonaws.com ESMTP SimpleEmailService-d-TEST
C: EHLO relay.test
S: 250-email-smtp.amazonaws.com
S: 250-8BITMIME
S: 250-AUTH PLAIN LOGIN
S: 250 Ok
C: AUTH PLAIN AHVzZXIAc2VjcmV0
S: 235 Authentication successful.
"""

Line = tuple[int, str, str]


@dataclass
class Transcript:
    """One case: its settings, and the lines of each connection."""

    name: str
    settings: dict[str, list[str]] = field(default_factory=dict)
    connections: list[list[Line]] = field(default_factory=lambda: [[]])


def read(path: Path) -> Transcript:
    """Parse a file; a line that is not understood is an error."""
    return parse(path.stem, path.read_text("utf-8"))


def parse(name: str, text: str) -> Transcript:
    """Parse a transcript."""
    transcript = Transcript(name)
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("@ "):
            key, _, value = line[2:].partition(":")
            transcript.settings.setdefault(key.strip(), []).append(value.strip())
        elif line == "---":
            transcript.connections.append([])
        elif line.strip() and not line.startswith("#"):
            lines = LOGIN.splitlines() if line == "login" else [line]
            transcript.connections[-1] += [_line(number, each) for each in lines]
    return transcript


def _line(number: int, line: str) -> Line:
    if line in {"tls", "close", "reset", "silence", "C."}:
        return number, line, ""
    if line[:2] in {"S:", "S|", "C:", "C~"}:
        return number, line[:2], line[3:]
    raise ValueError(f"line {number} is not understood: {line}")


class Deviation(Exception):
    """The client did something else."""


@dataclass
class Upstream:
    """A server that plays. `deviations` and `played` tell how it went."""

    transcript: Transcript
    context: ssl.SSLContext | None = None
    port: int = 0
    played: int = 0
    deviations: list[str] = field(default_factory=list)
    _plays: set[asyncio.Task[None]] = field(default_factory=set)

    async def finished(self) -> None:
        """Wait for the connections, then AssertionError for the first deviation."""
        await asyncio.gather(*self._plays)
        assert not self.deviations, self.deviations
        assert self.played == len(self.transcript.connections), "connections are missing"

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if task := asyncio.current_task():
            self._plays.add(task)
        number, self.played = self.played, self.played + 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._act(self.transcript.connections[number], reader, writer)
        except IndexError:
            self.deviations.append(f"{self.transcript.name}: connection {number + 1} is one too many")
        except (Deviation, OSError) as error:
            self.deviations.append(
                f"{self.transcript.name}, connection {number + 1}: {str(error) or type(error).__name__}"
            )
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _act(self, lines: list[Line], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, kind, text in lines:
            if kind in {"S:", "S|"}:
                writer.write(f"{text}\r\n".encode() if kind == "S:" else _unescape(text))
            elif kind == "tls":
                assert self.context is not None
                await writer.start_tls(self.context)
            elif kind == "close":
                return
            elif kind == "reset":
                await writer.drain()
                _reset(writer)
                return
            elif kind == "silence":
                with suppress(OSError):
                    await reader.read(-1)
                return
            else:
                await _expect(reader, number, kind, text)
        if await _hear(reader) == "QUIT":
            writer.write(b"221 Bye\r\n")
        if (rest := await _hear(reader)) is not None:
            raise Deviation(f"after the last line: the client said {rest!r}")


async def _expect(reader: asyncio.StreamReader, number: int, kind: str, text: str) -> None:
    said = await _hear(reader)
    wanted = None if kind == "C." else text
    if said != wanted and not (kind == "C~" and said is not None and fnmatchcase(said, text)):
        raise Deviation(f"line {number}: expected {wanted!r}, the client said {said!r}")


async def _hear(reader: asyncio.StreamReader) -> str | None:
    """The client's next line without CRLF; None when it has closed."""
    try:
        return (await reader.readuntil(b"\r\n"))[:-2].decode("latin-1")
    except asyncio.IncompleteReadError as error:
        return error.partial.decode("latin-1") or None
    except ConnectionError:
        return None


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _unescape(text: str) -> bytes:
    return codecs.escape_decode(text.encode())[0]


@asynccontextmanager
async def listening(transcript: Transcript, context: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """A scripted server on loopback; leaving waits for its connections to end."""
    upstream = Upstream(transcript, context)
    implicit = context if transcript.settings.get("tls") == ["implicit"] else None
    server = await asyncio.start_server(upstream.play, "127.0.0.1", 0, ssl=implicit)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await server.wait_closed()
