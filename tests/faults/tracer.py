"""What strace(1) has seen: how it is run, and its lines as calls with a beginning and an end.

The order of the lines is the order in which the tracer stopped the threads, and a thread goes on only when its line is
written; so a call that ended on an earlier line than another began had returned before that one was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 30.0
CHANGES: Final = (  # every call by which a spool changes, or opens what it is about to change
    "openat", "write", "writev", "pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "mkdir", "rename",
    "renameat", "renameat2", "unlink", "unlinkat",
)  # fmt: skip
REPLIES: Final = ("write", "writev", "sendto", "sendmsg")
_LONGEST: Final = "5000"  # bytes of data that are shown: a page of the spool, and more

_WHOLE: Final = re.compile(r"(\d+) +[\d.]+ (\w+)\((.*)\) += (-?\d+|\?)(.*)")
_BEGUN: Final = re.compile(r"(\d+) +[\d.]+ (\w+)\((.*) <unfinished \.\.\.>")
_ENDED: Final = re.compile(r"(\d+) +[\d.]+ <\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: `began` and `ended` are line numbers, `ended` None when it never returned; `result` likewise."""

    thread: int
    name: str
    arguments: str
    began: int
    ended: int | None = None
    result: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it returned without an error."""
        return self.result is not None and self.result >= 0

    def before(self, other: Call) -> bool:
        """Whether it had returned when the other one began."""
        return self.ended is not None and self.ended < other.began


def read(lines: Iterable[str]) -> list[Call]:
    """The calls, by their beginnings."""
    calls: dict[int, Call] = {}
    open_: dict[int, Call] = {}
    for number, line in enumerate(lines):
        if begun := _BEGUN.match(line):
            call = Call(int(begun[1]), begun[2], begun[3], number)
            calls[number] = open_[call.thread] = call
        elif resumed := _ENDED.match(line):
            call = open_.pop(int(resumed[1]))
            call = replace(call, arguments=call.arguments + resumed[3], ended=number, result=_result(resumed[4]))
            calls[call.began] = call
        elif whole := _WHOLE.match(line):
            result = _result(whole[4])
            ended = None if result is None else number
            calls[number] = Call(int(whole[1]), whole[2], whole[3], number, ended, result)
    return [calls[number] for number in sorted(calls)]


def _result(text: str) -> int | None:
    return None if text == "?" else int(text)


def strace() -> str | None:
    """The tracer, if there is one."""
    return shutil.which("strace")


def watching(output: Path, *calls: str) -> tuple[str, ...]:
    """The words before a command whose threads are all watched; the command is the direct child, not strace."""
    return (
        "strace", "-D", "-f", "--seccomp-bpf", "-yy", "-ttt", "-s", _LONGEST, "-o", str(output),
        "-e", f"trace={','.join(calls)}",
    )  # fmt: skip


def _order(call: str, index: int) -> tuple[str, ...]:
    return "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={index}"


@asynccontextmanager
async def killing_thread(thread: int, call: str, index: int) -> AsyncIterator[None]:
    """Kill the process when that thread makes its `index`th such call from now on."""
    async with _attached("-o", "/dev/null", *_order(call, index), "-p", str(thread)):
        yield


@asynccontextmanager
async def killing_child(pid: int, call: str, index: int, *paths: Path) -> AsyncIterator[None]:
    """Kill the child that a process will have, when a thread of it makes its `index`th such call on the paths."""
    chosen = [word for path in paths for word in ("-P", str(path))]
    async with _attached("-f", "-o", "/dev/null", *chosen, *_order(call, index), "-p", str(pid)):
        yield


@asynccontextmanager
async def watching_process(pid: int, output: Path, *calls: str) -> AsyncIterator[None]:
    """Watch all threads of a process."""
    async with _attached("-f", "-yy", "-ttt", "-o", str(output), "-e", f"trace={','.join(calls)}", "-p", str(pid)):
        yield


@asynccontextmanager
async def _attached(*words: str) -> AsyncIterator[None]:
    """A tracer that has begun to trace; in the end it lets go, unless what it traces has ended."""
    process = await asyncio.create_subprocess_exec("strace", *words, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _begun(process)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()


async def _begun(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    said = await process.stderr.readline()
    if b"attached" not in said:
        raise RuntimeError(f"strace cannot trace the relay: {said.decode().strip()}")
