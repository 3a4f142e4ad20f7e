"""The checker of the fault campaigns can fail: each rule, by a forged record that breaks it alone."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import letters
import pytest
from conservation import Balance, Evidence, balance
from witness import note_delivery, note_kill, note_spool

from relay.model import Cause, Client, Envelope, Reply
from relay.simulator import Arns, Received
from relay.spool.interface import Action, Mail, Part, Posting, Query, Verdict
from relay.spool.opening import Opening
from relay.spool.sqlite import open_spool

ANN, BOB, CAT, DAN, EVE = (f"t1.{number}@customer.example" for number in range(5))
LETTER = letters.write("t1", "app@example.com", 5, 3000, random.Random(1))
BOUNCE = b"""\
From: mailer-daemon@example.com\r
Content-Type: multipart/report; report-type=delivery-status; boundary=x\r
\r
--x\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; relay\r
\r
Final-Recipient: rfc822; t1.0@customer.example\r
Action: failed\r
Status: 5.1.1\r
\r
Final-Recipient: rfc822; t1.1@customer.example\r
Action: delayed\r
Status: 4.4.1\r
--x--\r
"""


def honest() -> Evidence:
    """One message to five, each of whom ended in another way; Eve's copy came twice, since an answer was lost."""
    everybody = {ANN, BOB, CAT, DAN, EVE}
    return Evidence(
        offered=everybody | {"t2.0@customer.example"},
        acknowledged=everybody,
        delivered=Counter({ANN: 1, EVE: 2}),
        unanswered=Counter({EVE: 1}),
        queued=Counter({BOB: 1}),
        dead=Counter({CAT: 1}),
        bounced=Counter({CAT: 1, DAN: 1}),
        calls_repeated=1,
        calls_unanswered=1,
    )


def test_an_honest_record_holds() -> None:
    assert balance(honest()).broken == {}
    assert balance(honest()).figures["repeats"] == 1


def _lose(notes: Evidence) -> None:
    notes.queued.clear()


def _repeat(notes: Evidence) -> None:
    notes.delivered[EVE] += 1


def _repeat_what_was_not_in_flight(notes: Evidence) -> None:
    notes.in_flight[ANN] += 1
    notes.delivered[EVE] += 1


def _double(notes: Evidence) -> None:
    notes.held[BOB] += 1


def _invent(notes: Evidence) -> None:
    notes.delivered["t3.0@customer.example"] += 1


def _refuse(notes: Evidence) -> None:
    notes.refused.add("t2.0@customer.example")
    notes.delivered["t2.0@customer.example"] += 1


def _put_off(notes: Evidence) -> None:
    notes.put_off.add("t2.0@customer.example")
    notes.held["t2.0@customer.example"] += 1


def _say_it_failed(notes: Evidence) -> None:
    notes.bounced[ANN] += 1


def _keep_quiet(notes: Evidence) -> None:
    del notes.bounced[CAT]


def _damage(notes: Evidence) -> None:
    notes.damaged[ANN] += 1


@pytest.mark.parametrize(
    ("forge", "rule", "address"),
    [
        (_lose, "acknowledged and lost", BOB),
        (_repeat, "repeated more often than kills and lost answers explain", EVE),
        (_repeat_what_was_not_in_flight, "repeated more often than kills and lost answers explain", EVE),
        (_double, "twice in the spool", BOB),
        (_invent, "delivered or kept, though nobody sent it", "t3.0@customer.example"),
        (_refuse, "delivered or kept, though the client heard 5yz", "t2.0@customer.example"),
        (
            _put_off,
            "delivered or kept, though the client heard 4yz and will send it again",
            "t2.0@customer.example",
        ),
        (_say_it_failed, "told as failed, though SES said that it was delivered", ANN),
        (_keep_quiet, "given up, and nobody told", CAT),
        (_damage, "damaged", ANN),
    ],
)
def test_each_rule_is_broken_by_what_breaks_it(forge: Callable[[Evidence], None], rule: str, address: str) -> None:
    notes = honest()
    forge(notes)
    drawn = balance(notes)

    assert drawn.broken == {rule: (address,)}
    assert not drawn.holds
    assert f"  BROKEN: {rule}: 1: {address}" in drawn.lines()


def test_calls_repeated_are_counted_too() -> None:
    """However many addresses one call has, no more calls are repeated than there were places for."""
    notes = honest()
    notes.calls_repeated, notes.calls_at_kills = 18, 16

    assert balance(notes).broken == {"more calls repeated than were in flight or not answered": ("18",)}
    notes.calls_repeated = 17
    assert balance(notes).holds


