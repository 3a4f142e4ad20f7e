"""How much memory this process may use: the smallest of what cgroups allow and what the machine has."""

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/memory.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit(*places: Path) -> int:
    """Bytes; `places` are read as cgroup limits, by default those of cgroups v2 and v1 as a container sees them."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *filter(None, map(_limit, places or (_CGROUP_V2, _CGROUP_V1)))])


def _limit(place: Path) -> int | None:
    try:
        return int(place.read_text("ascii"))
    except (OSError, ValueError):  # not this kind of cgroup, or "max"
        return None
