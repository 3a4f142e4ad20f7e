"""`ses-relay queue list` and `show`: what waits, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from queue_parts import CLIENT, DAY, LATER, NEVER, Kit, posting, some_mail

from relay.model import Cause, Client
from relay.policy.lanes import lane_below
from relay.spool.interface import Action, Verdict


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def filled(kit: Kit) -> Kit:
    some_mail(kit)
    return kit


def rows(output: str) -> list[list[str]]:
    """The cells of each line of the table."""
    return [re.split(r" {2,}", line) for line in output.split("\n\n", maxsplit=1)[0].splitlines()]


def test_a_table_has_a_line_for_each_parcel_and_a_sum(filled: Kit) -> None:
    result = filled.queue("list")

    assert result.exit_code == 0
    assert rows(result.output) == [
        ["ID", "STATE", "AGE", "SIZE", "TRIES", "NEXT", "IDENTITY", "SENDER", "RECIPIENTS", "LAST ANSWER"],
        ["aaaa.1", "queued", "60m", "69 B", "3", "59m", "shop", "app@example.com", "ann@customer.example +1",
         "451 4.4.1 SES is down"],
        ["aaaa.2", "queued", "60m", "69 B", "0", "59m", "example.com", "app@example.com", "cy@other.example", "-"],
        ["bbbb.1", "held", "2m", "69 B", "0", "-", "example.com", "ops@mail.example.com", "held@customer.example", "-"],
        ["cccc.1", "dead", "24h", "69 B", "0", "-", "example.com", "<>", "ann@customer.example", "554 5.7.1 no"],
    ]  # fmt: skip
    assert result.output.endswith("\n\n4 parcels to 5 recipients: 2 queued, 1 held, 1 dead; the oldest is 24h old\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["aaaa.1", "aaaa.2", "bbbb.1", "cccc.1"]),
        (["--state", "queued"], ["aaaa.1", "aaaa.2"]),
        (["--state", "dead"], ["cccc.1"]),
        (["--sender", "app@EXAMPLE.com"], ["aaaa.1", "aaaa.2"]),
        (["--sender", "@.example.com"], ["bbbb.1"]),
        (["--sender", "<>"], ["cccc.1"]),
        (["--recipient", "@customer.example"], ["aaaa.1", "bbbb.1", "cccc.1"]),
        (["--recipient", "bob@customer.example"], ["aaaa.1"]),
        (["--identity", "shop"], ["aaaa.1"]),
        (["--older-than", "30m"], ["aaaa.1", "aaaa.2", "cccc.1"]),
        (["--younger-than", "2h"], ["aaaa.1", "aaaa.2", "bbbb.1"]),
        (["--older-than", "30m", "--younger-than", "2h", "--identity", "shop"], ["aaaa.1"]),
        (["--state", "held", "--identity", "shop"], []),
        (["--limit", "1"], ["aaaa.1"]),
    ],
)
def test_filters_are_those_of_the_configuration(filled: Kit, words: list[str], found: list[str]) -> None:
    """Patterns and durations mean what they mean there, and every one must be met."""
    assert filled.ids(*words) == found


def test_mail_that_ses_refuses_is_listed_with_its_identity(filled: Kit) -> None:
    """However its lane is called: operators know identities."""
    filled.fill(posting("dddd", lane=lane_below("shop", "billing", "app@example.com")))

    assert filled.ids("--identity", "shop") == ["aaaa.1", "dddd.1"]
    told = filled.told("list", "--identity", "shop")
    assert {one["identity"] for one in told["parcels"]} == {"shop"}
    assert [row[6] for row in rows(filled.queue("list", "--identity", "shop").output)[1:]] == ["shop", "shop"]
    assert "identity  shop" in filled.queue("show", "dddd").output
    assert filled.queue("drop", "--identity", "shop", "--yes").exit_code == 0
    assert filled.ids("--identity", "shop") == []


def test_what_ses_refuses_as_an_identity_is_summed_up(filled: Kit) -> None:
    """Of what waits, whichever lane it is in; dead letters have their own answers."""
    refused = replace(LATER, cause=Cause.CREDENTIALS)
    filled.fill(
        posting("dddd", lane="shop", last=refused), posting("eeee", lane=lane_below("shop", "a", "b"), last=NEVER)
    )
    line = (
        "shop: 2 of 3 queued refused by SES for the identity or the account, not the message; "
        "one asks again every 5m, the rest follow when it gets through: ses-relay doctor --identity shop"
    )

    assert filled.queue("list").output.splitlines()[-1] == line
    assert filled.queue("list", "--state", "dead").output.splitlines()[-1].startswith("1 parcel to 1 recipient")
    totals = {(one["identity"], one["state"]): one["refused_as_identity"] for one in filled.told("list")["totals"]}
    assert totals["shop", "queued"] == 2
    assert totals["example.com", "queued"] == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--older-than", "soon"], "a duration above zero"),
        (["--sender", "*@example.com"], "every address of a domain is written @example.com"),
        (["--state", "lost"], "is not one of 'queued', 'held', 'dead'"),
    ],
)
def test_a_filter_that_means_nothing_is_a_usage_error(filled: Kit, words: list[str], complaint: str) -> None:
    result = filled.queue("list", *words)

    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_an_empty_queue_says_so(kit: Kit) -> None:
    kit.fill()

    assert (kit.queue("list").output, kit.queue("list").exit_code) == ("the queue is empty\n", 0)
    assert kit.queue("list", "--state", "dead").output == "nothing matches\n"
    assert kit.told("list") == {"parcels": [], "shown": 0, "matching": 0, "totals": []}


def test_what_is_not_shown_is_counted(filled: Kit) -> None:
    result = filled.queue("list", "--limit", "3")

    assert len(rows(result.output)) == 1 + 3
    assert result.output.splitlines()[-2].startswith("4 parcels to 5 recipients")
    assert result.output.splitlines()[-1] == "showing 3 of 4; --limit shows more"
    facts = filled.told("list", "--limit", "3")
    assert (facts["shown"], facts["matching"], len(facts["parcels"])) == (3, 4, 3)


@pytest.mark.parametrize("limit", ["0", "9", "1000"])
def test_a_long_queue_is_shown_page_by_page_to_its_end(kit: Kit, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Each parcel once, one heading, and one document."""
    kit.fill(*(posting(f"mail{number:02}") for number in range(10)))
    monkeypatch.setattr("relay.cli.spool_access.PAGE", 3)
    expected = [f"mail{number:02}.1" for number in range(10)][: int(limit) or None]

    assert [cells[0] for cells in rows(kit.queue("list", "--limit", limit).output)] == ["ID", *expected]
    assert kit.ids("--limit", limit) == expected


