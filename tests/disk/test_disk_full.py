"""A disk that another file has filled to its last byte: what waits in the spool is delivered all the same.

On a file system of its own. Where none can be mounted it says so: `make test-faults`, which needs root, has scenes of
it that must run, and `tests/spool/test_spool_reserve.py` has it on a disk that is made up, for everybody.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from disk_ailments import no_room
from disk_places import CommandError, tmpfs

from relay.model import Cause, Client, Envelope, Reply
from relay.spool.interface import Mail, Part, Posting, Query, Spooled, State, Verdict
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool
from relay.spool.trouble import Kind, SpoolTrouble

WAITING: Final = 500
ADDRESS: Final = "someone@customer.example"
LONG: Final = Verdict(50.0, Reply(451, "4.4.1", "not now " * 10), Cause.UNAVAILABLE, "503 from somewhere " * 20)
BATCH: Final = 32


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Path]:
    """A small file system."""
    async with AsyncExitStack() as stack:
        try:
            place = await stack.enter_async_context(tmpfs(tmp_path))
        except CommandError as reason:
            pytest.skip(str(reason))
        yield place


@pytest.fixture
async def spool(place: Path) -> AsyncIterator[SqliteSpool]:
    """With 500 parcels that wait, and room that was taken for their delivery when it began."""
    spool = open_spool(Opening(place / "spool.db", min_free_bytes=1_000_000), 0.0)
    await spool.make_room()
    await asyncio.gather(*(spool.put(posting(f"m{number}", b"x" * 7000)) for number in range(WAITING)))
    yield spool
    await spool.close()


def posting(identifier: str, content: bytes) -> Posting:
    mail = Mail(identifier, 1.0, Client("s", "192.0.2.1", "app"), Envelope("app@example.com", (ADDRESS,)), content)
    return Posting(mail, (Part((ADDRESS,), 1.0),))


async def claimed(spool: SqliteSpool, now: float) -> tuple[Spooled, ...]:
    return await spool.claim("", now, now + 600, BATCH)


async def test_all_that_waits_is_delivered(spool: SqliteSpool, place: Path) -> None:
    """Claimed and settled one by one. New mail is refused, and taken again when there is room."""
    async with no_room(0, place):
        assert os.statvfs(place).f_bavail == 0
        with pytest.raises(SpoolTrouble) as caught:
            await spool.put(posting("new", b"x"))
        assert caught.value.kind is Kind.FULL
        delivered = 0
        while parcels := await claimed(spool, 10.0):
            for parcel in parcels:
                assert await spool.settle(parcel)
            delivered += len(parcels)
        assert delivered == WAITING
        assert spool.standing.full

    await spool.put(posting("new", b"x"))
    assert spool.standing.trouble is None


async def test_all_that_waits_is_put_off_and_one_is_given_up(spool: SqliteSpool, place: Path) -> None:
    """With more words than there were; its bounce is in the spool, and the rest is delivered later."""
    async with no_room(0, place):
        put_off = 0
        while parcels := await claimed(spool, 10.0):
            later = [[replace(parcel.part, due=5000.0, last=LONG)] for parcel in parcels]
            assert all(await asyncio.gather(*map(spool.reschedule, parcels, later)))
            put_off += len(parcels)
        assert put_off == WAITING

        dead, *others = await claimed(spool, 6000.0)
        assert await spool.settle(dead, dead=LONG, notices=[posting("bounce", b"y" * 5000)])
        while others:
            assert all(await asyncio.gather(*map(spool.settle, others)))
            others = list(await claimed(spool, 7000.0))

    left = await spool.inspect(Query())
    assert [(one.mail, one.state) for one in left] == [(dead.mail, State.DEAD)]
