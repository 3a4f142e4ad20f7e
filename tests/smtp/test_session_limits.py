"""Clocks, counts and room: what one client, or all of them, may ask of the listener. In fake time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import fake_time
import listener
from fake_time import run

from relay import replies
from relay.policy.admission import Admission
from relay.smtp.server import ServerLimits

BEGIN = b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n"


class Wire:
    """A client that speaks bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send, also to a server that has closed already: what it said last is still to be read."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def line(self) -> str:
        """The next line; a server that says nothing for a day, which takes no time here, never will."""
        async with asyncio.timeout(86_400):
            return (await self.reader.readline()).decode("ascii").rstrip("\r\n")

    async def last_line(self) -> str:
        """The last line before the server closes."""
        return (await self.reader.read()).decode("ascii").splitlines()[-1]

    async def until(self, code: str) -> str:
        while True:
            line = await self.line()
            assert line, f"closed before {code}"
            if line.startswith(code):
                return line


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def session(**changes: float) -> ServerLimits:
    return replace(listener.LIMITS, session=replace(listener.SESSION, **changes))


def test_an_idle_session_is_told_and_closed_after_idle_s() -> None:
    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        async with listener.running() as relay, wire(relay.port) as client:
            began = clock()
            assert await client.last_line() == str(replies.IDLE)
            assert 300 <= clock() - began < 302
            assert relay.events("session_closed")[0]["reply"] == str(replies.IDLE)

    run(scene())


def test_every_byte_restarts_the_idle_clock() -> None:
    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        async with listener.running(limits=session(session_s=10_000)) as relay, wire(relay.port) as client:
            began = clock()
            for _ in range(5):
                await asyncio.sleep(200)
                await client.send(b"NOOP\r\n")
            assert await client.last_line() == str(replies.IDLE)
            assert 1300 <= clock() - began < 1305

    run(scene())


def test_a_session_ends_after_session_s_however_busy() -> None:
    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        async with listener.running() as relay, wire(relay.port) as client:
            began = clock()
            for _ in range(20):
                await asyncio.sleep(100)
                await client.send(b"NOOP\r\n")
                if relay.events("session_closed"):
                    break
            assert 1800 <= clock() - began < 1901

    run(scene())


def test_data_that_trickles_is_cut_off_by_its_rate() -> None:
    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        async with listener.running() as relay, wire(relay.port) as client:
            await client.send(BEGIN)
            await client.until("354")
            began = clock()
            for _ in range(60):
                await asyncio.sleep(1)
                await client.send(b"x" * 100)
                if relay.events("session_closed"):
                    break
            assert relay.events("session_closed")[0]["reply"] == str(replies.TOO_SLOW)
            assert 30 <= clock() - began < 45
            assert relay.ses.parcels == []

    run(scene())


def test_data_at_a_fair_rate_ends_at_data_s() -> None:
    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        async with listener.running() as relay, wire(relay.port) as client:
            await client.send(BEGIN)
            await client.until("354")
            began = clock()
            for _ in range(700):
                await asyncio.sleep(1)
                await client.send(b"x" * 1000 + b"\r\n")
                if relay.events("session_closed"):
                    break
            assert 600 <= clock() - began < 603

    run(scene())


def test_a_message_in_our_own_hands_has_no_deadline() -> None:
    """A slow SES must not make the listener close on a client that waits for its answer."""

    async def scene() -> None:
        async with listener.running(listener.ScriptedSes(gate=asyncio.Event())) as relay, wire(relay.port) as client:
            await client.send(BEGIN + b"x: y\r\n.\r\n")
            await relay.ses.has_got(1)
            await asyncio.sleep(1000)
            assert relay.ses.gate is not None
            relay.ses.gate.set()
            assert await client.until("250 2.0.0") == "250 2.0.0 Ok 0100-ses-id"
            await client.send(b"NOOP\r\n")
            assert await client.line() == "250 2.0.0 Ok"

    run(scene())


def test_connections_over_the_limit_are_turned_away_and_room_comes_back() -> None:
    async def scene() -> None:
        limits = replace(listener.LIMITS, connections=2)
        async with listener.running(limits=limits) as relay, wire(relay.port) as one, wire(relay.port) as two:
            assert (await one.line()).startswith("220")
            assert (await two.line()).startswith("220")
            async with wire(relay.port) as three:
                assert await three.last_line() == str(replies.TOO_MANY_CONNECTIONS)
            await one.send(b"QUIT\r\n")
            await one.reader.read()
            async with wire(relay.port) as four:
                assert (await four.line()).startswith("220")

    run(scene())


def test_connections_of_one_client_are_limited_too() -> None:
    async def scene() -> None:
        async with listener.running(limits=replace(listener.LIMITS, connections_per_client=1)) as relay:
            async with wire(relay.port) as one, wire(relay.port) as two:
                assert (await one.line()).startswith("220")
                assert await two.last_line() == str(replies.TOO_MANY_CONNECTIONS)
            assert relay.events("connection_refused")

    run(scene())


