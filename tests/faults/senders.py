"""Clients that send one message after the other and write down what was answered.

A message is sent once and never again, whatever its answer is: a copy that SES has too many is then the relay's doing.
A client that loses its relay waits for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final, Protocol

import letters
from conservation import Evidence
from letters import Letter

PATIENCE_S: Final = 90.0
_SENDERS: Final = ("app@example.com", "app@example.net")  # by the API, and by SMTP
_SHAPES: Final = ((60, 1, 1), (20, 1, 3), (6, 52, 120))  # weight, fewest and most recipients
_SIZES: Final = ((60, 1_000), (20, 20_000), (10, 140_000), (10, 300_000))  # weight, bytes: rows, and files of their own


class Relays(Protocol):
    """Where the relay is at the moment."""

    async def port(self) -> int:
        """The port of a relay that accepts mail, once there is one."""

    async def turn(self) -> None:
        """Return when another message may be sent."""


class Session:
    """One connection, reply by reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def reply(self) -> str:
        """The last line of the next reply. ConnectionError when there is none."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = (await self._reader.readline()).decode("ascii")
                if not line.endswith("\n"):
                    raise ConnectionResetError("the relay has closed")
                if line[3:4] != "-":
                    return line.rstrip()

    async def say(self, *lines: str) -> list[str]:
        """Send commands together; their replies."""
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode("ascii"))
        return [await self.reply() for _ in lines]

    async def submit(self, letter: Letter, notes: Evidence) -> str:
        """Send a message and note what becomes of it; the last reply. ConnectionError when the relay goes away."""
        said = await self.say(
            f"MAIL FROM:<{letter.sender}>", *(f"RCPT TO:<{one}>" for one in letter.recipients), "DATA"
        )
        if said[-1][:3] != "354":
            return said[-1]
        taken = [one for one, reply in zip(letter.recipients, said[1:-1], strict=True) if reply[:3] == "250"]
        notes.offered.update(taken)
        self._writer.write(letter.content + b".\r\n")
        answer = await self.reply()
        {"2": notes.acknowledged, "4": notes.put_off, "5": notes.refused}[answer[0]].update(taken)
        return answer


@asynccontextmanager
async def session(port: int) -> AsyncIterator[Session]:
    """A client that has been greeted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = Session(reader, writer)
        greeting = await client.reply()
        if greeting[:3] != "220":
            raise ConnectionRefusedError(greeting)
        await client.say("EHLO client.test")
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def letters_of(name: str, chance: random.Random) -> Iterator[Letter]:
    """Messages of all kinds, without end; of one in twenty the last recipient is such as SES refuses."""
    for number in count():
        _, fewest, most = chance.choices(_SHAPES, [weight for weight, *_ in _SHAPES])[0]
        size = chance.choices(_SIZES, [weight for weight, _ in _SIZES])[0][1]
        recipients, bad = chance.randint(fewest, most), int(chance.random() < 0.05)
        yield letters.write(f"{name}-{number}", chance.choice(_SENDERS), recipients, size, chance, bad=bad)


async def send_for_ever(name: str, relays: Relays, notes: Evidence, chance: random.Random) -> None:
    """Be a client until cancelled."""
    mail = letters_of(name, chance)
    while True:
        with contextlib.suppress(ConnectionError):
            async with session(await relays.port()) as client:
                while True:
                    await relays.turn()
                    answer = await client.submit(next(mail), notes)
                    if answer[:3] != "250":
                        await client.say("RSET")
