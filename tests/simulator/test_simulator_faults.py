"""Every fault to order, by every interface it has a form for."""

from __future__ import annotations

import asyncio
import base64
import smtplib
from collections import Counter

import aiohttp
import pytest
from botocore.exceptions import ClientError, HTTPClientError
from botocore.parsers import ResponseParserError
from ses_clients import EAST, WEST, answer, arn, by_smtp, mail, send_smtp, send_v1, send_v2, transaction

from relay.simulator import Fault, Simulator
from relay.simulator.faults import Faults, HungUp, Occasion

RAW = mail()


async def api_answer(send: object, ses: Simulator, **options: object) -> tuple[int, str, str]:
    """What one call is answered when it is refused."""
    with pytest.raises(ClientError) as caught:
        await send(ses, RAW, **options)  # type: ignore[operator]  # one of the two senders
    return answer(caught.value)


async def test_throttling(ses: Simulator) -> None:
    """Each interface has its own word for it; nothing is kept."""
    ses.faults.add(Fault(action="throttle", count=3))

    text = "Maximum sending rate exceeded."
    assert await api_answer(send_v1, ses) == (400, "Throttling", text)
    assert await api_answer(send_v2, ses) == (429, "TooManyRequestsException", text)
    assert await send_smtp(ses, RAW) == (454, f"Throttling failure: {text}")
    assert ses.received == ()
    assert await send_v1(ses, RAW)


async def test_refusing_with_any_code_and_text(ses: Simulator) -> None:
    """Code, status and text for the APIs, a whole reply for SMTP, up to {braces}."""
    ses.faults.add(
        Fault(action="refuse", code="AccountSendingPausedException", status=400, text="Paused {x}.", reply="554 No {x}")
    )

    assert await api_answer(send_v1, ses) == (400, "AccountSendingPausedException", "Paused {x}.")
    assert await api_answer(send_v2, ses) == (400, "AccountSendingPausedException", "Paused {x}.")
    assert await send_smtp(ses, RAW) == (554, "No {x}")


async def test_a_refusal_without_a_form_for_an_interface_leaves_it_alone(ses: Simulator) -> None:
    """A reply means SMTP, a code means the APIs."""
    ses.faults.add(Fault(action="refuse", reply="554 No"))

    assert await send_v1(ses, RAW)
    assert (await send_smtp(ses, RAW))[0] == 554


@pytest.mark.parametrize(
    ("stage", "reply", "replies"),
    [
        ("auth", "454 Temporary authentication failure", ["454"]),
        ("mail", "451 Temporary service failure", ["235", "451"]),
        ("rcpt", "553 <b@example.net> address unknown", ["235", "250", "553"]),
        ("final", "554 Message rejected: No", ["235", "250", "250", "354", "554"]),
    ],
)
async def test_refusing_anywhere_in_the_dialogue(ses: Simulator, stage: str, reply: str, replies: list[str]) -> None:
    """The stage says which command is refused."""
    ses.faults.add(Fault(action="refuse", stage=stage, reply=reply))  # type: ignore[arg-type]  # one of the stages

    def talk(session: smtplib.SMTP) -> list[str]:
        session.ehlo()
        user, password = ses.smtp_login(EAST)
        login = "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        heard: list[str] = []
        for command in (login, "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.net>", "DATA", f"{RAW.decode()}\r\n."):
            session.send(f"{command}\r\n")
            code, text = session.getreply()
            heard.append(f"{code} {text.decode()}")
            if code >= 400:
                break
        assert heard[-1] == reply
        return [line[:3] for line in heard]

    assert await by_smtp(ses, talk, region=None) == replies


async def test_one_recipient_refused(ses: Simulator) -> None:
    """The others pass: the pattern is for the recipient of this RCPT."""
    ses.faults.add(Fault(action="refuse", stage="rcpt", recipient="bad@*", reply="553 <bad> address unknown"))

    def talk(session: smtplib.SMTP) -> list[int]:
        session.mail("a@example.com")
        return [session.rcpt(to)[0] for to in ("good@example.net", "bad@example.net", "other@example.net")]

    assert await by_smtp(ses, talk) == [250, 553, 250]