def test_a_kill_explains_one_repeat_of_what_was_leased() -> None:
    notes = honest()
    notes.in_flight[ANN] += 1
    notes.delivered[ANN] += 1

    assert balance(notes).holds


def received(raw: bytes, *recipients: str, sender: str = "app@example.com", answered: bool = True) -> Received:
    """A message as the simulator records it."""
    return Received(
        "id", datetime.now(UTC), "v1", "us-east-1", "key", sender, recipients, Arns(), raw, answered=answered
    )


def test_what_ses_has_is_read_from_the_messages_themselves() -> None:
    notes = Evidence()
    note_delivery(notes, received(b"X-SES-SOURCE-ARN: a\r\n" + LETTER.content, ANN, BOB))
    note_delivery(notes, received(LETTER.content, ANN, answered=False))
    note_delivery(notes, received(BOUNCE, "app@example.com", sender=letters.BOUNCES))

    assert notes.delivered == Counter({ANN: 2, BOB: 1})
    assert notes.unanswered == Counter({ANN: 1})
    assert notes.bounced == Counter({ANN: 1}), "the other was only told of a delay"
    assert notes.damaged == Counter()
    assert (notes.calls_repeated, notes.calls_unanswered) == (1, 1)


@pytest.mark.parametrize(
    ("content", "recipient"),
    [(LETTER.content[:-100], ANN), (LETTER.content, "t2.0@customer.example"), (b"Subject: x\r\n\r\nhello\r\n", ANN)],
    ids=["cut", "another's", "unknown"],
)
def test_a_copy_that_is_not_what_was_sent_is_damaged(content: bytes, recipient: str) -> None:
    notes = Evidence()
    note_delivery(notes, received(content, recipient))

    assert notes.damaged == Counter({recipient: 1})


async def test_what_waits_is_read_from_the_spool(tmp_path: Path) -> None:
    """Queued, held and dead parcels, leases, bounces that wait, and contents that are damaged."""
    path, now = tmp_path / "spool.db", 1000.0
    spool = open_spool(Opening(path), now)
    client = Client("s", "127.0.0.1", "local")
    whole = Mail("a", now, client, Envelope("app@example.com", LETTER.recipients), LETTER.content)
    cut = Mail("b", now, client, Envelope("app@example.com", (EVE,)), LETTER.content[:-9])
    told = Mail("c", now, client, Envelope(letters.BOUNCES, ("app@example.com",)), BOUNCE)
    parts = [Part((one,), now + place, lane=f"lane {place}") for place, one in enumerate((ANN, BOB, CAT, DAN))]
    await spool.put(Posting(whole, tuple(parts)))
    await spool.put(Posting(cut, (Part((EVE,), now),)))
    await spool.put(Posting(told, (Part(("app@example.com",), now),)))
    await spool.alter(Query(recipient=BOB), Action.HOLD, now)
    (dying,) = await spool.claim("lane 2", now + 9, now + 99, 1)
    await spool.settle(dying, dead=Verdict(now, Reply(554, "5.0.0", "no"), Cause.RECIPIENT, "no"))
    await spool.claim("lane 3", now + 9, now + 99, 1)
    await spool.close()

    notes = Evidence()
    note_kill(notes, path, 16)
    await note_spool(notes, path)

    assert notes.queued == Counter({ANN: 1, DAN: 1, EVE: 1})
    assert (notes.held, notes.dead) == (Counter({BOB: 1}), Counter({CAT: 1}))
    assert (notes.in_flight, notes.calls_at_kills) == (Counter({DAN: 1}), 16)
    assert notes.bounced == Counter({ANN: 1})
    assert notes.damaged == Counter({EVE: 1})


def test_a_relay_that_was_killed_before_it_made_a_spool_had_nothing_leased(tmp_path: Path) -> None:
    notes = Evidence()
    note_kill(notes, tmp_path / "spool.db", 16)
    (tmp_path / "spool.db").touch()
    note_kill(notes, tmp_path / "spool.db", 16)

    assert notes.in_flight == Counter()


def test_a_balance_is_told_in_figures() -> None:
    assert Balance({"acknowledged": 3, "lost": 0}, {}).lines() == [
        "  acknowledged         3",
        "  lost                 0",
    ]
