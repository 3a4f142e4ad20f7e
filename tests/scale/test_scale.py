"""The scale campaign in small: every scene runs, and holds what does not depend on how busy the machine is."""

import sys
from pathlib import Path

import pytest
import scale
from campaign_process import Figure
from scale_scenes import SCENES, Scene, Sizes, Store

SMALL = Sizes(few=300, many=2_000, outage_s=0.5, drained=1_000, rates=((20, 3),), settle_s=2, ahead=300, others=2)
HURRIED = {"long-queue", "claims"}  # whose times tell how busy the machine is: for `make test-scale`


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="figures come from Linux's /proc")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_small_scene_holds_its_bounds(scene: Scene, tmp_path: Path) -> None:
    figures = await scene.work(Store(tmp_path), SMALL)

    timed = {"s", "ms", "/s"} if scene.name in HURRIED else set()
    assert [each for each in figures if not each.holds and each.unit not in timed] == []
    assert len(figures) >= 2


def test_a_broken_bound_is_told_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is for machines, the word for people."""

    async def work(_: Store, sizes: Sizes) -> list[Figure]:
        return [Figure(f"{sizes.many}", "too much", 3, 2, "MiB")]

    monkeypatch.setattr(scale, "SCENES", (Scene("a", work),))
    monkeypatch.setattr(sys, "argv", ["scale", "--many", "7"])
    status = scale.main()

    assert status == 1
    assert capsys.readouterr().out.splitlines() == ["7  too much  3  <= 2  MiB  BROKEN", "1 bounds broken"]
