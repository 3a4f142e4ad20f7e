"""Turns: never too many, nobody waits for another's crowd, and no place is lost."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.turns import Turns


class Scene:
    """People who ask for turns, in order, each of which lasts until the test ends it."""

    def __init__(self, at_once: int) -> None:
        self.turns = Turns(at_once)
        self.had: list[str] = []
        self.now = self.most = 0
        self._end = asyncio.Semaphore(0)

    async def ask(self, who: str) -> None:
        async with self.turns.turn(who):
            self.had.append(who)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self._end.acquire()
            finally:
                self.now -= 1

    def begin(self, people: Sequence[str]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.ask(who)) for who in people]

    async def end(self, turns: int) -> None:
        """End that many turns, and let those begin that come after them."""
        for _ in range(turns):
            self._end.release()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_asks_for_many_waits_for_them_and_others_do_not() -> None:
    scene = Scene(2)
    crowd = scene.begin(["crowd"] * 50)
    await settle()
    others = scene.begin(["one", "two"])
    await settle()
    await scene.end(4)
    assert scene.had == ["crowd", "crowd", "crowd", "one", "two", "crowd"]
    await scene.end(50)
    await asyncio.gather(*crowd, *others)
    assert scene.had.count("crowd") == 50


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.integers(1, 4), st.sets(st.integers(0, 29)))
def test_whoever_gives_up_all_others_have_their_turn_and_never_too_many(
    people: list[str], at_once: int, gives_up: set[int]
) -> None:
    async def play() -> None:
        scene = Scene(at_once)
        tasks = scene.begin(people)
        await settle()
        for number in gives_up & set(range(len(tasks))):
            tasks[number].cancel()
        await settle()
        await scene.end(len(people))
        done = await asyncio.gather(*tasks, return_exceptions=True)
        gave_up = [isinstance(outcome, asyncio.CancelledError) for outcome in done]
        assert gave_up == [number in gives_up for number in range(len(people))]
        assert scene.most <= at_once
        again = scene.begin(["z"] * at_once)  # no place is lost
        await settle()
        assert scene.had[-at_once:] == ["z"] * at_once
        await scene.end(at_once)
        await asyncio.gather(*again)

    asyncio.run(play())


async def test_a_turn_that_comes_to_somebody_who_gives_up_at_that_moment_goes_to_the_next() -> None:
    scene = Scene(1)
    first, second, third = scene.begin(["first", "second", "third"])
    await settle()
    scene._end.release()
    while not first.done():  # noqa: ASYNC110 - the moment is one turn of the loop
        await asyncio.sleep(0)
    second.cancel()
    await settle()
    assert scene.had == ["first", "third"]
    await scene.end(1)
    await third
    assert second.cancelled()
