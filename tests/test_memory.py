"""The memory limit: the smallest of cgroups and machine."""

from pathlib import Path

from relay.memory import memory_limit


def test_a_cgroup_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "max").write_text("268435456\n")
    assert memory_limit(tmp_path / "max") == 268_435_456


def test_no_limit_means_the_machine(tmp_path: Path) -> None:
    (tmp_path / "max").write_text("max\n")
    unlimited = memory_limit(tmp_path / "max", tmp_path / "absent")
    assert unlimited == memory_limit(tmp_path / "absent")
    assert unlimited > 64 * 1024 * 1024
