"""Many logins over real sockets: what one address does stops no other one, and going away changes nothing."""

import asyncio
import contextlib
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import listener
import pytest
from hash_gate import PATIENCE_S, HashGate, hash_gate
from session_lines import CHEAP

from relay import replies
from relay.smtp.auth import CHECKS_AT_ONCE, CHECKS_EACH, FAILURES_MOST
from relay.smtp.door import Door

USERS = {"ann": CHEAP.hash("right"), "bob": CHEAP.hash("right")}
HERE, THERE = "192.0.2.7", "203.0.113.9"
BEHIND_A_PROXY = Door(auth_without_tls="always", proxies=(ip_network("127.0.0.0/8"),))
PATIENT = replace(listener.LIMITS, errors=1000, auth_failures=1000, connections=1000, connections_per_client=1000)
RIGHT, WRONG, CLOSED = map(str, (replies.LOGGED_IN, replies.BAD_LOGIN, replies.LOGIN_TROUBLE))


class Client:
    """A connection that the proxy brings from some address; `hear` reads one reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def ask(self, password: str, user: str = "ann") -> None:
        self._writer.write(b"AUTH PLAIN " + b64encode(f"\0{user}\0{password}".encode()) + b"\r\n")

    async def log_in(self, password: str, user: str = "ann") -> str:
        self.ask(password, user)
        return await self.hear()

    async def hear(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readline()
        return line.decode("ascii").removesuffix("\r\n")

    async def reset(self) -> None:
        """Go away without a word."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Relay:
    """A listener, and clients that come to it from anywhere."""

    def __init__(self, relay: listener.Listener, stack: AsyncExitStack) -> None:
        self.relay, self._stack = relay, stack

    async def client(self, address: str = HERE) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
        client = Client(reader, writer)
        self._stack.push_async_callback(client.close)
        kind, to = ("TCP6", "2001:db8::1") if ":" in address else ("TCP4", "198.51.100.1")
        writer.write(f"PROXY {kind} {address} {to} 50000 25\r\nHELO c\r\n".encode())
        assert (await client.hear()).startswith("220 ")
        assert (await client.hear()).startswith("250 ")
        return client

    async def clients(self, number: int, address: str = HERE) -> list[Client]:
        return [await self.client(address) for _ in range(number)]

    async def happened(self, event: str, times: int) -> list[dict[str, Any]]:
        """Wait until the log has that many lines of one kind."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.relay.events(event)) < times:  # noqa: ASYNC110 - of a line there is no event
                await asyncio.sleep(0)
        return self.relay.events(event)

    async def queued(self, checks: int) -> None:
        """Wait until that many checks are under way."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.relay.server.logins._under_way) < checks:  # noqa: ASYNC110 - nor of this
                await asyncio.sleep(0)

    async def gone(self, connections: int = 0) -> None:
        """Wait until the relay has no more than this many connections."""
        async with asyncio.timeout(PATIENCE_S):
            while self.relay.server.connections > connections:  # noqa: ASYNC110 - of the loss there is no event
                await asyncio.sleep(0)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Relay]:
    chosen: dict[str, Any] = {"door": BEHIND_A_PROXY, "users": USERS, "limits": PATIENT} | settings
    async with listener.running(**chosen) as relay, AsyncExitStack() as stack:
        yield Relay(relay, stack)


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HashGate]:
    with hash_gate(monkeypatch) as gate:
        yield gate


async def test_one_address_does_not_make_everybody_wait(gate: HashGate) -> None:
    """Its queue is short, who finds no place in it hears so at once, and another address is among the next."""
    async with running() as relay:
        crowd = await relay.clients(40)
        for number, client in enumerate(crowd):
            client.ask(f"guess {number}")
        unchecked = await relay.happened("login_unchecked", len(crowd) - CHECKS_EACH)
        await gate.has_begun(CHECKS_AT_ONCE)
        other = await relay.client(THERE)
        other.ask("right")
        await relay.queued(CHECKS_EACH + 1)
        gate.let()
        assert await other.hear() == RIGHT
        assert gate.begun.index(b"right") <= CHECKS_AT_ONCE + 1
        heard = [await client.hear() for client in crowd]
    assert {event["reason"] for event in unchecked} == {f"{CHECKS_EACH} logins from {HERE} are being checked"}
    assert (heard.count(WRONG), heard.count(CLOSED)) == (CHECKS_EACH, len(crowd) - CHECKS_EACH)


