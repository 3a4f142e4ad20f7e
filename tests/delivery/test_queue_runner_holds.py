"""What SES refuses is held, and nobody else's mail: who waits, who asks, what ends it, and where mail is meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from pace_parts import DELIVERED, run
from queue_scene import (
    ANN,
    IDENTITY_REFUSED,
    POSTMASTER,
    SHOP,
    START,
    Scene,
    book,
    gone,
    identities,
    mail,
    no_leaks,
    of,
)

from relay.delivery.claims import BATCH, MOST
from relay.delivery.queue_runner import POLL_S
from relay.model import Deferred, Outcome, Parcel
from relay.policy.lanes import identity_of, lane_below
from relay.policy.retrying import PROBES
from relay.spool.interface import Action, Query, Spooled, State

HOUR = 3600.0
CLIENTS = ("news", "shop", "erp", "crm", "good")
PAIRS = [(client, f"{client}@example.com") for client in CLIENTS]
GOOD = PAIRS.pop()
NEWS, ALERTS = PAIRS[0][1], "alerts@example.com"


def refuses(domain: str, until: float = float("inf"), answer: Outcome = IDENTITY_REFUSED) -> Callable[..., Outcome]:
    """SES refuses the identity of a domain until then."""
    return lambda parcel, now: answer if parcel.identity == domain and now < until else DELIVERED


def refuses_senders(*senders: str, until: float = float("inf")) -> Callable[..., Outcome]:
    """SES refuses what these send, as a policy does that has a condition on the address."""
    return lambda parcel, now: IDENTITY_REFUSED if parcel.sender in senders and now < until else DELIVERED


def held(scene: Scene, name: str = "held") -> list[tuple[str, ...]]:
    """Whose mail was held or released, by the log, in order."""
    keys = ("identity", "client", "sender")
    return [tuple(event[key] for key in keys if key in event) for event in scene.events(name)]


def lanes_of(parcels: Sequence[Spooled]) -> list[str]:
    """Where they wait, each lane once."""
    return sorted({one.part.lane for one in parcels})


# One client's bad mail


def test_a_refused_message_keeps_nobody_else_from_going() -> None:
    """Nor does it when it asks again, every five minutes of an hour, while others bring mail all the time."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS), clients=CLIENTS, letterhead=None)
        [bad] = await post.post(of("news", NEWS))
        async with post.running(watched=True):
            await post.passes(1)
            assert post.sent() == [bad.id]
            for number in range(120):
                brought = await post.post(*(of("shop", arrived=post.wall()) for _ in range(3)))
                await post.passes(POLL_S + 1)
                assert {one.id for one in brought} <= set(post.sent()), number
                await post.passes(30)
            assert 10 <= post.sent().count(bad.id) <= 16

        assert held(post) == []
        assert [one.id for one in await post.parcels()] == [bad.id]
        no_leaks(post)

    run(scene())


def test_a_backlog_that_is_refused_waits_in_a_lane_of_its_own_and_the_others_go() -> None:
    """Older than the others' mail, and longer than what is claimed at a time."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS), clients=CLIENTS, letterhead=None, concurrency=4)
        await post.post(*(of("news", NEWS, arrived=START - 1000 + number) for number in range(5 * BATCH)))
        brought = await post.post(*(of("shop") for _ in range(3)), *(of("news", ALERTS) for _ in range(3)))
        async with post.running(watched=True):
            await post.passes(3 * POLL_S)
            assert {one.id for one in brought} <= set(post.sent())
            left = await post.parcels()
            assert len(left) == 5 * BATCH
            assert lanes_of([one for one in left if one.part.last is None]) == [lane_below("example.com", "news", NEWS)]
            assert len(post.sent()) - len(brought) < 20

            for minute in range(60):
                [one] = await post.post(of("shop", arrived=post.wall()))
                await post.passes(60)
                assert one.id in post.sent(), minute

        assert held(post) == [("example.com", "news", NEWS)]
        assert max(one.part.attempts for one in await post.parcels()) <= 1
        no_leaks(post)

    run(scene())


def test_held_mail_asks_every_five_minutes_and_all_of_it_goes_when_ses_takes_it() -> None:
    """Nothing is lost on the way to its lane and back."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS, until=HOUR), clients=CLIENTS, letterhead=None, concurrency=1)
        stored = await post.post(*(of("news", NEWS) for _ in range(3 * BATCH)))
        async with post.running(watched=True):
            await post.passes(HOUR - 1)
            times = [when for when, _ in post.ses.began]
            assert len(times) <= 3 + 13
            assert all(240 <= later - sooner <= 370 for sooner, later in pairwise(times[2:]))
            await gone(post)

        taken = [one["id"] for one in post.events("delivery") if one["outcome"] == "delivered"]
        assert sorted(taken) == sorted(one.id for one in stored)
        assert held(post, "released") == [("example.com", "news", NEWS)]
        assert post.ses.now < HOUR + 400
        no_leaks(post)

    run(scene())


