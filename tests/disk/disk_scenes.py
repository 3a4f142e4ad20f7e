"""What is tried: a place, what it suffers from, and what the relay still does meanwhile."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import disk_ailments as ailments
import disk_places as places

Place = Callable[[Path], AbstractAsyncContextManager[Path]]
Ailment = Callable[[int, Path], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One fault. `delivers`: what is queued is delivered meanwhile. `small`: small messages are taken, and truly.

    `idle`: nothing waits, so that nobody but the relay itself can find out that the disk is well again. `shim`: the
    relay gets one between itself and its disk. `restart`: the fault goes only when nobody uses the disk, so that the
    relay has to be ended before.
    """

    name: str
    place: Place
    ailment: Ailment
    delivers: bool = True
    small: bool = False
    idle: bool = False
    shim: bool = False
    restart: bool = False


def _ordered(name: str, action: str, error: str, *, idle: bool = False) -> Scene:
    ailment = partial(ailments.ordered, action=action, error=error)
    return Scene(name, places.plain, ailment, delivers=idle, idle=idle, shim=True)


def _injected(name: str, calls: str, error: str) -> Scene:
    ailment = partial(ailments.injected, calls=calls, error=error)
    return Scene(name, places.plain, ailment, delivers=False)


SCENES = (
    _ordered("EIO on sync", "sync", "EIO"),
    _ordered("ENOSPC on sync", "sync", "ENOSPC"),
    _ordered("EIO on write", "write", "EIO"),
    _ordered("ENOSPC on write", "write", "ENOSPC"),
    _ordered("ENOSPC on write, nothing queued", "write", "ENOSPC", idle=True),
    Scene("files may not grow", places.plain, ailments.files_no_larger, delivers=False),
    Scene("too many open files", places.plain, ailments.no_descriptors, delivers=False, small=True),
    Scene("tmpfs full", places.tmpfs, ailments.no_room),
    Scene("tmpfs with little room", places.tmpfs, partial(ailments.no_room, left=700_000)),
    Scene("tmpfs without inodes", places.tmpfs, ailments.no_inodes),
    Scene("ext4 full", places.ext4, ailments.no_room),
    Scene("ext4 frozen", places.ext4, ailments.frozen, delivers=False),
    Scene("ext4 read-only after an error", places.ext4, ailments.read_only, delivers=False, restart=True),
    _injected("syscalls: EIO on sync", "fsync,fdatasync", "EIO"),
    _injected("syscalls: ENOSPC on sync", "fsync,fdatasync", "ENOSPC"),
    _injected("syscalls: EIO on write", "pwrite64", "EIO"),
    _injected("syscalls: ENOSPC on write", "pwrite64", "ENOSPC"),
    _injected("syscalls: EROFS on write", "pwrite64", "EROFS"),
)
