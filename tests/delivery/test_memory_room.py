"""Room for contents: a bound, first come, first served, and nothing that stays taken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pace_parts import run

from relay.delivery.memory_room import MemoryRoom, Stay


@dataclass
class Guests:
    """Who is in the room, in the order in which they came in."""

    room: MemoryRoom
    inside: dict[str, int] = field(default_factory=dict)
    came_in: list[str] = field(default_factory=list)
    most: int = 0

    async def stay(self, name: str, size: int, leave: asyncio.Event) -> None:
        """Come, stay, and leave whatever happens."""
        place = Stay(self.room)
        try:
            await place.enter(size)
            self.inside[name] = size
            self.came_in.append(name)
            self.most = max(self.most, sum(self.inside.values()))
            await leave.wait()
        finally:
            self.inside.pop(name, None)
            place.leave()


async def settle() -> None:
    """Whoever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_is_bounded_and_first_come_is_first_served() -> None:
    """A small one does not pass a large one that waits."""
    guests, exits = Guests(MemoryRoom(10)), [asyncio.Event() for _ in range(4)]
    sizes = {"a": 6, "b": 5, "c": 1, "d": 4}
    tasks = [
        asyncio.create_task(guests.stay(*one, leave)) for one, leave in zip(sizes.items(), exits, strict=True)
    ]  # fmt: skip
    await settle()
    assert guests.came_in == ["a"]

    exits[0].set()
    await settle()
    assert guests.came_in == ["a", "b", "c", "d"]
    for leave in exits:
        leave.set()
    await asyncio.gather(*tasks)
    assert guests.most == 10


async def test_what_is_larger_than_the_room_goes_alone() -> None:
    guests, exits = Guests(MemoryRoom(10)), [asyncio.Event() for _ in range(3)]
    tasks = [
        asyncio.create_task(guests.stay(*one, leave))
        for one, leave in zip({"small": 1, "huge": 100, "after": 1}.items(), exits, strict=True)
    ]
    await settle()
    assert guests.came_in == ["small"]
    exits[0].set()
    await settle()
    assert guests.inside == {"huge": 100}
    exits[1].set()
    await settle()
    assert guests.inside == {"after": 1}
    exits[2].set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("who", ["inside", "first in line", "last in line"])
async def test_who_is_cancelled_leaves_no_place_taken(who: str) -> None:
    """Else there would be less room each time, and none in the end."""
    guests, leave = Guests(MemoryRoom(10)), asyncio.Event()
    tasks = {
        name: asyncio.create_task(guests.stay(name, 10, leave)) for name in ("inside", "first in line", "last in line")
    }
    await settle()
    tasks[who].cancel()
    await settle()
    leave.set()
    ends = await asyncio.gather(*tasks.values(), return_exceptions=True)

    assert sum(isinstance(end, asyncio.CancelledError) for end in ends) == 1
    assert guests.came_in == [name for name in tasks if name != who or who == "inside"]
    await asyncio.wait_for(guests.room.take(10), 1)


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5), st.integers(0, 8)), max_size=30), st.integers(1, 10)
)  # fmt: skip
def test_whatever_comes_and_goes_the_bound_holds_and_all_come_in(
    guests: list[tuple[int, int, int]], limit: int
) -> None:
    """Sizes, seconds of stay, and when who loses patience (0: nobody does)."""

    async def scene() -> None:
        hall = Guests(MemoryRoom(limit))

        async def guest(name: str, size: int, seconds: int, patience: int) -> None:
            leave = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds, leave.set)
            try:
                async with asyncio.timeout(patience or None):
                    await hall.stay(name, size, leave)
            except TimeoutError:
                return
            assert name in hall.came_in

        await asyncio.gather(*(guest(str(number), *one) for number, one in enumerate(guests)))
        assert hall.inside == {}
        assert hall.most <= max([limit, *(size for size, _, _ in guests)])
        await asyncio.wait_for(hall.room.take(limit), 1)

    run(scene())
