"""The transport as the courier uses it: one outcome per parcel, whatever the network does."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from scripted_upstream import LOGIN, listening, parse
from sinks import sink
from smtp_parts import CONTENT, Book, at, in_short, parcel, transport

from relay.aws.credentials import SmtpLogin
from relay.delivery import smtp_client, smtp_pool
from relay.delivery.ses_smtp import message_id
from relay.delivery.smtp_reply import UpstreamReply
from relay.delivery.smtp_wire import Wire, dial
from relay.model import Buffer, Deferred, Delivered, Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LARGE = CONTENT + (b"x" * 998 + b"\r\n") * 20_000  # more than any socket buffer takes


@asynccontextmanager
async def taking_data(
    act: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that takes a login and an envelope, says 354, and then does as told; its port."""
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            ended.append(task)
        try:
            writer.write(b"220 Hello\r\n")
            for answer in (b"250-x\r\n250 AUTH PLAIN", b"235 Ok", b"250 Ok", b"250 Ok", b"354 Go"):
                await reader.readline()
                writer.write(answer + b"\r\n")
            await act(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*ended)
    finally:
        server.close()
        await server.wait_closed()


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Read and forget."""
    with suppress(OSError):
        while await reader.read(65536):
            pass


# Losses while the content is under way


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_drop_in_the_middle_of_data_is_a_safe_deferral(how: str) -> None:
    """The final dot was not sent, so SES has not taken the message: deferred, and not as a lost answer."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        if how == "reset":
            writer.transport.abort()

    async with taking_data(drop) as port, transport(at(port)) as ses:
        outcome = await ses.send(parcel(LARGE))

    assert in_short(outcome) == "Deferred 451 4.4.2 network"


async def test_a_refusal_in_the_middle_of_data_is_heard() -> None:
    """SES says 552 while we still write: that is its answer, and the rest is not sent over this session."""
    seen = 0
    last = b""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen, last
        await reader.readexactly(100_000)
        writer.write(b"552 Message is too long.\r\n")
        while data := await reader.read(65536):
            seen, last = seen + len(data), data

    async with taking_data(refuse) as port, transport(at(port)) as ses:
        outcome = await ses.send(parcel(LARGE))

    assert isinstance(outcome, Failed)
    assert in_short(outcome) == "Failed 552 5.3.4 size"
    assert seen < len(LARGE) - 100_000
    assert not last.endswith((b".\r\n", b"RSET\r\n"))


async def test_a_server_that_stops_reading_is_given_up() -> None:
    """No byte moves for `timeout_s`: deferred, since the final dot was not sent."""
    given_up = asyncio.Event()

    async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await given_up.wait()

    async with taking_data(stop) as port, transport(at(port), timeout_s=0.1) as ses:
        outcome = await ses.send(parcel(LARGE))
        given_up.set()

    assert in_short(outcome) == "Deferred 451 4.4.1 network"


async def test_the_answer_to_the_message_gets_more_time() -> None:
    """SES may think about a whole message longer than about a command: `final_s` longer."""
    async with sink(held=True) as upstream, transport(at(upstream.port), timeout_s=0.05, final_s=10) as ses:
        sending = asyncio.create_task(ses.send(parcel()))
        await upstream.at_data.wait()
        done, _ = await asyncio.wait([sending], timeout=0.15)
        upstream.answer.set()
        outcome = await sending

    assert not done
    assert outcome == Delivered("id-1")


