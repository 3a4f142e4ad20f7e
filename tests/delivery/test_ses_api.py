"""The API transport against a server that hears everything: what is sent, how answers are read, at what cost."""

from __future__ import annotations

import asyncio
import tracemalloc
from base64 import b64decode
from json import loads

import pytest
from aws_double import (
    KEYS,
    MESSAGE_ID,
    V1_OK,
    V2_OK,
    answer,
    aws_double,
    error_xml,
    hang_up,
    http,
    in_turn,
    parcel,
    ses_api,
)

from relay.aws.exchange import ANSWER_BYTES
from relay.aws.submission import BLOCK, V1_BYTES
from relay.delivery.ses_api import IN_MEMORY_BYTES
from relay.model import Cause, Deferred, Delivered, Failed, Outcome, Parcel

ANY_BYTE = bytes(range(256))


async def send(sent: Parcel, raw: bytes) -> Outcome:
    """What becomes of a parcel when the server answers so."""
    async with aws_double(answer(raw)) as aws, ses_api(aws.url) as api:
        return await api.send(sent)


async def test_source_and_destinations_are_the_envelopes() -> None:
    """SendRawEmail carries the envelope and the message, and nothing else."""
    mail = parcel(
        b"From: visible@example.com\r\nTo: other@example.org\r\n\r\nHi\r\n", recipients=("b@x.example", "c@y.example")
    )
    async with aws_double() as aws, ses_api(aws.url) as api:
        outcome = await api.send(mail)

    assert outcome == Delivered(MESSAGE_ID)
    (heard,) = aws.heard
    assert heard.target == "/"
    assert heard.headers["content-type"] == "application/x-www-form-urlencoded; charset=utf-8"
    fields = heard.fields
    assert b64decode(fields.pop("RawMessage.Data"), validate=True) == b"".join(mail.content)
    assert fields == {
        "Action": "SendRawEmail",
        "Version": "2010-12-01",
        "Source": "a@example.com",
        "Destinations.member.1": "b@x.example",
        "Destinations.member.2": "c@y.example",
    }


async def test_requests_carry_no_more_headers_than_needed() -> None:
    """No cookies, no compression, our own name."""
    baking = answer(http("200 OK", V1_OK, "Set-Cookie: a=b; Path=/"))
    async with aws_double(baking, name="localhost") as aws, ses_api(aws.url) as api:
        await api.send(parcel())
        await api.send(parcel())

    ours = {"user-agent", "accept", "accept-encoding", "content-length", "content-type"}
    assert set(aws.heard[1].headers) == {"host", "x-amz-date", "authorization", *ours}
    assert aws.heard[1].headers["user-agent"] == "ses-relay/test"


async def test_connections_are_used_again() -> None:
    """Ten messages one after the other need one connection."""
    async with aws_double() as aws, ses_api(aws.url) as api:
        outcomes = [await api.send(parcel()) for _ in range(10)]

    assert outcomes == [Delivered(MESSAGE_ID)] * 10
    assert (aws.connections, aws.heads) == (1, 10)


async def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    """A server may close after each answer; the next message goes over a new connection, and nothing is lost."""
    async with aws_double(answer(http("200 OK", V1_OK), then_close=True)) as aws, ses_api(aws.url) as api:
        outcomes = []
        for turn in range(5):
            outcomes.append(await api.send(parcel()))
            await aws.closed.acquire()
            for _ in range(turn + 2):  # turns of the event loop in which we may hear of it
                await asyncio.sleep(0)

    assert outcomes == [Delivered(MESSAGE_ID)] * 5
    assert aws.heads == 5


