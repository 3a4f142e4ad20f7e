"""The relay with a spool, as a process: what SES does not take now is kept, tried again, told, and never lost."""

from __future__ import annotations

import asyncio
import email
import http.client
import re
import signal
import smtplib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from relay_process import Bench, RunningRelay, submit

from relay.simulator import Fault
from relay.spool.interface import Query, Spooled, State
from relay.spool.opening import Opening
from relay.spool.sqlite import share_spool

SHOP, NEWS = "shop@example.com", "news@example.com"
MESSAGE = b"From: shop@example.com\r\nTo: ann@customer.example\r\nSubject: hi\r\n\r\nhello\r\n"
QUEUED = re.compile(r"2\.0\.0 Ok queued as ([0-9a-f]{16})")
DOWN = Fault(action="error")
REFUSED = Fault(action="refuse", code="MessageRejected", status=400, text="Illegal filename", sender=SHOP)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the relay's spool is."""
    return tmp_path / "spool.db"


def settings(spool: Path, **changes: Any) -> dict[str, Any]:
    """A relay with a spool on this path, which tries again after a second."""
    return {
        "spool": {"path": str(spool), "min_free_bytes": "1KB"},
        "delivery": {"hold_s": 0.2, "retry": ["1s"], "lifetime": "5d"} | changes.pop("delivery", {}),
        "admin": {"bind": "127.0.0.1:0"},
    } | changes


async def parcels(spool: Path, **query: Any) -> Sequence[Spooled]:
    """What is in it, as a queue command would see it."""
    shared = share_spool(Opening(spool))
    try:
        return await shared.inspect(Query(**query))
    finally:
        await shared.close()


def id_of(reply: tuple[int, str]) -> str:
    """What the client heard as "queued as"."""
    found = QUEUED.fullmatch(reply[1])
    assert reply[0] == 250, reply
    assert found, reply
    return found[1]


