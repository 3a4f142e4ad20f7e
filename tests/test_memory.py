"""The memory limit: the smallest of all cgroups above this process, and of the machine."""

from pathlib import Path

import pytest

from relay.memory import memory_limit

MACHINE = memory_limit(Path("/nowhere"), Path("/nowhere"))
MB = 1_000_000


def limited(folder: Path, own: str, **limits: int | str) -> int:
    """The limit of a process with these cgroups; `limits` by file, with _ for / and a last part of its own."""
    (folder / "own").write_text(own)
    for place, limit in limits.items():
        file = folder / "trees" / Path(*place.split("_")) / ("limit_in_bytes" if place.startswith("memory") else "max")
        file = file.with_name(f"memory.{file.name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return memory_limit(folder / "own", folder / "trees")


def test_no_limit_means_the_machine(tmp_path: Path) -> None:
    assert MACHINE > 64 * MB
    assert limited(tmp_path, "0::/app\n", app="max") == MACHINE


def test_a_container_sees_its_cgroup_as_the_root(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("268435456\n")
    (tmp_path / "own").write_text("0::/\n")

    assert memory_limit(tmp_path / "own", tmp_path) == 268_435_456
    assert memory_limit(tmp_path / "nothing", tmp_path) == 268_435_456


@pytest.mark.parametrize(
    ("service", "slice_", "limit"), [(64 * MB, "max", 64 * MB), ("max", 65 * MB, 65 * MB), (66 * MB, 65 * MB, 65 * MB)]
)
def test_a_service_has_its_own_limit_and_that_of_its_slice(
    tmp_path: Path, service: int | str, slice_: int | str, limit: int
) -> None:
    """`MemoryMax=` of a unit, or of the slice that it is in."""
    own = "0::/system/relay\n"

    assert limited(tmp_path, own, system=slice_, system_relay=service) == limit


def test_cgroups_of_version_1_count(tmp_path: Path) -> None:
    own = "12:cpu,cpuacct:/x\n7:memory:/docker/relay\n0::/docker/relay\n"

    assert limited(tmp_path, own, memory_docker="max", memory_docker_relay=70 * MB) == 70 * MB


def test_a_path_that_only_the_host_has_leaves_the_root(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(str(71 * MB))
    (tmp_path / "own").write_text("7:memory:/kubepods/pod1\n")

    assert memory_limit(tmp_path / "own", tmp_path) == 71 * MB
