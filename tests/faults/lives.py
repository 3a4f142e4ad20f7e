"""The lives of a relay: each is a process with a beginning, a port, a log and an end, natural or not.

A `Nursery` begins lives by the zygote, in a tenth of a second; `run` begins one as an operator would, if need be under
a tracer. Signals go to exactly the process that was started (pidfd_open(2)), never to a number that has a new owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60.0
_ROOT: Final = Path(__file__).parent.parent.parent
_COMPLAINTS: Final = frozenset(
    {
        "internal_error", "library", "spool_refused", "spool_trouble", "spool_mended", "spool_log_damaged",
        "spool_log_missing", "spool_database_missing", "content_damaged",
    }
)  # fmt: skip


class Life:
    """One process of the relay; `complaints` are lines of its log that only a relay that is not well has."""

    def __init__(self, pid: int, log: asyncio.StreamReader, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self.ended = ended
        self.port = 0
        self.complaints: list[str] = []
        self._handle = -1
        with contextlib.suppress(ProcessLookupError):  # killed at once, and over already
            self._handle = os.pidfd_open(pid)
        self._ready = asyncio.Event()
        self._log = log
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for line in self._log:
            if line.endswith(b"\n"):  # a process may be killed in the middle of a line
                self._note(line.decode(errors="replace"))

    def _note(self, line: str) -> None:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:  # Python's own words
            event = {"event": "library"}
        if event["event"] == "listening" and not self.port:
            self.port = int(event["address"].rpartition(":")[2])
        elif event["event"] == "ready":
            self._ready.set()
        elif event["event"] in _COMPLAINTS or event.get("contents_missing"):
            self.complaints.append(line.strip())

    async def accepts(self) -> bool:
        """Wait until it accepts mail; False when it has ended."""
        waiting = asyncio.ensure_future(self._ready.wait())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait((waiting, self.ended), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return self._ready.is_set() and not self.ended.done()

    async def ready(self) -> None:
        """Wait until it accepts mail. RuntimeError when it ends before."""
        if not await self.accepts():
            await self._reader
            raise RuntimeError(f"the relay ended with {self.ended.result()} before it was ready: {self.complaints}")

    async def outlives(self, seconds: float) -> None:
        """Let it live for so long. RuntimeError when it ends before by itself."""
        done, _ = await asyncio.wait((self.ended,), timeout=seconds)
        if done:
            await self._reader
            raise RuntimeError(f"the relay ended by itself with {self.ended.result()}: {self.complaints}")

    def tell(self, number: signal.Signals) -> None:
        """Send a signal; to a process that has ended, none."""
        with contextlib.suppress(ProcessLookupError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, number)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status, negative when it was killed."""
        self.tell(number)
        return await self.over()

    async def over(self) -> int:
        """Wait for its end; one that does not end is killed, and TimeoutError raised."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait((self.ended,))
                await self._reader
        except TimeoutError:
            self.tell(signal.SIGKILL)
            raise
        self.close()
        return self.ended.result()

    def close(self) -> None:
        """Let go of the handle."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def environment(ses: Mapping[str, str], code: Path = _ROOT) -> dict[str, str]:
    """The environment of a relay whose code is in a folder, and that uses the simulator."""
    return {**os.environ, **ses, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(code)}


class Nursery:
    """A zygote and what it is told; one life at a time."""

    def __init__(self, pid: int, control: socket.socket, answers: asyncio.StreamReader) -> None:
        self.pid = pid
        self._control = control
        self._answers = answers
        self.lives: list[Life] = []

    async def begin(self, config: Path) -> Life:
        """Begin a life; the one before must be over."""
        reader, log = await _pipe()
        socket.send_fds(self._control, [str(config).encode()], [log])
        os.close(log)
        async with asyncio.timeout(PATIENCE_S):
            word, number = (await self._answers.readline()).split()
        if word != b"started":
            raise RuntimeError(f"the zygote says {word!r}")
        life = Life(int(number), reader, asyncio.ensure_future(self._end()))
        self.lives.append(life)
        return life

    async def _end(self) -> int:
        word, status = (await self._answers.readline()).split()
        if word != b"ended":
            raise RuntimeError(f"the zygote says {word!r}")
        return int(status)


@asynccontextmanager
async def nursery(env: Mapping[str, str]) -> AsyncIterator[Nursery]:
    """A zygote with this environment, for as long as it is needed; the last life is killed if it still lives."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("zygote.py")), stdin=theirs.fileno(), env=dict(env)
    )
    theirs.close()
    answers, writer = await asyncio.open_connection(sock=ours.dup())
    made = Nursery(process.pid, ours, answers)
    try:
        yield made
    finally:
        for life in made.lives[-1:]:
            if not life.ended.done():
                await life.end(signal.SIGKILL)
        writer.close()
        ours.close()
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()


@asynccontextmanager
async def run(config: Path, env: Mapping[str, str], *tracer: str, cwd: Path = _ROOT) -> AsyncIterator[Life]:
    """`python -m relay run`, under a tracer if one is named; killed in the end if it still lives."""
    reader, log = await _pipe()
    process = await asyncio.create_subprocess_exec(
        *tracer, sys.executable, "-m", "relay", "run", "--config", str(config), env=dict(env), stdout=log, cwd=cwd
    )
    os.close(log)
    life = Life(process.pid, reader, asyncio.ensure_future(process.wait()))
    try:
        yield life
    finally:
        if not life.ended.done():
            await life.end(signal.SIGKILL)
        life.close()


async def _pipe() -> tuple[asyncio.StreamReader, int]:
    """A pipe: what reads from it, and the descriptor to write to."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    return reader, writing
