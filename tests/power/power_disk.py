"""A disk that loses what was not synced when the power goes, served to a virtual machine.

A real disk answers a write when the data is in its memory, and may put it on the platter in any order until it is told
to flush. Killing a virtual machine alone does not show that: whatever the guest has written is in the host's files
then, flushed or not. This disk keeps what was not flushed to itself, and at a power cut lets an accident decide about
each sector of it. It speaks the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md) with one client on a Unix socket.
"""

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

SECTOR: Final = 512  # what a disk writes as a whole or not at all

_GREETING: Final = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 0b11)  # fixed newstyle, no padding
_OPTION: Final = struct.Struct(">8sII")
_OPTION_REPLY: Final = struct.Struct(">QIII")
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_GO, _ACK, _INFO, _UNSUPPORTED = 7, 1, 3, 1 << 31 | 1
_FLAGS: Final = 0b101  # there are flags; the client may ask for a flush
_REQUEST: Final = struct.Struct(">IHHQQI")
_REPLY: Final = struct.Struct(">IIQ")
_REPLY_MAGIC: Final = 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)
_INVALID: Final = 22


class VolatileDisk:
    """A file as the platter, and the disk's own memory before it. `lies`: it says that it has flushed, and has not."""

    def __init__(self, platter: Path, *, lies: bool = False) -> None:
        self._platter = os.open(platter, os.O_RDWR)
        self._lies = lies
        self._memory: dict[int, bytes] = {}
        self._left: int | None = None
        self.size = os.fstat(self._platter).st_size
        self.halted = asyncio.Event()

    def close(self) -> None:
        """The platter stays, the memory does not."""
        os.close(self._platter)

    def read(self, offset: int, length: int) -> bytes:
        """What was written last."""
        data = bytearray(os.pread(self._platter, length, offset))
        for at in range(0, length, SECTOR) if self._memory else ():
            sector = self._memory.get((offset + at) // SECTOR)
            if sector is not None:
                data[at : at + SECTOR] = sector
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Take whole sectors into memory."""
        for at in range(0, len(data), SECTOR):
            self._memory[(offset + at) // SECTOR] = data[at : at + SECTOR]

    def flush(self) -> None:
        """Put everything on the platter."""
        if not self._lies:
            self._put(self._memory)
            self._memory.clear()

    def halt_in(self, requests: int) -> None:
        """Do nothing any more after so many requests; `halted` is set then, for whoever cuts the power."""
        self._left = requests

    def halts(self) -> bool:
        """Whether this request is one too many."""
        if self._left is None:
            return False
        self._left -= 1
        if self._left < 0:
            self.halted.set()
        return self.halted.is_set()

    def cut(self, chance: random.Random) -> int:
        """The power goes: of what is in memory some sectors are on the platter already; how many are lost."""
        likely = chance.choice((0.0, 0.5, 0.9))
        lucky = {number: data for number, data in self._memory.items() if chance.random() < likely}
        lost = len(self._memory) - len(lucky)
        self._put(lucky)
        self._memory.clear()
        return lost

    def _put(self, sectors: dict[int, bytes]) -> None:
        for number, data in sectors.items():
            os.pwrite(self._platter, data, number * SECTOR)


@asynccontextmanager
async def served(disk: VolatileDisk, socket: Path) -> AsyncIterator[None]:
    """Serve the disk at a Unix socket; at the end, what was sent before the client was killed has been read.

    Raises OSError when there is such a file already.
    """
    sessions: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_session(disk, reader, writer))
        sessions.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await task
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, socket)
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*sessions, return_exceptions=True)


async def _session(disk: VolatileDisk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_GREETING)
    await reader.readexactly(4)  # the client's flags, which change nothing for us
    while await _option(disk, reader, writer) != _GO:
        pass
    while True:
        _, _flags, command, handle, offset, length = _REQUEST.unpack(await reader.readexactly(_REQUEST.size))
        if command == _DISCONNECT or disk.halts():
            break
        data = await reader.readexactly(length) if command == _WRITE else b""
        error, answer = _served(disk, command, offset, length, data)
        writer.write(_REPLY.pack(_REPLY_MAGIC, error, handle) + answer)
        await writer.drain()
    while await reader.read(1 << 16):  # the client may not notice that nothing is done, until it is killed
        pass


async def _option(disk: VolatileDisk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Answer one wish of the negotiation: GO is the only one we know."""
    _, option, length = _OPTION.unpack(await reader.readexactly(_OPTION.size))
    await reader.readexactly(length)
    answers = [(_UNSUPPORTED, b"")]
    if option == _GO:
        answers = [(_INFO, struct.pack(">HQH", 0, disk.size, _FLAGS)), (_ACK, b"")]
    for kind, content in answers:
        writer.write(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, kind, len(content)) + content)
    return int(option)


def _served(disk: VolatileDisk, command: int, offset: int, length: int, data: bytes) -> tuple[int, bytes]:
    """Do one thing; an error number, 0 for none, and what was read. Nothing is answered before it is done."""
    if offset % SECTOR or length % SECTOR or offset + length > disk.size:
        return _INVALID, b""
    match command:
        case 0:
            return 0, disk.read(offset, length)
        case 1:
            disk.write(offset, data)
        case 3:
            disk.flush()
        case _:
            return _INVALID, b""
    return 0, b""