@pytest.mark.parametrize(("status", "code"), [(500, "InternalFailure"), (503, "ServiceUnavailable")])
async def test_service_errors(ses: Simulator, status: int, code: str) -> None:
    """An AWS error document with that status; 451 by SMTP."""
    ses.faults.add(Fault(action="error", status=status))

    assert (await api_answer(send_v1, ses))[:2] == (status, code)
    assert (await api_answer(send_v2, ses))[0] == status
    assert await send_smtp(ses, RAW) == (451, "Temporary service failure")


async def test_html_of_a_proxy(ses: Simulator) -> None:
    """No AWS document at all: botocore makes the status its code, or gives up; SMTP knows nothing of the kind."""
    ses.faults.add(Fault(action="html", count=2))
    ses.faults.add(Fault(action="html", count=1, status=413, text="<html>too large<hr></html>"))

    assert (await api_answer(send_v1, ses))[:2] == (502, "502")
    assert (await api_answer(send_v2, ses))[:2] == (502, "502")
    with pytest.raises(ResponseParserError, match="too large"):
        await send_v1(ses, RAW)
    ses.faults.add(Fault(action="html"))
    assert (await send_smtp(ses, RAW))[0] == 250


async def test_a_lost_answer_by_the_api(ses: Simulator) -> None:
    """The message is kept, the caller sees a closed connection."""
    ses.faults.add(Fault(action="lose_answer", count=2))
    for send in (send_v1, send_v2):
        with pytest.raises(HTTPClientError):
            await send(ses, RAW)

    assert [message.answered for message in ses.received] == [False, False]
    assert await send_v1(ses, RAW)
    assert ses.received[-1].answered


async def test_a_lost_answer_by_smtp(ses: Simulator) -> None:
    """After the final dot, the same."""
    ses.faults.add(Fault(action="lose_answer"))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        await send_smtp(ses, RAW)

    assert [message.answered for message in ses.received] == [False]


async def test_dropping_before_anything_is_read(ses: Simulator) -> None:
    """By SMTP before the greeting."""
    ses.faults.add(Fault(action="drop"))
    with pytest.raises(HTTPClientError):
        await send_v1(ses, RAW)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        await send_smtp(ses, RAW)

    assert ses.total == 0


async def test_dropping_after_the_message_without_keeping_it(ses: Simulator) -> None:
    """The caller cannot tell it from a lost answer; the ledger can."""
    ses.faults.add(Fault(action="drop", stage="final"))
    with pytest.raises(HTTPClientError):
        await send_v1(ses, RAW)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        await send_smtp(ses, RAW)

    assert ses.total == 0


async def test_too_many_connections(ses: Simulator) -> None:
    """421 instead of a greeting; the APIs know nothing of the kind."""
    ses.faults.add(Fault(action="busy", count=1))

    with pytest.raises(smtplib.SMTPConnectError) as caught:
        await send_smtp(ses, RAW)
    assert (caught.value.smtp_code, caught.value.smtp_error) == (421, b"Too many concurrent SMTP connections")
    assert await send_v1(ses, RAW)
    assert (await send_smtp(ses, RAW))[0] == 250


async def test_a_delay_holds_until_it_is_released(ses: Simulator) -> None:
    """The message is not kept before."""
    ses.faults.add(Fault(action="delay", count=2))
    sending = [asyncio.create_task(send_v1(ses, RAW)), asyncio.create_task(send_smtp(ses, RAW))]
    await ses.faults.wait_held(2)

    assert ses.total == 0
    ses.faults.release()
    await asyncio.gather(*sending)
    assert ses.total == 2


