"""The disk of a relay falls ill and gets well: scenes that need neither root nor tools. `make test-faults` has all."""

import sys
from pathlib import Path

import disk_campaign
import pytest
from disk_course import Finding, play
from disk_places import CommandError, command
from disk_scenes import SCENES, Scene

SOME = ("EIO on sync", "ENOSPC on write, nothing queued", "files may not grow", "too many open files")
ANYWHERE = [scene for scene in SCENES if scene.name in SOME]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="limits of another process are Linux's")
@pytest.mark.parametrize("scene", ANYWHERE, ids=lambda scene: scene.name)
async def test_mail_is_put_off_and_nothing_is_lost(scene: Scene, tmp_path: Path) -> None:
    """Never 250 for what is not stored, never 5yz; well again without a restart; everything acknowledged delivered."""
    finding = await play(scene, tmp_path)

    assert finding.broken == []
    assert finding.balance.figures["acknowledged"] >= finding.waiting > 0


async def test_a_tool_that_is_missing_or_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no-such-tool"):
        await command("no-such-tool")
    with pytest.raises(CommandError, match="nowhere"):
        await command("ls", str(tmp_path / "nowhere"))


def test_what_cannot_be_proven_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No scene is left out silently: without root the campaign does not pass."""

    async def cannot(_: Scene, __: Path) -> Finding:
        raise CommandError("mount: only root can do that")

    monkeypatch.setattr(disk_campaign, "play", cannot)
    monkeypatch.setattr(sys, "argv", ["disk_campaign", "tmpfs full"])
    status = disk_campaign.main()

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        "tmpfs full: NOT PROVEN: mount: only root can do that",
        "1 scenes are not as they must be",
    ]


def test_a_scene_that_breaks_down_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The next one is played all the same."""

    async def breaks(scene: Scene, _: Path) -> Finding:
        if scene.name == "tmpfs full":
            raise TimeoutError
        return Finding(scene.name)

    monkeypatch.setattr(disk_campaign, "play", breaks)
    monkeypatch.setattr(sys, "argv", ["disk_campaign", "tmpfs full", "ext4 frozen"])

    assert disk_campaign.main() == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "tmpfs full: BROKEN: TimeoutError()"
    assert told[1].startswith("ext4 frozen")


def test_what_is_broken_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def finds(scene: Scene, _: Path) -> Finding:
        return Finding(scene.name, broken=["/readyz stays 200"])

    monkeypatch.setattr(disk_campaign, "play", finds)
    monkeypatch.setattr(sys, "argv", ["disk_campaign", "tmpfs full"])

    assert disk_campaign.main() == 1
    assert "  BROKEN: /readyz stays 200" in capsys.readouterr().out.splitlines()