async def test_memory_is_bounded_by_chunks_not_by_messages() -> None:
    """Twenty megabytes cost no more than a few chunks on their way out."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = b""
        while not end.endswith(b"\r\n.\r\n"):
            end = end[-5:] + await reader.read(65536)
        writer.write(b"250 Ok 01\r\n")
        assert await reader.readline() == b"QUIT\r\n"

    async with taking_data(take) as port, transport(at(port)) as ses:
        tracemalloc.start()
        try:
            outcome = await ses.send(parcel([memoryview(LARGE)]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await ses.close()

    assert outcome == Delivered("01")
    assert peak < len(LARGE) / 5


async def test_large_messages_arrive_as_they_are() -> None:
    """Dots at the beginning of lines, anywhere, and in several pieces."""
    content: list[Buffer] = [CONTENT, bytearray(b".\r\n..\r\n.x\r\n" * 100_000), memoryview(LARGE)[:5_000_000], b"\r\n"]
    async with sink() as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel(content))

    assert outcome == Delivered("id-1")
    assert upstream.messages[0].content == b"".join(content)
    assert upstream.options == [[f"SIZE={sum(map(len, content))}"]]


# Cancelling, sharing, closing


async def test_a_cancelled_send_leaves_no_half_used_session_behind() -> None:
    """After a cancellation the next parcel gets a fresh session and its own answer; the slot is free again."""
    async with sink(held=True) as upstream, transport(at(upstream.port), concurrency=1) as ses:
        sending = asyncio.create_task(ses.send(parcel()))
        await upstream.at_data.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await upstream.hung_up.wait()
        upstream.answer.set()
        outcome = await ses.send(parcel(b"Subject: second\r\n"))

    assert outcome == Delivered("id-1")
    assert [message.content for message in upstream.messages] == [b"Subject: second\r\n"]
    assert upstream.connections == 2


@pytest.mark.parametrize("stage", [b"220 ", b"235 ", b"354 "])
async def test_a_send_can_be_cancelled_at_any_stage(stage: bytes) -> None:
    """Connecting, logging in, waiting for DATA: the connection ends, and nothing is left open."""
    reached, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"220 Hello", b"250-x\r\n250 AUTH PLAIN", b"235 Ok", b"250 Ok", b"250 Ok", b"354 Go"):
            if answer.startswith(stage):
                break
            writer.write(answer + b"\r\n")
            await reader.readline()
        reached.set()
        await until_closed(reader)
        writer.close()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, transport(at(server.sockets[0].getsockname()[1])) as ses:
        sending = asyncio.create_task(ses.send(parcel()))
        await reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(5):
            await closed.wait()
    assert sending.cancelled()


async def test_many_parcels_share_few_sessions() -> None:
    """Never more sessions than `concurrency`; every parcel is delivered once, with its own answer."""
    async with sink(held=True) as upstream, transport(at(upstream.port), concurrency=3) as ses:
        sends = [asyncio.create_task(ses.send(parcel(b"Subject: %d\r\n" % number))) for number in range(40)]
        await upstream.at_data.wait()
        upstream.answer.set()
        outcomes = await asyncio.gather(*sends)

    assert {outcome.message_id for outcome in outcomes if isinstance(outcome, Delivered)} == {
        f"id-{number}" for number in range(1, 41)
    }
    assert {message.content for message in upstream.messages} == {b"Subject: %d\r\n" % number for number in range(40)}
    assert upstream.connections == 3
    assert upstream.busiest <= 3


async def test_each_region_and_each_login_has_its_own_sessions() -> None:
    """A session of one region or one login never carries the mail of another."""
    book = Book({"default": SmtpLogin("user", "secret"), "other": SmtpLogin("user", "secret")})
    async with sink() as first, sink() as second, transport(at(first.port), at(second.port), book=book) as ses:
        for region, credentials in [("region-0", "default"), ("region-0", "other"), ("region-1", "default")] * 2:
            await ses.send(parcel(region=region, credentials=credentials))

    assert (first.connections, len(first.messages)) == (2, 4)
    assert (second.connections, len(second.messages)) == (1, 2)
    assert book.asked == 3


async def test_idle_sessions_end_with_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before SES closes an idle session we do, without waiting for the next message."""
    monkeypatch.setattr(smtp_pool, "IDLE_S", 0.02)
    script = parse("idle", LOGIN + "C: MAIL FROM:<app@example.com>\nS: 454 Not now\nC: QUIT\nS: 221 Bye\nC.")
    async with listening(script) as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel())
        await upstream.finished()

    assert isinstance(outcome, Deferred)