def test_programs_get_every_field(filled: Kit) -> None:
    """Times are ISO 8601 in UTC."""
    facts = filled.told("list", "--identity", "shop")
    (parcel,) = facts["parcels"]
    times = [parcel.pop(name) for name in ("arrived", "queued_since", "next_attempt")]

    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", one) for one in times)
    assert facts["totals"] == [
        {
            "identity": "shop",
            "state": "queued",
            "parcels": 1,
            "recipients": 2,
            "oldest": times[0],
            "refused_as_identity": 0,
        }
    ]
    assert parcel == {
        "id": "aaaa.1", "mail": "aaaa", "state": "queued", "in_hand": False, "size": 69, "identity": "shop",
        "sender": "app@example.com", "recipients": ["ann@customer.example", "bob@customer.example"], "silent": [],
        "client": {"name": "billing", "peer": "192.0.2.7", "user": "bill", "helo": "app", "tls": True,
                   "session": "session-1"},
        "attempts": 3, "lost_answers": 1, "sender_warned": True,
        "last": {"at": "1970-01-01T00:00:50Z", "code": 451, "enhanced": "4.4.1", "text": "SES is down",
                 "cause": "unavailable", "detail": "503 from somewhere"},
    }  # fmt: skip
    assert filled.told("list", "--state", "dead")["parcels"][0]["next_attempt"] is None


async def test_what_is_being_delivered_is_in_hand(kit: Kit) -> None:
    """It has no next attempt: this is it."""
    async with kit.relay() as relay:
        await relay.put(posting("aaaa", due=-5.0))
        waiting = await asked(kit, "list", "--json")
        assert await relay.claim("example.com", 9e9, 9.1e9, 1)
        leased, table = await asked(kit, "list", "--json"), await asked(kit, "list")

    assert (json.loads(waiting)["parcels"][0]["in_hand"], json.loads(leased)["parcels"][0]["in_hand"]) == (False, True)
    assert json.loads(leased)["parcels"][0]["next_attempt"] is None
    assert rows(table)[1][5] == "in hand"


