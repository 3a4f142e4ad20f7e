"""Where a spool may lie: a folder, or a file system of its own that is small, or that can be made to fail.

Mounting needs root. What was mounted is unmounted at the end, whatever happens.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE_S = 60.0


class CommandError(Exception):
    """A tool that the scene needs is missing or has failed: nothing was proven."""


async def command(*words: str, good: tuple[int, ...] = (0,)) -> None:
    """Run a tool. Raises CommandError, in its words, for an exit status that is not good."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise CommandError(f"{words[0]}: {error}") from error
    async with asyncio.timeout(PATIENCE_S):
        said, _ = await process.communicate()
    if process.returncode not in good:
        raise CommandError(f"{' '.join(words)}: {said.decode(errors='replace').strip()}")


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Path]:
    """The folder itself."""
    place = folder / "plain"
    place.mkdir()
    yield place


@asynccontextmanager
async def mounted(folder: Path, *what: str) -> AsyncIterator[Path]:
    """A file system."""
    place = folder / "mounted"
    place.mkdir()
    await command("mount", *what, str(place))
    try:
        yield place
    finally:
        await command("umount", "--lazy", str(place))


def image_of(place: Path) -> Path:
    """What `ext4` has mounted there."""
    return place.with_name("image")


@asynccontextmanager
async def tmpfs(folder: Path) -> AsyncIterator[Path]:
    """Memory: 64 MB and 200 inodes."""
    async with mounted(folder, "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "tmpfs") as place:
        yield place


@asynccontextmanager
async def ext4(folder: Path) -> AsyncIterator[Path]:
    """A file system on a file, which can be frozen, and which an error makes read-only."""
    image = image_of(folder / "mounted")
    with image.open("wb") as file:
        file.truncate(64 << 20)
    await command("mkfs.ext4", "-q", "-F", str(image))
    async with mounted(folder, "-o", "loop,errors=remount-ro", str(image)) as place:
        yield place
