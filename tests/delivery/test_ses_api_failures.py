"""Whatever goes wrong on the way to the API: one attempt, an outcome that defers, and never a false Delivered.

What matters most is the line between "SES cannot have it" and "SES may have it": only after the whole body has
been handed to the network may an outcome be LOST_ANSWER, and then it must be.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme
from aws_double import (
    MESSAGE_ID,
    V1_OK,
    V2_OK,
    Plan,
    answer,
    aws_double,
    drop,
    error_xml,
    go_on,
    hang_up,
    http,
    parcel,
    ses_api,
    silence,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.aws.answers import Accepted, read
from relay.model import Cause, Deferred, Outcome

BIG = b"x" * 20_000_000  # more than the kernel's buffers on both sides hold
HTML = "<html><body>Bad gateway</body></html>"
PAGE = "Content-Type: text/html; charset=utf-8"
OK_V1 = http("200 OK", V1_OK)


def deferred(outcome: Outcome, cause: Cause, reply: str) -> str:
    """Check a deferral; gives the detail."""
    assert isinstance(outcome, Deferred)
    assert (outcome.cause, str(outcome.reply)[:9]) == (cause, reply)
    return outcome.detail


ANSWERED = {
    "HTML 502": (http("502 Bad Gateway", HTML, PAGE), Cause.NOT_SES, "451 4.4.2"),
    "HTML 413": (http("413 Request Entity Too Large", HTML, PAGE), Cause.NOT_SES, "451 4.4.2"),
    "HTML 403": (http("403 Forbidden", HTML, PAGE), Cause.NOT_SES, "451 4.4.2"),
    "HTML 200": (http("200 OK", HTML, PAGE), Cause.NOT_SES, "451 4.4.2"),
    "empty 500": (http("500 Oops", ""), Cause.NOT_SES, "451 4.4.2"),
    "redirect": (http("307 Elsewhere", "", "Location: http://127.0.0.1:9/"), Cause.NOT_SES, "451 4.4.2"),
    "no HTTP": (b"250 Ok 0107\r\n", Cause.NOT_SES, "451 4.4.2"),
    "empty 200": (http("200 OK", ""), Cause.LOST_ANSWER, "451 4.4.2"),
    "200 without id": (
        http("200 OK", V1_OK.replace(MESSAGE_ID, "")),
        Cause.LOST_ANSWER,
        "451 4.4.2",
    ),
    "200 of another operation": (http("200 OK", V2_OK), Cause.LOST_ANSWER, "451 4.4.2"),
    "200 with an error": (http("200 OK", error_xml("MessageRejected", "x")), Cause.LOST_ANSWER, "451 4.4.2"),
    "truncated": (http("200 OK", V1_OK[:120], length=len(V1_OK)), Cause.LOST_ANSWER, "451 4.4.2"),
    "truncated, length too": (http("200 OK", V1_OK[:200]), Cause.LOST_ANSWER, "451 4.4.2"),
    "truncated head": (OK_V1[:30], Cause.LOST_ANSWER, "451 4.4.2"),
    "unknown error": (http("400 Bad", error_xml("Novelty", "x")), Cause.OTHER, "451 4.0.0"),
    "503": (http("503 Slow", error_xml("ServiceUnavailable", "x")), Cause.UNAVAILABLE, "451 4.3.0"),
}


@pytest.mark.parametrize("case", ANSWERED)
async def test_strange_answers(case: str) -> None:
    """An answer that is no complete answer of SES defers, and the connection may close after it."""
    raw, cause, reply = ANSWERED[case]
    async with aws_double(answer(raw, then_close=True)) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel())

    deferred(outcome, cause, reply)
    assert (aws.heads, aws.connections) == (1, 1)


def test_the_log_shows_the_beginning_of_a_page() -> None:
    """An operator can see which proxy it was; a page of any length stays a line."""

    async def ask() -> Outcome:
        raw = http("502 Bad Gateway", HTML + "x" * 5000, PAGE)
        async with aws_double(answer(raw)) as aws, ses_api(aws.url) as api:
            return await api.send(parcel())

    detail = deferred(asyncio.run(ask()), Cause.NOT_SES, "451 4.4.2")

    assert detail.startswith("not_aws: HTTP 502 text/html; charset=utf-8: <html><body>Bad gateway")
    assert len(detail) < 300


@pytest.mark.parametrize("plan", [drop, hang_up])
@pytest.mark.parametrize("size", [10, 300_000])
async def test_dropped_after_the_body(plan: Plan, size: int) -> None:
    """SES has the whole request and goes away: nobody knows, and nobody asks twice."""
    async with aws_double(plan) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(b"x" * size))

    deferred(outcome, Cause.LOST_ANSWER, "451 4.4.2")
    assert (aws.heads, len(aws.heard)) == (1, 1)


@pytest.mark.parametrize("plan", [drop, hang_up])
async def test_dropped_on_a_used_connection(plan: Plan) -> None:
    """Even where a pooled connection may just have been stale, a request that was sent is not sent again."""
    async with aws_double() as aws, ses_api(aws.url) as api:
        await api.send(parcel())
        aws.on_request = plan
        outcome = await api.send(parcel())

    deferred(outcome, Cause.LOST_ANSWER, "451 4.4.2")
    assert (aws.connections, aws.heads) == (1, 2)


@pytest.mark.parametrize("plan", [drop, hang_up])
async def test_dropped_before_the_body_is_out(plan: Plan) -> None:
    """A connection that breaks in the middle of the body cannot have sent the message."""
    async with aws_double(on_head=plan) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(BIG))

    deferred(outcome, Cause.NETWORK, "451 4.4.2")
    assert (aws.heads, len(aws.heard)) == (1, 0)


async def test_no_progress_before_the_body_is_out() -> None:
    """A server that reads nothing is given up after timeout_s."""
    async with aws_double(on_head=silence) as aws, ses_api(aws.url, timeout_s=0.2, final_s=60) as api:
        outcome = await api.send(parcel(BIG))

    deferred(outcome, Cause.NETWORK, "451 4.4.1")
    assert (aws.heads, len(aws.heard)) == (1, 0)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_no_answer_in_time(size: int) -> None:
    """An answer that does not come is lost; it may take longer than timeout_s, but not for ever."""
    async with aws_double(silence) as aws, ses_api(aws.url, timeout_s=0.1, final_s=0.1) as api:
        began = asyncio.get_running_loop().time()
        outcome = await api.send(parcel(b"x" * size))
        took = asyncio.get_running_loop().time() - began

    deferred(outcome, Cause.LOST_ANSWER, "451 4.4.2")
    assert took >= 0.2
    assert aws.heads == 1


async def test_an_answer_that_drips() -> None:
    """An answer that is never finished is given up, though there is always a little progress."""

    async def drip(double: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(http("200 OK", "", "Content-Type: text/xml", length=1_000_000))
        while not aws.released.is_set():
            writer.write(b"<")
            await writer.drain()
            await asyncio.wait([waiting], timeout=0.01)
        return False

    async with aws_double(drip) as aws, ses_api(aws.url, timeout_s=0.1, final_s=0.1) as api:
        waiting = asyncio.create_task(aws.released.wait())
        outcome = await api.send(parcel())
        aws.released.set()
        await waiting

    deferred(outcome, Cause.LOST_ANSWER, "451 4.4.2")


async def test_an_early_refusal() -> None:
    """A server may refuse before it has read the body; its reason is heard where the connection allows."""
    early = answer(http("403 Forbidden", '{"message":"No such key"}', "x-amzn-errortype: UnrecognizedClientException"))
    waiting = asyncio.Event()

    async def refuse(double: object, writer: asyncio.StreamWriter) -> bool:
        await early(aws, writer)
        await waiting.wait()
        return False

    async with aws_double(on_head=refuse) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(BIG))
        waiting.set()

    deferred(outcome, Cause.CREDENTIALS, "451 4.3.5")
    assert aws.heads == 1


async def test_refused_connection() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with ses_api(f"http://127.0.0.1:{port}") as api:
        outcome = await api.send(parcel())

    deferred(outcome, Cause.NETWORK, "451 4.4.1")


async def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that DNS does not know; asked without a DNS server."""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", unknown)
    async with ses_api("http://email.xx-nowhere-1.amazonaws.example") as api:
        outcome = await api.send(parcel())

    assert deferred(outcome, Cause.NETWORK, "451 4.4.1").startswith("dns: ")