async def test_who_resets_the_connection_is_logged_counted_and_frees_no_place(gate: HashGate) -> None:
    async with running() as relay:
        for number in range(CHECKS_EACH):
            client = await relay.client()
            client.ask(f"guess {number}")
            await relay.queued(number + 1)
            await client.reset()
            await relay.gone()
        assert relay.relay.events("login_failed") == []
        full = await relay.client()
        assert await full.log_in("one more") == CLOSED  # those that went away still have their places
        gate.let()
        failed = await relay.happened("login_failed", CHECKS_EACH)
        assert gate.most_at_once == CHECKS_AT_ONCE
        assert len({event["session"] for event in failed}) == CHECKS_EACH
        assert {(event["peer"], event["user"]) for event in failed} == {(HERE, "ann")}
        heard = [await full.log_in(f"and {number}") for number in range(FAILURES_MOST)]
        left = FAILURES_MOST - CHECKS_EACH
        assert heard == [WRONG] * left + [CLOSED] * CHECKS_EACH  # and they have failed


async def test_no_more_guesses_are_answered_at_the_same_time_than_one_after_the_other() -> None:
    async with running() as relay:
        clients = await relay.clients(95)
        for number, client in enumerate(clients):
            client.ask(f"guess {number}")
        heard = [await client.hear() for client in clients]
        for number, client in enumerate(clients):
            client.ask(f"again {number}")
            heard.append(await client.hear())
        assert heard.count(WRONG) == FAILURES_MOST
        assert heard.count(CLOSED) == 2 * 95 - FAILURES_MOST
        assert await clients[0].log_in("right") == CLOSED
        other = await relay.client(THERE)
        assert await other.log_in("right") == RIGHT


async def test_an_ipv6_client_cannot_guess_from_each_of_its_addresses() -> None:
    async with running() as relay:
        heard = []
        for number in range(FAILURES_MOST + 3):
            client = await relay.client(f"2001:db8:7:7::{number + 1:x}")
            heard.append(await client.log_in(f"guess {number}"))
        assert heard == [WRONG] * FAILURES_MOST + [CLOSED] * 3
        other = await relay.client("2001:db8:7:8::1")
        assert await other.log_in("right") == RIGHT


async def test_who_was_right_there_still_gets_in_where_others_guess() -> None:
    """And who repeats one wrong password, as an application with an old one does, closes the address for nobody."""
    async with running() as relay:
        assert await (await relay.client()).log_in("right") == RIGHT
        broken = await relay.client()
        assert {await broken.log_in("of last year", "bob") for _ in range(2 * FAILURES_MOST)} == {WRONG}
        assert await (await relay.client()).log_in("right", "bob") == RIGHT
        for number in range(FAILURES_MOST):
            await broken.log_in(f"guess {number}")
        assert await broken.log_in("the next") == CLOSED
        assert await (await relay.client()).log_in("right") == RIGHT
        assert await broken.log_in("of last year", "bob") == WRONG


async def test_what_a_closed_address_asks_for_counts_against_its_session() -> None:
    async with running(limits=replace(PATIENT, auth_failures=3)) as relay:
        for number in range(FAILURES_MOST):
            await (await relay.client()).log_in(f"guess {number}")
        client = await relay.client()
        heard = [await client.log_in(f"more {number}") for number in range(3)]
        assert [*heard, await client.hear(), await client.hear()] == [CLOSED] * 3 + [str(replies.TOO_MANY_ERRORS), ""]


async def test_a_hash_that_cannot_be_checked_costs_no_session_its_budget() -> None:
    limits = replace(PATIENT, auth_failures=3)
    async with running(limits=limits, users=USERS | {"old": "$argon2id$nonsense"}) as relay:
        client = await relay.client()
        assert [await client.log_in("right", "old") for _ in range(5)] == [CLOSED] * 5
        assert await client.log_in("right") == RIGHT
