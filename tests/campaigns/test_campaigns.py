"""The campaigns in small: every scene runs and holds its bounds, and a bound that is broken is told and fails."""

import sys
from pathlib import Path

import campaigns
import pytest
from campaign_process import Figure, Measured
from campaign_scenes import SCENES, Scene, Sizes

SMALL = Sizes(
    idle=100,
    churn_per_s=100,
    churn_s=1,
    slow=5,
    endless_mib=50,
    recipients=200,
    headers=20_000,
    big=6,
    big_bytes=4_000_000,
)
# Bounds in numbers of the large scenes, or in time that this scene spends waiting, are for `make campaigns`.
QUICK = [scene for scene in SCENES if scene.name not in ("slow", "big")]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="figures come from Linux's /proc")
@pytest.mark.parametrize("scene", QUICK, ids=lambda scene: scene.name)
async def test_a_small_scene_holds_its_bounds(scene: Scene) -> None:
    figures = await campaigns.run(scene, SMALL)

    assert [each for each in figures if not each.holds] == []
    assert len(figures) >= 2


def test_a_broken_bound_is_told_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is for machines, the word for people."""

    async def work(_: Measured, __: Sizes) -> list[Figure]:
        return [
            Figure("a", "too much", 3, 2, "MiB"),
            Figure("a", "enough", 2, 2, ""),
            Figure("a", "few", 1.5, 2, "", True),
        ]

    async def run(scene: Scene, sizes: Sizes) -> list[Figure]:
        return await scene.work(None, sizes)  # type: ignore[arg-type] # nothing is measured here

    monkeypatch.setattr(campaigns, "SCENES", (Scene("a", {}, work),))
    monkeypatch.setattr(campaigns, "run", run)
    monkeypatch.setattr(sys, "argv", ["campaigns"])
    status = campaigns.main()

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        "a  too much  3    <= 2  MiB  BROKEN",
        "a  enough    2    <= 2",
        "a  few       1.5  >= 2       BROKEN",
        "2 bounds broken",
    ]
