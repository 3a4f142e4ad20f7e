"""What a disk may suffer from: each strikes a running relay from outside, and ends when its context does."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from disk_places import CommandError, command, image_of

PATIENCE_S = 30.0
ORDERS = "orders.json"
_PIECE = 1 << 20


@asynccontextmanager
async def no_room(_: int, place: Path, *, left: int = 0) -> AsyncIterator[None]:
    """No more than so many bytes are free."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (_PIECE, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
        file.truncate(file.tell() - left)
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def no_inodes(_: int, place: Path) -> AsyncIterator[None]:
    """Not a file more."""
    crowd = place / "crowd"
    crowd.mkdir()
    with contextlib.suppress(OSError):
        for number in range(os.statvfs(place).f_files):
            (crowd / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(crowd)


@asynccontextmanager
async def frozen(_: int, place: Path) -> AsyncIterator[None]:
    """Whoever writes waits: a disk that does not answer any more."""
    await command("fsfreeze", "--freeze", str(place))
    try:
        yield
    finally:
        await command("fsfreeze", "--unfreeze", str(place))


@asynccontextmanager
async def read_only(_: int, place: Path) -> AsyncIterator[None]:
    """The kernel has found an error in the file system, which is read-only from then on, until it is mounted anew."""
    _trigger_of(place).write_text("1", "ascii")
    try:
        yield
    finally:
        await command("umount", "--lazy", str(place))
        await command("e2fsck", "-p", str(image_of(place)), good=(0, 1))
        await command("mount", "-o", "loop,errors=remount-ro", str(image_of(place)), str(place))


def _trigger_of(place: Path) -> Path:
    """By what the kernel is told to find one (ext4's sysfs interface)."""
    device = place.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    return Path(f"/sys/fs/ext4/{name}/trigger_fs_error")


@asynccontextmanager
async def limited(pid: int, _: Path, *, what: int, soft: int) -> AsyncIterator[None]:
    """The kernel grants the process less (setrlimit(2))."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def files_no_larger(pid: int, place: Path) -> contextlib.AbstractAsyncContextManager[None]:
    """EFBIG beyond 64 KiB: what has been written may be written again, and nothing grows."""
    return limited(pid, place, what=resource.RLIMIT_FSIZE, soft=64 << 10)


def no_descriptors(pid: int, place: Path) -> contextlib.AbstractAsyncContextManager[None]:
    """EMFILE: not a file or socket more than are open."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return limited(pid, place, what=resource.RLIMIT_NOFILE, soft=min(set(range(len(used) + 1)) - used))


@asynccontextmanager
async def ordered(_: int, place: Path, *, action: str, error: str) -> AsyncIterator[None]:
    """The shim between the relay and its disk fails what it is told to."""
    draft = place / "draft.json"
    draft.write_text(json.dumps({action: error}), "ascii")
    draft.rename(place / ORDERS)
    try:
        yield
    finally:
        (place / ORDERS).unlink()


@asynccontextmanager
async def injected(pid: int, _: Path, *, calls: str, error: str) -> AsyncIterator[None]:
    """The kernel's calls themselves fail, by a tracer that lets go of the relay in the end."""
    if shutil.which("strace") is None:
        raise CommandError("there is no strace on this machine")
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-f", "-q", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}",
        "-p", str(pid), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await _attached(pid, tracer)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracer.send_signal(signal.SIGINT)
        await tracer.communicate()


async def _attached(pid: int, tracer: asyncio.subprocess.Process) -> None:
    """Wait until every thread is traced."""
    for _ in range(int(PATIENCE_S / 0.05)):
        if _traced(pid, tracer.pid):
            return
        if tracer.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise CommandError(f"strace cannot attach to process {pid}")


def _traced(pid: int, tracer: int) -> bool:
    """Whether all threads are (proc_pid_status(5))."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all(f"TracerPid:\t{tracer}\n" in (task / "status").read_text("ascii") for task in tasks)