async def test_close_does_not_wait_for_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """QUIT is said, and the connection dropped when nothing comes back in a moment."""
    monkeypatch.setattr(smtp_pool, "GOODBYE_S", 0.05)
    script = parse("deaf", LOGIN + "C: MAIL FROM:<app@example.com>\nS: 454 Not now\nC: QUIT\nsilence")
    async with listening(script) as upstream, transport(at(upstream.port)) as ses:
        await ses.send(parcel())
        async with asyncio.timeout(5):
            await ses.close()
        await upstream.finished()

    assert upstream.played == 1


async def test_a_reset_that_is_not_answered_does_not_hold_up_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """SES's refusal of a recipient is known; what becomes of the session matters less."""
    monkeypatch.setattr(smtp_client, "_RESET_S", 0.05)
    said = "C: MAIL FROM:<app@example.com>\nS: 250 Ok\nC: RCPT TO:<a@example.org>\nS: 553 <a@example.org> unknown\n"
    script = parse("deaf", LOGIN + said + "C: RSET\nsilence")
    async with listening(script) as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel())
        await upstream.finished()

    assert in_short(outcome) == "Failed 553 5.1.3 recipient"


# What keeps us from SES


async def test_no_login_no_connection() -> None:
    """Credentials that cannot be had defer the parcel before anybody is called."""
    async with sink() as upstream, transport(at(upstream.port), book=Book({})) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.3.5 credentials"
    assert upstream.connections == 0


async def test_nobody_listens() -> None:
    """A refused connection is the network's trouble."""
    async with sink() as upstream:
        port = upstream.port
    async with transport(at(port)) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.4.1 network"
    assert f"127.0.0.1 port {port}" in _detail(outcome)


async def test_a_name_that_does_not_resolve() -> None:
    """A region without an SMTP endpoint has no such name (SES developer guide, "Regions")."""
    async with transport(at(25, host="x" * 64 + ".test")) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.4.1 network"
    assert _detail(outcome).startswith("dns: ")


@pytest.mark.parametrize("first", ["refuses", "is silent"])
async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """An endpoint of several addresses is reached while one of them works; a dead one has only its share of time."""
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def resolve(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", (address, 0)) for address in ("127.0.0.9", "127.0.0.9", "127.0.0.1")]

    async def connect_or_not(factory: Callable[[], Wire], host: str, port: int) -> object:
        if host == "127.0.0.9" and first == "is silent":
            await asyncio.Event().wait()
        return await connect(factory, host, port)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    monkeypatch.setattr(loop, "create_connection", connect_or_not)
    async with sink() as upstream:
        wire = await dial("mail.example", upstream.port, timeout_s=0.2)
        assert wire.peer == "127.0.0.1"
        await wire.quit(1)


async def test_our_own_mistakes_defer() -> None:
    """An error that nobody thought of is an outcome too, and no failure of the message."""

    class Broke(Book):
        async def smtp_login(self, name: str, region: str) -> SmtpLogin:
            raise RuntimeError("a mistake")

    async with sink() as upstream, transport(at(upstream.port), book=Broke()) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.3.0 our_fault"
    assert "a mistake" in _detail(outcome)


@pytest.mark.parametrize(
    ("text", "known_as"),
    [
        ("Ok 0107017033dbb64d-be13a01e-000000", "0107017033dbb64d-be13a01e-000000"),
        ("2.0.0 Ok: queued as 4XYZ", "queued as 4XYZ"),
        ("Message accepted", "Message accepted"),
        ("OK", ""),
        ("Okay", "Okay"),
        ("", ""),
        ("Ok a\tb", "a"),
        ("Ok " + "x" * 300, "x" * 200),
    ],
)
def test_message_id(text: str, known_as: str) -> None:
    """SES's id stands after `Ok`; other servers call the message something else, or nothing; always printable."""
    assert message_id(UpstreamReply(250, (text,))) == known_as


def _detail(outcome: object) -> str:
    assert isinstance(outcome, Deferred)
    return outcome.detail