@pytest.mark.parametrize("size", [V1_BYTES, V1_BYTES + 1])
async def test_big_messages_go_by_sesv2(size: int) -> None:
    """SendRawEmail takes 10,485,760 bytes; what is bigger goes by SESv2, with the envelope there too."""
    content = (b"From: a@example.com\r\n\r\n", b"x" * (size - 23))
    v2 = size > V1_BYTES
    async with aws_double(answer(http("200 OK", V2_OK if v2 else V1_OK))) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(*content))

    assert outcome == Delivered(MESSAGE_ID)
    (heard,) = aws.heard
    assert heard.target == ("/v2/email/outbound-emails" if v2 else "/")
    sent = loads(heard.body)["Content"]["Raw"]["Data"] if v2 else heard.fields["RawMessage.Data"]
    assert b64decode(sent, validate=True) == b"".join(content)


async def test_tenants_go_by_sesv2() -> None:
    """Only SESv2 knows tenants; the visible From stays the message's, since FromEmailAddress is not given."""
    mail = parcel(tenant="blue", recipients=("b@x.example", "c@y.example"))
    async with aws_double(answer(http("200 OK", V2_OK))) as aws, ses_api(aws.url) as api:
        outcome = await api.send(mail)

    assert outcome == Delivered(MESSAGE_ID)
    (heard,) = aws.heard
    document = loads(heard.body)
    assert b64decode(document["Content"]["Raw"].pop("Data"), validate=True) == b"".join(mail.content)
    assert heard.headers["content-type"] == "application/json"
    assert document == {
        "Destination": {"ToAddresses": ["b@x.example", "c@y.example"]},
        "FeedbackForwardingEmailAddress": "a@example.com",
        "FeedbackForwardingEmailAddressIdentityArn": mail.return_path_arn,
        "TenantName": "blue",
        "Content": {"Raw": {}},
    }