async def gone(relay: RunningRelay, mail: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many parcels of a mail have left the queue."""
    while True:
        found = [e for e in relay.log if e["event"] == "delivery" and e["id"].startswith(mail)]
        ended = [event for event in found if event["outcome"] in {"delivered", "dead"}]
        if len(ended) >= count:
            return ended
        await relay.event("delivery", len([e for e in relay.log if e["event"] == "delivery"]) + 1)


async def test_what_ses_takes_at_once_never_touches_the_spool(bench: Bench, spool: Path) -> None:
    """Direct first: the answer is SES's own, and the spool stays empty."""
    relay = await bench.start(**settings(spool, delivery={"hold_s": 30}))
    reply = await submit(relay, SHOP, MESSAGE)
    [got] = await bench.ses.wait_for(1)

    assert reply == (250, f"2.0.0 Ok {got.message_id}")
    assert await parcels(spool) == ()


@pytest.mark.parametrize("acknowledge", ["on_delivery", "on_spool"])
async def test_an_outage_costs_time_and_no_mail(bench: Bench, spool: Path, acknowledge: str) -> None:
    """While SES is down clients hear 250 queued; when it is back every message arrives, once."""
    bench.ses.faults.add(DOWN)
    relay = await bench.start(**settings(spool, delivery={"acknowledge": acknowledge}))
    mails = [id_of(await submit(relay, SHOP, MESSAGE)) for _ in range(5)]
    assert {parcel.mail for parcel in await parcels(spool)} == set(mails)

    bench.ses.faults.clear()
    got = await bench.ses.wait_for(5)
    for mail in mails:
        [end] = await gone(relay, mail)
        assert end["outcome"] == "delivered"
    assert len(bench.ses.received) == 5
    assert {end["ses_message_id"] for end in relay.log if end.get("outcome") == "delivered"} == {
        one.message_id for one in got
    }
    assert await parcels(spool) == ()


async def test_a_slow_ses_is_answered_queued_and_gets_it_once(bench: Bench, spool: Path) -> None:
    """The hold ends while the attempt runs: 250 queued, and the attempt's end settles it."""
    bench.ses.faults.add(Fault(action="delay", count=1))
    relay = await bench.start(**settings(spool))
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    [waiting] = await parcels(spool)
    assert (waiting.mail, waiting.part.attempts) == (mail, 1)

    bench.ses.faults.release()
    [end] = await gone(relay, mail)
    assert end["outcome"] == "delivered"
    assert len(bench.ses.received) == 1
    assert await parcels(spool) == ()


async def test_a_restart_takes_up_what_was_left(bench: Bench, spool: Path) -> None:
    """Mail queued by one relay is delivered by the next, even after kill -9."""
    bench.ses.faults.add(DOWN)
    relay = await bench.start(**settings(spool))
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    relay.tell(signal.SIGKILL)
    assert await relay.end() == -signal.SIGKILL

    bench.ses.faults.clear()
    relay = await bench.start(**settings(spool))
    [end] = await gone(relay, mail)
    assert end["outcome"] == "delivered"


async def test_what_ses_refuses_for_good_bounces(bench: Bench, spool: Path) -> None:
    """A parcel that dies tells its sender in SES's words, by RFC 3464, and stays as a dead letter."""
    bench.ses.faults.add(
        Fault(action="refuse", code="MessageRejected", status=400, text="Illegal filename 'x.exe'", sender=SHOP)
    )
    relay = await bench.start(
        **settings(spool, delivery={"acknowledge": "on_spool"}, bounces={"from": "mailer-daemon@example.com"})
    )
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    [end] = await gone(relay, mail)
    [bounce] = await bench.ses.wait_for(1)

    assert end["outcome"] == "dead"
    assert (bounce.sender, bounce.recipients) == ("mailer-daemon@example.com", (SHOP,))
    report = email.message_from_bytes(bounce.raw)
    assert report["Auto-Submitted"] == "auto-replied"
    assert report.get_content_type() == "multipart/report"
    assert "Illegal filename 'x.exe'" in bounce.raw.decode()
    assert "ann@customer.example" in bounce.raw.decode()
    [dead] = await parcels(spool, state=State.DEAD)
    assert (dead.mail, dead.part.recipients) == (mail, ("ann@customer.example",))


async def test_a_bounce_that_dies_is_not_bounced(bench: Bench, spool: Path) -> None:
    """It becomes a dead letter of its own, and the postmaster is told."""
    bench.ses.faults.add(
        Fault(
            action="refuse", code="MessageRejected", status=400, text="Illegal filename", recipient="*@customer.example"
        )
    )
    bench.ses.faults.add(
        Fault(action="refuse", code="MessageRejected", status=400, text="Illegal filename", recipient=SHOP)
    )
    relay = await bench.start(
        **settings(
            spool,
            delivery={"acknowledge": "on_spool"},
            bounces={"from": "mailer-daemon@example.com", "postmaster": "ops@example.com"},
        )
    )
    id_of(await submit(relay, SHOP, MESSAGE))
    [notice] = await bench.ses.wait_for(1)

    assert notice.recipients == ("ops@example.com",)
    dead = await parcels(spool, state=State.DEAD)
    assert sorted(one.envelope.sender for one in dead) == ["mailer-daemon@example.com", SHOP]
    assert await parcels(spool, state=State.QUEUED) == ()


async def test_more_than_fifty_recipients_are_shared_out(bench: Bench, spool: Path) -> None:
    """With a spool a message may have many recipients; each hears of it once."""
    relay = await bench.start(**settings(spool, delivery={"hold_s": 30}))
    names = [f"r{number}@customer.example" for number in range(120)]
    code, text = await submit(relay, SHOP, MESSAGE, *names)
    got = await bench.ses.wait_for(3)

    assert (code, text.startswith("2.0.0 Ok ")) == (250, True)
    assert sorted(to for one in got for to in one.recipients) == sorted(names)
    assert max(len(one.recipients) for one in got) <= 50


async def test_one_bad_recipient_does_not_sink_the_others(bench: Bench, spool: Path) -> None:
    """SES refuses the parcel because of one address: each is sent by itself, and only that one bounces."""
    bench.ses.faults.add(
        Fault(
            action="refuse", code="InvalidParameterValue", status=400, text="Missing final '@domain'",
            reply="554 Missing final '@domain'", recipient="bad@customer.example",
        )
    )  # fmt: skip
    relay = await bench.start(**settings(spool, bounces={"from": "mailer-daemon@example.com"}))
    mail = id_of(
        await submit(relay, SHOP, MESSAGE, "ann@customer.example", "bad@customer.example", "bob@customer.example")
    )
    got = await bench.ses.wait_for(3)

    ends = await gone(relay, mail, 3)
    assert sorted((end["recipients"][0].partition("@")[0], end["outcome"]) for end in ends) == [
        ("ann", "delivered"), ("bad", "dead"), ("bob", "delivered"),
    ]  # fmt: skip
    assert sorted(to for one in got for to in one.recipients) == ["ann@customer.example", "bob@customer.example", SHOP]


async def test_an_identity_that_ses_refuses_waits_for_its_owner(bench: Bench, spool: Path) -> None:
    """Its mail is held, the postmaster told at once, and others go on."""
    bench.ses.faults.add(Fault(action="refuse", code="AccessDenied", status=403, text="not authorized", sender=SHOP))
    relay = await bench.start(
        **settings(
            spool,
            delivery={"acknowledge": "on_spool"},
            bounces={"from": "mailer-daemon@example.net", "postmaster": "ops@example.net"},
        )
    )
    for _ in range(3):
        id_of(await submit(relay, SHOP, MESSAGE))
    held = await relay.event("held")
    [notice] = await bench.ses.wait_for(1)

    assert (held["identity"], held["sender"]) == ("example.com", SHOP)
    assert (notice.sender, notice.recipients) == ("mailer-daemon@example.net", ("ops@example.net",))
    assert len(await parcels(spool, state=State.QUEUED, lane="example.com")) == 3
    assert len(bench.ses.turned_away) <= 4


@pytest.mark.parametrize("acknowledge", ["on_delivery", "on_spool"])
@pytest.mark.parametrize("refused", [1, 5])
async def test_one_clients_refused_mail_keeps_no_other_client_from_sending(
    bench: Bench, spool: Path, acknowledge: str, refused: int
) -> None:
    """A policy that lets an identity be used by some addresses only, and a client that sends as another."""
    bench.ses.faults.add(Fault(action="refuse", code="AccessDenied", status=403, text="not authorized", sender=NEWS))
    clients = [{"name": "news", "networks": ["127.0.0.2"]}, {"name": "shop", "networks": ["127.0.0.1"]}]
    delivery = {"acknowledge": acknowledge, "configuration_errors": "defer"}
    relay = await bench.start(**settings(spool, delivery=delivery, clients=clients))
    bad = [
        id_of(await submit(relay, NEWS, MESSAGE.replace(SHOP.encode(), NEWS.encode()), peer="127.0.0.2"))
        for _ in range(refused)
    ]
    await relay.event("delivery", min(refused, 3))
    for _ in range(3):
        assert (await submit(relay, SHOP, MESSAGE))[0] == 250
    got = await bench.ses.wait_for(3)

    assert [one.sender for one in got] == [SHOP] * 3
    left = await parcels(spool)
    assert {one.mail for one in left if one.envelope.sender == NEWS} == set(bad)
    assert {(one.client.name, one.state) for one in left if one.mail in bad} == {("news", State.QUEUED)}
    held = [(event["client"], event["sender"]) for event in relay.log if event["event"] == "held"]
    assert held == ([("news", NEWS)] if refused >= 3 else [])


async def test_a_second_relay_on_the_same_spool_does_not_start(bench: Bench, spool: Path) -> None:
    """In words, with exit status 1."""
    await bench.start(**settings(spool))
    second = await bench.start(wait=False, **settings(spool))
    refused = await second.event("spool_refused")
    assert await second.end() == 1

    assert "another relay" in refused["reason"]


async def test_sigterm_with_mail_in_flight_is_answered_or_spooled(bench: Bench, spool: Path) -> None:
    """A client that waits for a slow SES hears 250 queued when the relay is told to end; the next relay goes on."""
    bench.ses.faults.add(Fault(action="delay", count=1))
    relay = await bench.start(**settings(spool, delivery={"hold_s": 60}, limits={"drain_s": 1}))
    waiting = asyncio.ensure_future(submit(relay, SHOP, MESSAGE))
    await bench.ses.faults.wait_held()
    began = time.monotonic()
    relay.tell(signal.SIGTERM)
    mail = id_of(await waiting)
    assert await relay.end() == 0
    assert time.monotonic() - began < 10

    [left] = await parcels(spool)
    assert (left.mail, left.part.lost) == (mail, 1)


async def test_a_lost_answer_is_not_tried_again_at_once(bench: Bench, spool: Path) -> None:
    """The message is queued as one that may have been sent; the next attempt is at least ten minutes away."""
    bench.ses.faults.add(Fault(action="lose_answer", count=1))
    relay = await bench.start(**settings(spool))
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    tried = await relay.event("delivery")
    [left] = await parcels(spool)

    assert (tried["outcome"], tried["cause"]) == ("deferred", "lost_answer")
    assert tried["again_s"] >= 600
    assert (left.mail, left.part.lost, left.part.attempts) == (mail, 1, 1)
    assert len(bench.ses.received) == 1


async def test_spooled_mail_heals_when_the_rules_do(bench: Bench, spool: Path) -> None:
    """Its rule is gone: it waits. The rule comes back: it goes, under the rules of that moment."""
    bench.ses.faults.add(DOWN)
    relay = await bench.start(**settings(spool))
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    config = bench.config(**settings(spool))
    rule = next(one for one in config["identities"] if one["name"] == "example.com")
    bench.write(config | {"identities": [one for one in config["identities"] if one is not rule]})
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    while not any(e["event"] == "delivery" and e["cause"] == "rules" for e in relay.log if "cause" in e):
        await relay.event("delivery", len([e for e in relay.log if e["event"] == "delivery"]) + 1)
    bench.ses.faults.clear()

    bench.write(config | {"identities": [rule | {"name": "renamed"}]})
    relay.tell(signal.SIGHUP)
    [end] = await gone(relay, mail)
    assert (end["outcome"], end["identity"]) == ("delivered", "renamed")


async def test_a_full_disk_refuses_at_mail_and_is_seen_by_probes(bench: Bench, spool: Path) -> None:
    """452 4.3.1 before anything is sent, 503 for readiness; what is queued goes on."""
    bench.ses.faults.add(DOWN)
    relay = await bench.start(**settings(spool))
    mail = id_of(await submit(relay, SHOP, MESSAGE))
    full = settings(spool) | {"spool": {"path": str(spool), "min_free_bytes": "900000GB"}}
    bench.write(bench.config(**full))
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")

    assert await submit(relay, SHOP, MESSAGE) == (
        452, "4.3.1 The relay has no room for more mail, please try again later",
    )  # fmt: skip
    assert await readiness(relay) == 503
    bench.ses.faults.clear()
    [end] = await gone(relay, mail)
    assert end["outcome"] == "delivered"

    bench.write(bench.config(**settings(spool)))
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded", 2)
    assert await readiness(relay) == 200
    assert (await submit(relay, SHOP, MESSAGE))[0] == 250


async def test_who_asked_for_silence_gets_no_bounce(bench: Bench, spool: Path) -> None:
    """NOTIFY=NEVER (RFC 3461): the message dies without a word; without bounces.from every one does."""
    bench.ses.faults.add(REFUSED)
    relay = await bench.start(
        **settings(spool, delivery={"acknowledge": "on_spool"}, bounces={"from": "mailer-daemon@example.com"})
    )

    def talk() -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=60) as client:
            client.ehlo()
            client.mail(SHOP)
            client.rcpt("ann@customer.example", ["NOTIFY=NEVER"])
            return client.data(MESSAGE)

    code, text = await asyncio.to_thread(talk)
    [end] = await gone(relay, id_of((code, text.decode())))
    assert end["outcome"] == "dead"
    assert bench.ses.received == ()
    assert await parcels(spool, state=State.QUEUED) == ()


async def test_a_client_hears_5yz_only_if_nothing_was_taken(bench: Bench, spool: Path) -> None:
    """Several parcels: all refused is 5yz and no bounce; some refused is 250 and a bounce for those."""
    bench.ses.faults.add(
        Fault(action="refuse", code="MessageRejected", status=400, text="Illegal filename", recipient="r0@*")
    )
    names = [f"r{number}@customer.example" for number in range(70)]
    relay = await bench.start(**settings(spool, delivery={"hold_s": 30}, bounces={"from": "mailer-daemon@example.com"}))
    mail = id_of(await submit(relay, SHOP, MESSAGE, *names))
    [end] = await gone(relay, mail)
    got = await bench.ses.wait_for(2)

    assert (end["outcome"], len(end["recipients"])) == ("dead", 50)
    assert sorted(len(one.recipients) for one in got) == [1, 20]
    assert await submit(relay, SHOP, MESSAGE, "r0@customer.example") == (
        554, "5.6.1 Amazon SES refuses the message: Illegal filename",
    )  # fmt: skip


async def readiness(relay: RunningRelay) -> int:
    """The status of /readyz."""

    def ask() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", relay.admin_port, timeout=30)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        finally:
            connection.close()

    return await asyncio.to_thread(ask)