def test_what_was_held_and_then_waits_for_another_reason_is_back_in_its_identitys_lane() -> None:
    """With others, as if it had never been held."""

    async def scene() -> None:
        later = Deferred(IDENTITY_REFUSED.reply, "other", "not now")  # type: ignore[arg-type]  # any other cause

        def says(parcel: Parcel, now: float) -> Outcome:
            if now < 10:
                return IDENTITY_REFUSED
            return DELIVERED if parcel.id == first.id else later

        post = Scene(says, clients=CLIENTS, letterhead=None, concurrency=1)
        first, *_ = await post.post(*(of("news", NEWS, arrived=START + number / 10) for number in range(6)))
        async with post.running():
            await post.passes(20)
            left = [one for one in await post.parcels() if one.part.last is None]
            assert lanes_of(left) == [lane_below("example.com", "news", NEWS)]
            await post.spool.alter(Query(ids=(first.id,)), Action.RETRY, START)
            await post.passes(PROBES.longest_s * 2.5)
            left = list(await post.parcels(state=State.QUEUED))

        assert held(post, "released") == [("example.com", "news", NEWS)]
        assert {one.part.last.cause for one in left if one.part.last} == {"other"}
        assert lanes_of(left) == ["example.com"]

    run(scene())


def test_a_reload_lets_all_ask_at_once() -> None:
    """Whoever changes the rules may have mended what was refused."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS, until=60), clients=CLIENTS, letterhead=None, concurrency=1)
        await post.post(*(of("news", NEWS) for _ in range(20)))
        async with post.running():
            await post.passes(60)
            assert held(post) == [("example.com", "news", NEWS)]
            post.runner.change(book(clients=CLIENTS), post.another_courier())
            await post.passes(2)
            # those that were tried come back at their own time
            assert len(await post.parcels()) <= 4 + 3
            await gone(post)

        no_leaks(post)

    run(scene())


@pytest.mark.parametrize("pairs", [[("news", NEWS)] * 12, PAIRS * 4], ids=["of a sender", "of an identity"])
def test_a_retry_lets_held_mail_ask_at_once_and_all_of_it_go_when_ses_takes_it(pairs: list[tuple[str, str]]) -> None:
    """Whoever has mended what was wrong need not wait for the next probe; one that is answered no asks no more."""

    async def scene() -> None:
        post = Scene(
            refuses_senders(*(who for _, who in pairs), until=60), clients=CLIENTS, letterhead=None, concurrency=1
        )
        stored = await post.post(*(of(*pair) for pair in pairs))
        async with post.running():
            await post.passes(30)
            tried = len(post.sent())
            await post.spool.alter(Query(lane="example.com"), Action.RETRY, post.wall())
            await post.passes(29)
            assert len(post.sent()) - tried in {1, 2}  # one for each that is held
            await post.passes(2)
            refused = set(post.sent())
            untried = next(one.id for one in stored if one.id not in refused)
            await post.spool.alter(Query(ids=(untried,)), Action.RETRY, post.wall())
            await post.passes(2 * POLL_S)
            assert {one.id for one in await post.parcels()} <= refused  # those come back at their own time

        no_leaks(post)

    run(scene())


def test_a_retry_of_what_was_refused_before_its_sender_was_held_lets_that_sender_ask() -> None:
    """It still stands in the lane of its identity."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS, until=20), clients=CLIENTS, letterhead=None, concurrency=1)
        stored = await post.post(*(of("news", NEWS) for _ in range(6)))
        async with post.running():
            await post.passes(30)
            assert held(post) == [("example.com", "news", NEWS)]
            first = next(one for one in await post.parcels() if one.id == stored[0].id)
            assert first.part.lane == "example.com"
            await post.spool.alter(Query(ids=(first.id,)), Action.RETRY, post.wall())
            await post.passes(2 * POLL_S)
            assert held(post, "released") == [("example.com", "news", NEWS)]

        no_leaks(post)

    run(scene())


