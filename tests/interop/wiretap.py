"""A listener between two SMTP programs: passes on what they say, and keeps it.

Owns an independent reading of SMTP (RFC 5321): commands, replies and content with its dots unstuffed, found after
the fact in the two streams of a connection. It shares no code with the relay, which it watches. With `tls` it
also ends the TLS of those who connect, and goes on in clear to a server that has none. With `forge` clients hear
something else than the server said, as from a man in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int] | Path  # TCP, or a Unix socket
Forger = Callable[[bytes], bytes]  # of what has arrived at once: on loopback, a reply that was written at once

_PIECE = 64 * 1024
_END_OF_DATA = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message as it went over the wire: arguments of MAIL and RCPT, content, and the reply to the end of data.

    `code` is 0 where the connection ended before that reply.
    """

    mail: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    code: int
    text: str


@dataclass(slots=True)
class Session:
    """One connection: what the client said, and what it was told, whether or not it was still there to hear it."""

    said: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)

    @property
    def transactions(self) -> list[Transaction]:
        """The messages of this connection that were sent to their end, in order."""
        return list(read_transactions(bytes(self.said), bytes(self.heard)))


class Tap:
    """The sessions so far, and the port to connect to."""

    def __init__(self, target: Address, forge: Forger = bytes) -> None:
        self.port = 0
        self.sessions: list[Session] = []
        self._target = target
        self._forge = forge
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def transactions(self) -> list[Transaction]:
        """The messages of all connections that were sent to their end."""
        return [transaction for session in self.sessions for transaction in session.transactions]

    @property
    def said(self) -> bytes:
        """All that clients said, one connection after the other."""
        return b"".join(session.said for session in self.sessions)

    async def serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Connect the client on to the target, until both have ended."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        session = Session()
        self.sessions.append(session)
        with contextlib.suppress(OSError):  # the target is gone: so is the client's connection
            far, forth = await _connect(self._target)
            self._writers |= {back, forth}
            await asyncio.gather(_pump(near, forth, session.said), _pump(far, back, session.heard, self._forge))
            await _close(forth)
            self._writers -= {forth}
        await _close(back)
        self._writers -= {back}

    async def close(self) -> None:
        """Cut every connection that is still open."""
        tasks = list(self._tasks)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def tapped(target: Address, tls: ssl.SSLContext | None = None, forge: Forger = bytes) -> AsyncIterator[Tap]:
    """A tap on a free port of loopback, before `target`."""
    tap = Tap(target, forge)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0, ssl=tls, backlog=1024)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        await tap.close()


def read_transactions(said: bytes, heard: bytes) -> Iterator[Transaction]:
    """The messages in the two streams of one connection, from greeting to end."""
    replies = _replies(heard)
    next(replies, None)  # the greeting
    mail, at = "", 0
    recipients: list[str] = []
    while (end := said.find(b"\r\n", at)) >= 0:
        line, at = said[at:end].decode("latin-1"), end + 2
        verb, (code, _) = line[:4].upper(), next(replies, (0, ""))
        if verb == "MAIL" and code == 250:
            mail, recipients = line.partition(":")[2], []
        elif verb == "RCPT" and code == 250:
            recipients.append(line.partition(":")[2])
        elif verb == "DATA" and code == 354:
            found = _content(said, at)
            if found is None:
                return
            content, at = found
            yield Transaction(mail, tuple(recipients), content, *next(replies, (0, "")))


def _content(said: bytes, at: int) -> tuple[bytes, int] | None:
    """Content that begins at `at`, and where the next command begins; None when it does not end."""
    end = said.find(_END_OF_DATA, at - 2)  # the end of the DATA line counts: empty content begins with its final dot
    if end < 0:
        return None
    lines = said[at : end + 2].split(b"\r\n") if end >= at else []
    return b"\r\n".join(line.removeprefix(b".") for line in lines), end + len(_END_OF_DATA)


def _replies(heard: bytes) -> Iterator[tuple[int, str]]:
    """Code and text of each complete reply, lines joined by blanks."""
    texts = []
    for line in heard.decode("latin-1").split("\r\n")[:-1]:
        texts.append(line[4:])
        if line[3:4] != "-":
            yield int(line[:3]), " ".join(texts)
            texts = []


async def _connect(target: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(str(target))
    return await asyncio.open_connection(*target)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray, forge: Forger = bytes
) -> None:
    """Pass on until the reader's side has ended; then end the writer's side too."""
    with contextlib.suppress(OSError):
        while piece := forge(await reader.read(_PIECE)):
            record += piece
            writer.write(piece)
            await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()
    else:
        _hang_up(writer)


def _hang_up(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():  # Python 3.11 cannot abort a TLS connection that was closed twice
        writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    _hang_up(writer)
    with contextlib.suppress(OSError):
        await writer.wait_closed()
