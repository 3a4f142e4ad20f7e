"""The clock is set by a day at random, again and again, while SES fails at random: by exact time, many lives long."""

import random
from collections import Counter

import pytest
from pace_parts import DELIVERED, UNAVAILABLE, run
from queue_scene import Scene, mail

from relay.model import Outcome, Parcel
from relay.policy.retrying import Schedule

DAY = 86_400.0
SCHEDULE = Schedule((60.0, 300.0), 30 * DAY)
MAILS = 40
UNDISTURBED_S = 1.2 * (60 + 300) + 60  # two failures, and some time for everything else


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_sent_twice_or_waits_for_longer_than_a_retry(seed: int) -> None:
    """Each message fails up to twice; each time the clock is set back, it may wait once more for the longest time."""
    chance = random.Random(seed)
    failures = Counter[str]()

    def says(parcel: Parcel, _now: float) -> Outcome:
        failures[parcel.id] -= 1
        return DELIVERED if failures[parcel.id] < 0 else UNAVAILABLE

    async def life() -> None:
        scene = Scene(says, latency=3.0, sync_s=0.02, rate=20.0, schedule=SCHEDULE, chance=chance.random())
        posted = await scene.post(*(mail(arrived=scene.wall()) for _ in range(MAILS)))
        failures.update({parcel.id: chance.randrange(3) for parcel in posted})
        wanted = {name: count + 1 for name, count in failures.items()}
        back = 0
        async with scene.running(watched=True):
            for _ in range(8):
                await scene.passes(chance.uniform(0.5, 120))
                before, scene.jumped = scene.jumped, chance.choice((-DAY, 0.0, DAY))
                back += scene.jumped < before
            await scene.passes(UNDISTURBED_S + back * SCHEDULE.longest_s)
            assert await scene.parcels() == ()
        assert Counter(scene.sent()) == wanted
        assert scene.events("internal_error") == []
        assert len(scene.leases) == 0

    run(life())