@pytest.mark.parametrize("pairs", [[("news", NEWS)] * 9, PAIRS * 3], ids=["of a sender", "of an identity"])
def test_when_ses_takes_it_again_what_was_refused_goes_before_what_came_later(pairs: list[tuple[str, str]]) -> None:
    """The first ones need not wait out the five minutes that were theirs."""

    async def scene() -> None:
        post = Scene(refuses_senders(*(who for _, who in pairs), until=20), clients=CLIENTS, concurrency=1)
        stored = await post.post(*(of(*pair, arrived=START + number / 100) for number, pair in enumerate(pairs)))
        async with post.running():
            await post.passes(30)
            mine = [one.id for one in stored]
            refused = post.sent()
            assert set(mine[:3]) <= set(refused)
            await post.spool.alter(Query(ids=(mine[-1],)), Action.RETRY, post.wall())
            await post.passes(3 * POLL_S)
            first, *others = [name for name in post.sent()[len(refused) :] if name in mine]
            assert others == [name for name in mine if name != first]

        no_leaks(post)

    run(scene())


def test_an_operator_finds_held_mail_by_its_identity() -> None:
    async def scene() -> None:
        post = Scene(refuses_senders(NEWS), clients=CLIENTS, letterhead=None)
        await post.post(*(of("news", NEWS) for _ in range(20)))
        async with post.running():
            await post.passes(10)
            [tally] = await post.spool.tally(Query(lane="example.com"))
            assert (tally.lane, tally.parcels) == ("example.com", 20)
            assert await post.spool.alter(Query(lane="example.com"), Action.DROP, post.wall()) == 20
            await post.passes(HOUR)

        assert await post.parcels() == ()
        no_leaks(post)

    run(scene())


# Identities


def test_a_refused_identity_is_asked_for_every_five_minutes_with_one_message() -> None:
    async def scene() -> None:
        rules = identities("example.com", "other.example")
        post = Scene(refuses("example.com", until=HOUR), *rules, clients=CLIENTS, concurrency=1)
        mine = await post.post(*(of(*pair) for pair in PAIRS * 10))
        others = {one.id for one in await post.post(*(of("shop", "x@other.example") for _ in range(5)))}
        async with post.running(watched=True):
            await post.passes(HOUR - 1)
            times = [when for when, name in post.ses.began if name not in others]
            assert len(times) <= 3 + 13
            assert all(240 <= later - sooner <= 370 for sooner, later in pairwise(times[2:]))
            assert len(await post.parcels(state=State.QUEUED)) == len(mine) + 1  # and the notice to the postmaster
            await gone(post)

        assert held(post)[0] == ("example.com",)
        assert held(post, "released")[0] == ("example.com",)
        assert post.ses.now < HOUR + 400
        no_leaks(post)

    run(scene())


def test_mail_that_ses_takes_gets_its_turn_to_ask_however_much_other_is_older() -> None:
    """The identity is held by what three others send, who each have a backlog: it ends with the first probe."""

    async def scene() -> None:
        bad = [sender for _, sender in PAIRS]
        post = Scene(refuses_senders(*bad), clients=CLIENTS, letterhead=None, concurrency=1)
        await post.post(*(of(*pair, arrived=START - 1000 + number) for number, pair in enumerate(PAIRS * 20)))
        async with post.running(watched=True):
            await post.passes(600)
            assert held(post)[0] == ("example.com",)
            [good] = await post.post(of(*GOOD, arrived=post.wall()))
            await post.passes(PROBES.longest_s * 1.2 + POLL_S)
            assert good.id in post.sent()
            assert ("example.com",) in held(post, "released")

            for number in range(100):  # nor is it ever held again by those
                [good] = await post.post(of(*GOOD, arrived=post.wall()))
                await post.passes(POLL_S + 120)
                assert good.id in post.sent(), number

        assert held(post).count(("example.com",)) == 1
        no_leaks(post)

    run(scene())


def test_a_direct_message_that_gets_through_releases_the_identity() -> None:
    async def scene() -> None:
        post = Scene(refuses("example.com", until=10), clients=CLIENTS, letterhead=None, concurrency=1)
        await post.post(*(of(*pair) for pair in PAIRS * 5))
        async with post.running():
            await post.passes(20)
            assert held(post)[0] == ("example.com",)
            direct = Parcel("direct", "example.com", "us-west-2", "api", "default", SHOP, (ANN,), (b"x",), "arn")
            post.runner.heard(direct, await post.courier.deliver(direct), *GOOD)
            await post.passes(POLL_S)
            assert held(post, "released") == [("example.com",)]
            assert not post.runner._holds.is_held("example.com")
            assert len(set(post.sent())) == 20 + 1
            await gone(post)

        no_leaks(post)

    run(scene())