def test_bytes_in_flight_are_limited_over_all_clients() -> None:
    """A message for which there is no room is put off, and its bytes are not kept; room comes back."""

    async def scene() -> None:
        gate = asyncio.Event()
        ses = listener.ScriptedSes(gate=gate)
        limits = replace(listener.LIMITS, in_flight_bytes=150_000)
        async with listener.running(ses, limits=limits) as relay, wire(relay.port) as one, wire(relay.port) as two:
            big = b"x: y\r\n\r\n" + b"z" * 100_000 + b"\r\n.\r\n"
            await one.send(BEGIN + big)
            await ses.has_got(1)
            await two.send(BEGIN + big)
            assert await two.until("452") == str(replies.NO_ROOM)
            gate.set()
            assert await one.until("250 2.0.0") == "250 2.0.0 Ok 0100-ses-id"
            await two.send(BEGIN.partition(b"\r\n")[2] + big)
            assert await two.until("250 2.0.0") == "250 2.0.0 Ok 0100-ses-id"

    run(scene())


def test_the_drain_closes_idle_sessions_and_lets_busy_ones_finish() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        ses = listener.ScriptedSes(gate=gate)
        async with listener.running(ses) as relay, wire(relay.port) as idle, wire(relay.port) as busy:
            assert (await idle.line()).startswith("220")
            await busy.send(BEGIN + b"x: y\r\n.\r\n")
            await ses.has_got(1)
            drain = asyncio.ensure_future(relay.server.drain(8))
            assert await idle.last_line() == str(replies.SHUTTING_DOWN)
            gate.set()
            assert await busy.until("250 2.0.0") == "250 2.0.0 Ok 0100-ses-id"
            assert await busy.last_line() == str(replies.SHUTTING_DOWN)
            await drain
            assert not relay.server.accepting

    run(scene())


def test_a_drain_that_takes_too_long_is_cut_short_and_says_so() -> None:
    async def scene() -> None:
        ses = listener.ScriptedSes(gate=asyncio.Event())
        async with listener.running(ses) as relay, wire(relay.port) as busy:
            await busy.send(BEGIN + b"x: y\r\n.\r\n")
            await ses.has_got(1)
            clock = asyncio.get_running_loop().time
            began = clock()
            await relay.server.drain(8)
            assert 8 <= clock() - began < 9
            assert await busy.last_line() == str(replies.SHUTTING_DOWN)
            assert relay.events("drain_cut_short")[0]["messages"] == 1
            assert relay.events("message")[0]["reply"] == str(replies.SHUTTING_DOWN)

    run(scene())


def test_a_client_that_goes_away_does_not_stop_its_message() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        ses = listener.ScriptedSes(gate=gate)
        async with listener.running(ses) as relay:
            async with wire(relay.port) as client:
                await client.send(BEGIN + b"x: y\r\n.\r\n")
                await ses.has_got(1)
            await asyncio.sleep(1)
            gate.set()
            await relay.server.drain(8)
            line = relay.events("message")[0]
            assert (line["outcome"], line["client_gone"]) == ("delivered", True)

    run(scene())


def test_parcels_at_once_are_limited_and_the_rest_waits_no_longer_than_hold_s() -> None:
    async def scene() -> None:
        ses = listener.ScriptedSes(gate=asyncio.Event())
        at_once = listener.running(ses, concurrency=1, hold_s=5)
        async with at_once as relay, wire(relay.port) as one, wire(relay.port) as two:
            await one.send(BEGIN + b"x: y\r\n.\r\n")
            await ses.has_got(1)
            await two.send(BEGIN + b"x: y\r\n.\r\n")
            assert (await two.until("451")).startswith("451 4.4.5")
            assert len(ses.parcels) == 1
            assert ses.gate is not None
            ses.gate.set()
            await one.until("250 2.0.0")

    run(scene())


def test_fake_time_is_fake() -> None:
    """The tool of these tests: an hour passes at once, and in order."""

    async def scene() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - began

    assert 3600 <= fake_time.run(scene()) < 3601


def test_a_client_that_never_reads_is_let_go_all_the_same() -> None:
    """Closing waits for the client to read what is buffered, and gives that up."""

    async def scene() -> None:
        async with listener.running(limits=session(idle_s=60)) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.transport.pause_reading()  # type: ignore[attr-defined] # of a ReadTransport
            with contextlib.suppress(ConnectionError):
                for _ in range(2000):
                    writer.write(b"HELP\r\n" * 100)
                    await asyncio.sleep(0)
            await asyncio.sleep(200)
            assert relay.server.connections == 0
            writer.close()
            assert reader is not None

    run(scene())


def test_a_reload_between_mail_and_data_holds_for_the_whole_message() -> None:
    """What the new rules forbid is not sent, though the old ones had said yes to it."""

    async def scene() -> None:
        async with listener.running() as relay, wire(relay.port) as client:
            await client.send(b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<a@example.org>\r\n")
            await client.until("250 2.1.5")
            rule = listener.client_rule(deny=("@example.org",))
            relay.intake.book = replace(relay.intake.book, admission=Admission([rule]))
            await client.send(b"DATA\r\nx: y\r\n.\r\n")
            await client.until("354")
            assert await client.until("550") == str(replies.RECIPIENT_NOT_ALLOWED)
            assert relay.ses.parcels == []

    run(scene())
