"""What the relay works on: nothing twice, whatever the clock does, and for as long as it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_spool import MemorySpool
from queue_scene import ANN, START, mail

from relay.delivery.leases import LEASE_S, Leases
from relay.spool.interface import Action, Part, Posting, Query, Spooled
from relay.spool.trouble import Kind, SpoolTrouble


async def claimed(spool: MemorySpool, now: float = START) -> Spooled:
    """What is due, leased."""
    [parcel] = await spool.claim("", now, now + LEASE_S, 1)
    return parcel


async def one_parcel(spool: MemorySpool) -> Spooled:
    await spool.put(Posting(mail(), (Part((ANN,), START),)))
    return await claimed(spool)


async def test_a_claim_of_what_is_in_hand_brings_its_newer_ticket() -> None:
    """After the clock was set forward: the lease has ended, but not the work."""
    spool = MemorySpool()
    leases = Leases(spool)
    lease = leases.take(await one_parcel(spool), START + LEASE_S)
    assert lease is not None
    again = await claimed(spool, START + 86_400)

    assert leases.take(again, START + 86_400 + LEASE_S) is None
    assert len(leases) == 1
    assert lease.parcel is again
    assert await spool.settle(lease.parcel)


async def test_when_it_is_done_it_may_be_taken_again() -> None:
    spool = MemorySpool()
    leases = Leases(spool)
    lease = leases.take(await one_parcel(spool), START + LEASE_S)
    assert lease is not None
    leases.done(lease)

    assert len(leases) == 0
    assert leases.take(lease.parcel, START) is not None


async def test_a_new_parcel_with_the_number_of_one_that_has_just_gone_is_another() -> None:
    """SQLite gives numbers again; the work on the old one may not have heard yet that it is over."""
    spool = MemorySpool()
    leases = Leases(spool)
    old = leases.take(await one_parcel(spool), START + LEASE_S)
    assert old is not None
    await spool.settle(old.parcel)
    new = await one_parcel(spool)
    assert new.number == old.parcel.number

    taken = leases.take(new, START + LEASE_S)
    assert taken is not None
    leases.done(old)
    assert len(leases) == 1
    leases.done(taken)


async def test_what_takes_long_is_renewed_and_nobody_else_claims_it() -> None:
    spool = MemorySpool()
    leases = Leases(spool)
    lease = leases.take(await one_parcel(spool), START + LEASE_S)
    assert lease is not None
    for minutes in range(1, 120):
        now = START + 60 * minutes
        await leases.keep(now)
        assert await spool.claim("", now, now + LEASE_S, 1) == ()

    assert spool.writes.count("renew") < 20
    assert await spool.settle(lease.parcel)


async def test_an_operator_who_drops_it_voids_the_lease() -> None:
    spool = MemorySpool()
    leases = Leases(spool)
    lease = leases.take(await one_parcel(spool), START + LEASE_S)
    assert lease is not None
    await spool.alter(Query(), Action.DROP, START)
    await leases.keep(START + LEASE_S)

    assert lease.until == START + LEASE_S
    assert not await spool.settle(lease.parcel)


async def test_a_disk_that_fails_is_said_and_the_next_time_it_is_renewed() -> None:
    spool = MemorySpool()
    leases = Leases(spool)
    first = await one_parcel(spool)
    lease = leases.take(replace(first), START + LEASE_S)
    assert lease is not None
    spool.ill = Kind.FAILING
    with pytest.raises(SpoolTrouble):
        await leases.keep(START + LEASE_S)
    spool.ill = None
    await leases.keep(START + LEASE_S)

    assert lease.until == START + 2 * LEASE_S


async def test_a_parcel_claimed_again_before_its_old_work_has_ended_is_worked_on_anew() -> None:
    """What was given back may be due at once; the claim may be heard of before the write that made it possible."""
    spool = MemorySpool()
    leases = Leases(spool)
    again: list[tuple[Spooled, float]] = []
    leases.claimed_again = lambda parcel, until: again.append((parcel, until))
    first = await one_parcel(spool)
    lease = leases.take(first, START + LEASE_S)
    assert lease is not None
    assert await spool.reschedule(first, [replace(first.part, due=START)])
    (second,) = await spool.claim("", START, START + LEASE_S, 1)
    assert leases.take(second, START + LEASE_S) is None
    lease.ended = first  # as the settlement notes when it hears that it is written
    leases.done(lease)

    assert again == [(second, START + LEASE_S)]
    assert leases.take(second, START + LEASE_S) is not None