async def asked(kit: Kit, *words: str) -> str:
    """The command beside a relay of this process."""
    result = await asyncio.to_thread(kit.queue, *words)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_tells_everything_for_people(filled: Kit) -> None:
    output = re.sub(r"20\d\d-\S+Z", "TIME", filled.queue("show", "aaaa").output)

    assert (
        output
        == """\
Mail aaaa
  from      app@example.com
  arrived   TIME (60m ago)
  size      69 bytes
  client    billing, 192.0.2.7, user bill, HELO app, TLS, session session-1
Parcel aaaa.1
  state     queued
  identity  shop
  to        ann@customer.example
  to        bob@customer.example
  attempts  3, 1 without an answer
  next      TIME (in 59m)
  delay     the sender has been told
  last try  1970-01-01T00:00:50Z (AGO)
  answer    451 4.4.1 SES is down
  cause     unavailable
  detail    503 from somewhere
Parcel aaaa.2
  state     queued
  identity  example.com
  to        cy@other.example
  attempts  0
  next      TIME (in 59m)
""".replace("AGO", re.findall(r"50Z \((.*)\)", output)[0])
    )


def test_show_of_a_parcel_is_of_that_one(filled: Kit) -> None:
    assert [one["id"] for one in filled.told("show", "aaaa.2")["parcels"]] == ["aaaa.2"]
    assert [one["id"] for one in filled.told("show", "aaaa")["parcels"]] == ["aaaa.1", "aaaa.2"]


@pytest.mark.parametrize(
    ("attempts", "last", "words"),
    [(0, None, "0"), (0, NEVER, "none that counts against it"), (2, LATER, "2")],
)
def test_what_was_tried_and_does_not_count_is_not_called_never_tried(
    kit: Kit, attempts: int, last: Verdict | None, words: str
) -> None:
    """Throttling, outages and refused identities cost no place in the schedule."""
    kit.fill(posting("aaaa", attempts=attempts, last=last))

    assert f"  attempts  {words}\n" in kit.queue("show", "aaaa").output


def test_show_tells_of_silence_revival_and_the_relay_s_own_mail(kit: Kit) -> None:
    own = Client("", "", "")
    some_mail(kit)
    kit.fill(posting("dddd", "ann@customer.example", age=DAY, client=own, silent=["ann@customer.example"], last=LATER))
    kit.alter(Action.RETRY, "cccc")
    output = kit.queue("show", "dddd").output

    assert "  client    the relay itself\n" in output
    assert "  to        ann@customer.example (NOTIFY=NEVER)\n" in output
    assert "revived" not in output
    assert re.search(r"  revived   \S+Z \(\d+s ago\)\n", kit.queue("show", "cccc").output)


def test_headers_are_shown_and_the_body_is_not(filled: Kit) -> None:
    result = filled.queue("show", "bbbb", "--headers")

    assert result.output.endswith("Headers\n  From: app@example.com\n  Subject: =?utf-8?q?x?=\n   folded\n")
    assert filled.told("show", "bbbb", "--headers")["headers"][1:] == ["Subject: =?utf-8?q?x?=", " folded"]
    assert "headers" not in filled.told("show", "bbbb")


@pytest.mark.parametrize("content", [b"only a body\r\n\r\nof two paragraphs\r\n", b"\r\nFrom: in the body\r\n"])
def test_a_message_without_headers_shows_none(kit: Kit, content: bytes) -> None:
    """What looks like the end of a header section must not give the body away."""
    kit.fill(posting("aaaa", content=content))

    assert kit.told("show", "aaaa", "--headers")["headers"] == [""]
    assert "body" not in kit.queue("show", "aaaa", "--headers").output


def test_an_unknown_id_is_1(filled: Kit) -> None:
    for word in ("nobody", "aaaa.9", "aaaa.x", "aaaa."):
        result = filled.queue("show", word)
        assert (result.exit_code, result.output) == (
            1,
            f"Error: there is no {word} in the queue; what was delivered is in the log\n",
        )


EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202e\x9b31m"


@pytest.mark.parametrize("words", [["list"], ["show", "aaaa"], ["show", "aaaa", "--headers"], ["show", EVIL]])
def test_nothing_commands_the_terminal(kit: Kit, words: list[str]) -> None:
    """Neither what clients wrote, nor SES, nor an identity, nor an id on the command line."""
    last = replace(LATER, reply=replace(LATER.reply, text=EVIL), detail=EVIL)
    client = replace(CLIENT, name=EVIL, user=EVIL, helo=EVIL, peer=EVIL, session=EVIL)
    content = b"Subject: x" + EVIL.replace("\r", "").encode() + b"\r\n\r\n"
    kit.fill(posting("aaaa", f'"{EVIL}"@customer.example', lane=EVIL, last=last, client=client, content=content))

    outputs = [kit.queue(*words).output, kit.queue(*words, "--json").output]

    assert all(outputs)
    assert [letter for letter in "".join(outputs) if not letter.isprintable() and letter != "\n"] == []
