"""How much memory this process may use: the smallest of what cgroups allow and what the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

# By controller, of which v2 names none: the folder of its tree, and the file of the limit in each cgroup
_TREES = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}


def memory_limit(own: Path = Path("/proc/self/cgroup"), trees: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes; `own` names this process's cgroups, which are below `trees`: all above them limit it, too.

    In a container the cgroup may be shown as the root of its tree, or by a path that only the host has: then the
    root is what counts, and the rest is not there (cgroups(7), "/proc/[pid]/cgroup").
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *filter(None, map(_limit, _above(own, trees)))])


def _above(own: Path, trees: Path) -> Iterator[Path]:
    """The files of all limits: of lines of number, controllers and path."""
    try:
        lines = own.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        lines = ["0::/", "0:memory:/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in set(controllers.split(",")) & _TREES.keys():
            tree, limit = _TREES[name]
            here = trees / tree / path.lstrip("/")
            yield from (folder / limit for folder in (here, *here.parents) if folder.is_relative_to(trees / tree))


def _limit(place: Path) -> int | None:
    try:
        return int(place.read_text("ascii"))
    except (OSError, ValueError):  # not this kind of cgroup, or "max"
        return None