def test_what_clients_bring_directly_holds_as_well() -> None:
    """And it waits in the spool then, with nobody asking for each of them."""

    async def scene() -> None:
        post = Scene(refuses_senders(NEWS), clients=CLIENTS, letterhead=None)
        for number in range(3):
            direct = Parcel(f"d{number}", "example.com", "us-west-2", "api", "default", NEWS, (ANN,), (b"x",), "arn")
            post.runner.heard(direct, IDENTITY_REFUSED, "news", NEWS)
        await post.post(*(of("news", NEWS) for _ in range(10)), of("shop"))
        async with post.running():
            await post.passes(10)

        assert held(post) == [("example.com", "news", NEWS)]
        assert len(post.sent()) == 1
        assert lanes_of(await post.parcels()) == [lane_below("example.com", "news", NEWS)]
        no_leaks(post)

    run(scene())


@pytest.mark.parametrize("pairs", [PAIRS[:1], PAIRS], ids=["pair", "identity"])
def test_a_probe_that_an_operator_takes_away_lets_another_ask(pairs: list[tuple[str, str]]) -> None:
    """Else it would be held for good: nobody asks, since one is believed to be asking."""

    async def scene() -> None:
        post = Scene(refuses("example.com", until=10), clients=CLIENTS, letterhead=None, concurrency=1)
        await post.post(*(of(*pair) for pair in pairs * 8))
        inspect = post.spool.inspect
        dropped: list[tuple[str, ...]] = []

        async def drops(query: Query) -> Sequence[Spooled]:
            if post.ses.now > 10 and not dropped:
                dropped.append(query.ids)
                await post.spool.alter(query, Action.DROP, post.wall())
            return await inspect(query)

        post.spool.inspect = drops  # type: ignore[method-assign, assignment]  # just when its turn has come
        async with post.running():
            await post.passes(400)
            assert dropped
            await gone(post)

        taken = [one for one in post.events("delivery") if one["outcome"] == "delivered"]
        assert len(taken) == len(pairs) * 8 - 1
        no_leaks(post)

    run(scene())


def test_a_held_lane_without_mail_is_not_looked_at_all_the_time() -> None:
    """An operator has dropped all of it."""

    async def scene() -> None:
        post = Scene(refuses("example.com"), letterhead=None)
        await post.post(*(mail() for _ in range(3)))
        async with post.running():
            await post.passes(10)
            await post.spool.alter(Query(), Action.DROP, START)
            rounds = 0
            agenda = post.spool.agenda

            async def counted() -> object:
                nonlocal rounds
                rounds += 1
                return await agenda()

            post.spool.agenda = counted  # type: ignore[method-assign, assignment]  # to count
            await post.passes(1000)

        assert rounds <= 1000 / POLL_S + 10

    run(scene())


def test_what_is_held_costs_hardly_any_writes() -> None:
    """It moves once; then one message at a time is claimed and written back, every five minutes."""

    async def scene() -> None:
        post = Scene(refuses("example.com"), clients=CLIENTS, letterhead=None)
        await post.post(*(of(*pair) for pair in PAIRS * 50))
        async with post.running(watched=True):
            await post.passes(HOUR)
            before = len(post.spool.writes)
            await post.passes(HOUR)
            writes = [name for name in post.spool.writes[before:] if name in {"claim", "reschedule"}]

        assert len(writes) <= 2 * 15 * (len(PAIRS) + 1)

    run(scene())


def test_many_that_are_held_do_not_slow_down_those_that_are_not() -> None:
    """More lanes than parcels are claimed at a time."""

    async def scene() -> None:
        senders = [f"n{number}@example.com" for number in range(MOST + 100)]
        post = Scene(letterhead=None)
        for sender in senders:
            for number in range(3):
                refused = Parcel(f"m{number}", "example.com", "us-west-2", "api", "", sender, (ANN,), (), "arn")
                post.runner._holds.refused(
                    lane_below("example.com", "local", sender), refused, IDENTITY_REFUSED, post.clock.now(), 0.5
                )
            post.runner._holds.taken(lane_below("example.com", "local", SHOP))
            await post.post(mail(sender), lane=lane_below("example.com", "local", sender))
        await post.post(*(mail() for _ in range(200)))
        async with post.running():
            await post.passes(5)

        assert len(post.sent()) == 200
        assert post.spool.writes.count("claim") < 3 * 200 / BATCH  # none for those that may not go

    run(scene())


def test_the_postmaster_is_told_of_a_refusal_once_and_not_each_time() -> None:
    """SES takes some mail of an identity and refuses other, say by its From."""

    async def scene() -> None:
        answers = iter(range(10_000))
        post = Scene(lambda _, __: IDENTITY_REFUSED if next(answers) % 2 else DELIVERED, concurrency=1)
        await post.post(*(mail() for _ in range(30)))
        async with post.running():
            await post.passes(HOUR / 2)

        told = [one for one in post.events("notice") if one["recipient"] == POSTMASTER]
        assert len(told) == 1
        assert {identity_of(one.part.lane) for one in await post.parcels()} <= {"example.com"}

    run(scene())