async def test_a_delay_ends_by_itself() -> None:
    """After its seconds; other faults then strike as well."""
    faults = Faults()
    faults.add(Fault(action="delay", seconds=0.001))
    faults.add(Fault(action="drop", stage="final"))
    with pytest.raises(HungUp):
        await faults.strike(Occasion("final", "v1"))


async def test_filters(ses: Simulator) -> None:
    """Interface, region, sender and recipient all have to match."""
    ses.faults.add(Fault(action="throttle", interface="v1", region=WEST, sender="slow@*", recipient="*@example.net"))
    raw = mail(identity=arn(WEST))
    slow = "slow@example.com"

    with pytest.raises(ClientError):
        await send_v1(ses, raw, region=WEST, Source=slow, Destinations=["x@example.org", "b@example.net"])
    assert await send_v1(ses, raw, region=WEST, Source=slow, Destinations=["x@example.org"])
    assert await send_v1(ses, raw, region=WEST)
    assert await send_v1(ses, RAW, Source=slow)
    assert await send_v2(ses, raw, region=WEST, FeedbackForwardingEmailAddress=slow)
    assert (await send_smtp(ses, raw, slow, region=WEST))[0] == 250


async def hits(seed: int) -> list[bool]:
    faults = Faults()
    faults.add(Fault(action="lose_answer", probability=0.3, seed=seed))
    return [await faults.strike(Occasion("final", "v1")) for _ in range(1000)]


async def test_chance_is_repeatable() -> None:
    """The same seed strikes the same messages, another seed others, about as often as asked."""
    assert await hits(1) == await hits(1) != await hits(2)
    assert 250 <= Counter(await hits(1))[True] <= 350


async def test_the_first_fault_that_matches_strikes() -> None:
    """When its count is spent, the next one does."""
    faults = Faults()
    first = faults.add(Fault(action="lose_answer", count=1))
    faults.add(Fault(action="drop", stage="final"))

    assert first == 1
    assert await faults.strike(Occasion("final", "v1"))
    with pytest.raises(HungUp):
        await faults.strike(Occasion("final", "v1"))
    assert [one.hits for one in faults.standing] == [1, 1]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"action": "explode"}, "action is 'explode', allowed are throttle, refuse"),
        ({"action": "drop", "stage": "later"}, "stage is 'later'"),
        ({"action": "drop", "interface": "v3"}, "interface is 'v3'"),
        ({"action": "refuse"}, "refuse needs a code"),
        ({"action": "busy", "sender": "a@*"}, "at connect neither region nor sender nor recipient is known"),
        ({"action": "lose_answer", "stage": "mail"}, "final stage"),
        ({"action": "throttle", "probability": 2}, "probability is a number from 0 to 1"),
        ({"action": "throttle", "times": 3}, "unknown keys: times"),
        ({"action": "throttle", "count": "3"}, "count has the wrong type"),
        ({"count": 3}, "action is missing"),
        (["throttle"], "a fault is a JSON object"),
    ],
)
async def test_orders_that_make_no_sense_are_refused(ses: Simulator, order: object, words: str) -> None:
    """400, with what is wrong."""
    async with aiohttp.ClientSession() as http, http.post(f"{ses.api_url}/_sim/faults", json=order) as response:
        assert response.status == 400
        assert words in (await response.json())["error"]
    assert ses.faults.standing == ()


async def test_faults_over_http(ses: Simulator) -> None:
    """Put in force, looked at, ended; what a delay holds then goes on."""
    url = f"{ses.api_url}/_sim/faults"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json={"action": "delay", "interface": "smtp"}) as response:
            assert (response.status, await response.json()) == (201, {"id": 1})
        sending = asyncio.create_task(by_smtp(ses, transaction(RAW)))
        await ses.faults.wait_held()
        async with http.get(url) as response:
            (standing,) = (await response.json())["faults"]
        async with http.delete(url) as response:
            assert response.status == 204

    assert (standing["id"], standing["action"], standing["hits"]) == (1, "delay", 1)
    assert (await sending)[0] == 250
    assert ses.faults.standing == ()
