"""What is given back may be claimed again before its old work has heard that it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from memory_spool import MemorySpool
from pace_parts import DELIVERED, run
from queue_scene import ANN, BAD_RECIPIENT, BOB, SHOP, Scene, gone, mail, no_leaks

from relay.model import Outcome, Parcel
from relay.spool.interface import Part, Spooled


class LateNews(MemorySpool):
    """What is rescheduled is written at once, and said to be written some seconds later."""

    async def reschedule(self, parcel: Spooled, parts: Sequence[Part], **notices: Any) -> bool:
        """Give a parcel back."""
        done = await super().reschedule(parcel, parts, **notices)
        await asyncio.sleep(5)
        return done


def test_it_is_worked_on_anew_and_does_not_wait_for_the_end_of_its_lease() -> None:
    """A split makes parcels that are due at once; the runner claims the first before the split is heard of."""

    async def scene() -> None:
        taken: list[str] = []

        def says(parcel: Parcel, _: float) -> Outcome:
            if len(parcel.recipients) > 1:
                return BAD_RECIPIENT
            taken.extend(parcel.recipients)
            return DELIVERED

        post = Scene(says, spool=LateNews())
        await post.post(mail(SHOP, ANN, BOB))
        async with post.running():
            await gone(post, within_s=60)

        assert sorted(taken) == sorted([ANN, BOB])
        no_leaks(post)

    run(scene())