@pytest.mark.parametrize("tenant", [None, "blue"])
@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, IN_MEMORY_BYTES - 1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1]
)
async def test_streamed_and_held_bodies_are_the_same(size: int, tenant: str | None) -> None:
    """On both sides of the threshold, in whatever pieces, the server decodes the very bytes of the message."""
    whole = (ANY_BYTE * (size // 256 + 1))[:size]
    pieces = (bytearray(whole[:100]), memoryview(whole)[100:101], b"", whole[101:])
    async with aws_double(answer(http("200 OK", V2_OK if tenant else V1_OK))) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(content=pieces, tenant=tenant))

    assert outcome == Delivered(MESSAGE_ID)
    (heard,) = aws.heard
    sent = loads(heard.body)["Content"]["Raw"]["Data"] if tenant else heard.fields["RawMessage.Data"]
    assert b64decode(sent, validate=True) == whole
    assert int(heard.headers["content-length"]) == len(heard.body)


async def test_a_big_message_costs_little_memory() -> None:
    """40 MB are sent with a few MB of memory beyond the message itself."""
    content = (b"From: a@example.com\r\n\r\n", bytes(40_000_000))
    async with aws_double(answer(http("200 OK", V2_OK)), keep_body=False) as aws, ses_api(aws.url) as api:
        await api.send(parcel(tenant="warm"))
        tracemalloc.start()
        try:
            outcome = await api.send(parcel(*content))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert outcome == Delivered(MESSAGE_ID)
    assert peak < 3_000_000


async def test_the_loop_goes_on_while_a_big_message_is_sent() -> None:
    """Hashing and writing 10 MB let others have the event loop in between."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with aws_double(keep_body=False) as aws, ses_api(aws.url) as api:
        await api.send(parcel())
        task = asyncio.create_task(other())
        await api.send(parcel(bytes(10_000_000)))
        task.cancel()

    assert turns > 10_000_000 / BLOCK / 8


async def test_many_at_once() -> None:
    """Parallel sends do not mix up each other's answers."""
    async with aws_double() as aws, ses_api(aws.url) as api:
        outcomes = await asyncio.gather(*(api.send(parcel(b"%d" % n)) for n in range(50)))

    assert outcomes == [Delivered(MESSAGE_ID)] * 50
    assert {b64decode(heard.fields["RawMessage.Data"]) for heard in aws.heard} == {b"%d" % n for n in range(50)}


async def test_refusals_of_v1() -> None:
    """An XML error document is an outcome with SES's reason, entities decoded."""
    text = error_xml("MessageRejected", "Email address is not verified: &quot;A&quot; &lt;a@example.com&gt;")

    outcome = await send(parcel(), http("400 Bad Request", text))

    assert isinstance(outcome, Failed)
    assert str(outcome.reply).startswith("554 5.7.1")
    assert outcome.reply.text.endswith('Email address is not verified: "A" <a@example.com>')


async def test_refusals_of_v2() -> None:
    """SESv2 names the error in a header, with more behind a colon, and the reason in JSON."""
    raw = http("400 Bad Request", '{"message":"Sending paused"}', "x-amzn-errortype: SendingPausedException:http://x/")

    outcome = await send(parcel(tenant="t"), raw)

    assert isinstance(outcome, Deferred)
    assert (str(outcome.reply)[:9], outcome.cause) == ("451 4.3.2", Cause.PAUSED)


async def test_throttling_is_deferred() -> None:
    """Throttling is told apart from other errors with HTTP 400."""
    outcome = await send(parcel(), http("400 Bad Request", error_xml("Throttling", "Maximum sending rate exceeded.")))

    assert isinstance(outcome, Deferred)
    assert outcome.cause is Cause.THROTTLED


async def test_refused_keys_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ExpiredToken the providers are asked afresh; keys that are the same wait; after success they are kept."""
    expired = http("403 Forbidden", error_xml("ExpiredToken", "The security token included in the request is expired"))
    async with aws_double() as aws:
        aws.on_request = in_turn(expired, http("200 OK", V1_OK))
        async with ses_api(aws.url, keys=type(KEYS)("default")) as api:
            outcomes = []
            for number in range(3):
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKIA{number}")
                monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
                outcomes.append(await api.send(parcel()))

    used = [heard.headers["authorization"].partition("Credential=")[2].partition("/")[0] for heard in aws.heard]
    assert used == ["AKIA0", "AKIA1", "AKIA1"]
    assert [type(outcome) for outcome in outcomes] == [Deferred, Delivered, Delivered]


async def test_no_credentials() -> None:
    """Without keys nothing is sent, and the client does not learn that its own login were at fault."""
    async with aws_double() as aws, ses_api(aws.url, keys=type(KEYS)("default")) as api:
        outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert (str(outcome.reply)[:9], outcome.cause) == ("451 4.3.5", Cause.CREDENTIALS)
    assert aws.connections == 0


async def test_endless_answers_are_cut() -> None:
    """A page of a megabyte is not read to its end, and the connection is given up."""
    page = http("502 Bad Gateway", "x" * 1_000_000, "Content-Type: text/html")
    async with aws_double(answer(page)) as aws, ses_api(aws.url) as api:
        outcomes = [await api.send(parcel()) for _ in range(2)]

    assert ANSWER_BYTES < 1_000_000
    assert all(isinstance(outcome, Deferred) and len(outcome.detail) < 400 for outcome in outcomes)
    assert aws.connections == 2


async def test_a_cancelled_send_leaves_nothing_open() -> None:
    """Cancelling is the one way in which `send` ends without an outcome."""
    async with aws_double(hang_up) as aws:
        arrived = asyncio.Event()

        async def wait(double: object, _: object) -> bool:
            arrived.set()
            await aws.released.wait()
            return False

        aws.on_request = wait
        async with ses_api(aws.url) as api:
            task = asyncio.create_task(api.send(parcel()))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert aws.heads == 1


async def test_surprises_are_outcomes() -> None:
    """A parcel that cannot even be encoded is our fault, and deferred."""
    async with aws_double() as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(content=("no bytes",)))

    assert isinstance(outcome, Deferred)
    assert (str(outcome.reply)[:9], outcome.cause) == ("451 4.3.0", Cause.OUR_FAULT)
    assert aws.heads == 0
