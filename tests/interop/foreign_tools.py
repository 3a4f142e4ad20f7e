"""Running programs of other makers: each has a time limit and is ended by its own process id.

A program that is not there is a failure, never a skip: `make test-interop` brings them all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMIT_S = 120.0
LINE_BYTES = 64 * 1024 * 1024
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, and all it wrote."""

    status: int
    output: str
    errors: str


def find(tool: str) -> str:
    """The path of a program."""
    found = shutil.which(tool)
    if found is None:
        pytest.fail(f"{tool} is not on PATH; `make test-interop` brings it and then runs these tests")
    return found


async def run(tool: str, *arguments: str | Path, stdin: bytes = b"", limit_s: float = LIMIT_S) -> Ran:
    """Run a program to its end, for at most `limit_s` seconds."""
    async with running(tool, *arguments) as process:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(stdin)
        assert process.returncode is not None
        return Ran(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


@asynccontextmanager
async def running(
    tool: str, *arguments: str | Path, pass_fds: Sequence[int] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program with pipes to and from it, in the C locale, and these descriptors; ended when the block is left."""
    process = await asyncio.create_subprocess_exec(
        find(tool), *map(str, arguments), env={**os.environ, "LC_ALL": "C"}, limit=LINE_BYTES,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        pass_fds=pass_fds,
    )  # fmt: skip
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end; insist when it does not."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_END_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