async def test_connecting_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server or a network that swallows everything is given up after timeout_s."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", never)
    async with ses_api("http://email.xx-nowhere-1.amazonaws.example", timeout_s=0.1) as api:
        outcome = await api.send(parcel())

    assert deferred(outcome, Cause.NETWORK, "451 4.4.1").startswith("timeout_before_sent: ")


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """TLS with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """TLS that believes one authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def test_tls() -> None:
    """With a certificate of a believed authority mail is sent."""
    authority = trustme.CA()
    async with (
        aws_double(tls=server_context(authority, "localhost")) as aws,
        ses_api(aws.url, trust=lambda: trusting(authority)) as api,
    ):
        outcome = await api.send(parcel())

    assert getattr(outcome, "message_id", None) == MESSAGE_ID


@pytest.mark.parametrize("case", ["unknown authority", "wrong name"])
async def test_tls_failures(case: str) -> None:
    """No request leaves for a server that cannot prove its name."""
    authority = trustme.CA()
    name = "mail.example" if case == "wrong name" else "localhost"
    believed = trustme.CA() if case == "unknown authority" else authority
    async with (
        aws_double(tls=server_context(authority, name)) as aws,
        ses_api(aws.url, trust=lambda: trusting(believed)) as api,
    ):
        outcome = await api.send(parcel())

    deferred(outcome, Cause.TLS, "451 4.4.1")
    assert aws.heads == 0


async def test_a_server_without_tls() -> None:
    """A web server that answers a TLS handshake in clear."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http("400 Bad Request", "TLS?"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with server, ses_api(url) as api:
        outcome = await api.send(parcel())

    deferred(outcome, Cause.TLS, "451 4.4.1")


async def test_no_authorities() -> None:
    """A bundle that cannot be read stops every call, and says so."""

    def broken() -> ssl.SSLContext:
        raise FileNotFoundError("no such bundle")

    async with aws_double() as aws, ses_api(aws.url, trust=broken) as api:
        outcome = await api.send(parcel())

    assert "no such bundle" in deferred(outcome, Cause.TLS, "451 4.4.1")
    assert aws.connections == 0


@given(st.integers(0, len(V1_OK) - 1))
def test_no_part_of_an_answer_of_v1_counts(length: int) -> None:
    """Cut anywhere, the answer is no acceptance."""
    assert read("SendRawEmail", 200, "", V1_OK[:length].encode()) is None
    assert read("SendRawEmail", 200, "", V1_OK.encode()) == Accepted(MESSAGE_ID)


@given(st.integers(0, len(V2_OK) - 1))
def test_no_part_of_an_answer_of_v2_counts(length: int) -> None:
    """Cut anywhere, the answer is no acceptance."""
    assert read("SendEmail", 200, "", V2_OK[:length].encode()) is None
    assert read("SendEmail", 200, "", V2_OK.encode()) == Accepted(MESSAGE_ID)


@settings(max_examples=200)
@given(
    st.sampled_from(["SendRawEmail", "SendEmail"]),
    st.integers(100, 599),
    st.text(max_size=20),
    st.one_of(
        st.binary(max_size=200), st.just(b"[" * 60_000), st.just(b"<ErrorResponse" * 4_000), st.just(b"1" * 5_000)
    ),
)
def test_nothing_else_counts(operation: str, status: int, error_type: str, body: bytes) -> None:
    """Garbage of any kind is read without harm, and is no acceptance."""
    assert not isinstance(read(operation, status, error_type, body), Accepted)  # type: ignore[arg-type]  # sampled


async def test_the_double_is_content_by_default() -> None:
    """The failures above are the plans', not the double's own."""
    async with aws_double(on_head=go_on) as aws, ses_api(aws.url) as api:
        outcome = await api.send(parcel(BIG[:5_000_000]))

    assert getattr(outcome, "message_id", None) == MESSAGE_ID
