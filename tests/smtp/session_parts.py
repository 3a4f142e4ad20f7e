"""The real listener beside its reference: a place with a configuration, connections to it, and what SES must get."""

import asyncio
import contextlib
import socket
import ssl
import struct
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any, Literal

import listener
from certificates import Pki
from session_lines import INSIDES, PASSWORD, USERS, WRONG, WRONG_TOO, plain
from session_reference import BILLING_SENDERS, MESSAGE_BYTES, RECIPIENTS, History, House, Session

from relay.policy.admission import ClientRule
from relay.policy.patterns import PatternIndex
from relay.smtp.door import Door

PATIENCE_S = 20.0
HERE, BEHIND, ELSEWHERE = "127.0.0.1", "192.0.2.7", "203.0.113.9"  # without a proxy; a client of one; nobody's client
_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([203, 0, 113, 9, 198, 51, 100, 1]) + b"\xc3\x50\0\x19"
PREAMBLES = {HERE: b"", BEHIND: b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\r\n", ELSEWHERE: _V2}


class _Failing(PatternIndex[bool]):
    """Our own code, where it fails."""

    def match(self, address: str) -> bool | None:
        if address.startswith("boom@"):
            raise RuntimeError(INSIDES)
        return super().match(address)


def _client(name: str, **changes: Any) -> ClientRule:
    made: ClientRule = listener.client_rule(name, **changes)
    return replace(made, deny=_Failing([("@denied.test", True)]))


BY_PLACE = [_client("local"), _client("behind", network="192.0.2.0/24")]
BY_LOGIN = _client(
    "billing", users=("billing",), networks=None, unix=False, senders=BILLING_SENDERS, allow=("@example.org",)
)


@dataclass(frozen=True)
class Place:
    """A configuration: the listener that has it, and what it means for one client."""

    tls: Literal["none", "starttls", "implicit"] = "none"
    require_tls: bool = False
    auth_without_tls: Literal["loopback", "never", "always"] = "loopback"
    logins: bool = True
    by_place: bool = True
    proxied: bool = False
    errors: int = 1000
    login_failures: int = 1000

    def house(self, peer: str) -> House:
        """The configuration as the reference has it."""
        clear = self.auth_without_tls == "always" or (self.auth_without_tls == "loopback" and peer == HERE)
        return House(
            self.tls, self.require_tls and self.tls == "starttls", self.logins, clear_logins=clear,
            known_place=self.by_place and peer != ELSEWHERE, errors=self.errors, login_failures=self.login_failures,
            peer=peer,
        )  # fmt: skip

    def running(self, ses: listener.ScriptedSes, pki: Pki) -> AbstractAsyncContextManager[listener.Listener]:
        """The listener."""
        door = Door(
            self.tls, None if self.tls == "none" else pki.server(), self.require_tls and self.tls == "starttls",
            self.auth_without_tls, (ip_network("127.0.0.0/8"),) if self.proxied else (),
        )  # fmt: skip
        return listener.running(
            ses, door=door, limits=replace(listener.LIMITS, errors=self.errors, auth_failures=self.login_failures),
            identities=[listener.identity(), listener.identity("@invoices.example.com", "invoices.example.com")],
            clients=[*(BY_PLACE if self.by_place else []), BY_LOGIN], users=USERS if self.logins else {},
            message_bytes=MESSAGE_BYTES, recipients=RECIPIENTS,
        )  # fmt: skip


class Wire:
    """One connection, and the reference that it is held to."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reference: Session, trust: ssl.SSLContext
    ) -> None:
        self.reference = reference
        self._reader, self._writer, self._trust = reader, writer, trust

    async def begin(self, preamble: bytes) -> None:
        """What comes before the first command: a proxy's header, a handshake, the greeting."""
        self._writer.write(preamble)
        if self.reference.encrypted:
            await self._encrypt()
        await self._hear("220")

    def say_only(self, *lines: bytes) -> None:
        """Send lines in one packet."""
        self._writer.write(b"".join(line + b"\r\n" for line in lines))

    async def say(self, *lines: bytes, last: bool = False) -> None:
        """Send lines in one packet (and half-close), and hear exactly what the reference says to them."""
        self.say_only(*lines)
        if last:
            self._writer.write_eof()
        for line in lines:
            for reply in self.reference.hear(line):
                await self._hear(reply, f"to {line[:80]!r}")
        if self.reference.mode == "handshake":
            await self._encrypt()
            self.reference.shake_hands()
        if last or self.reference.mode == "closed":
            await self._end()

    async def close(self) -> None:
        """Go away."""
        self.reference.mode = "closed"
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def vanish(self) -> None:
        """Go away with a reset, which a listener cannot take for the half-close of somebody who listens on."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self.close()

    async def _encrypt(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._writer.start_tls(self._trust, server_hostname="localhost")
        assert self._writer.get_extra_info("cipher")

    async def _end(self) -> None:
        """The listener must have nothing more to say."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self._reader.read() == b""
        await self.close()

    async def _hear(self, expected: str, what: str = "") -> None:
        lines = [await self._line()]
        while lines[-1][3:4] == "-":
            lines.append(await self._line())
        said = "\n".join(lines)
        assert said == expected or said.startswith(expected + " "), f"{what}: {said!r} and not {expected!r}"
        assert INSIDES not in said

    async def _line(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            return (await self._reader.readline()).decode("ascii").removesuffix("\r\n")


@dataclass
class Scene:
    """A running listener, the SES behind it, and what that must have got."""

    place: Place
    relay: listener.Listener
    trust: ssl.SSLContext
    history: History = field(default_factory=History)

    async def connect(self, peer: str = HERE) -> Wire:
        """A session at its greeting."""
        reader, writer = await asyncio.open_connection(HERE, self.relay.port)
        wire = Wire(reader, writer, Session(self.place.house(peer), self.history), self.trust)
        await wire.begin(PREAMBLES[peer])
        return wire

    def check_parcels(self) -> None:
        """What SES got, in order."""
        got = [(parcel.sender, parcel.recipients, parcel.identity) for parcel in self.relay.ses.parcels]
        assert got == self.history.parcels

    def check_log(self) -> None:
        """Every message once, under whose it is, and no password."""
        logged = [(event["peer"], event.get("user"), event["sender"]) for event in self.relay.events("message")]
        assert logged == self.history.messages
        text = self.relay.output.getvalue()
        for secret in (PASSWORD, WRONG, WRONG_TOO):
            encoded = (b64encode(secret.encode()), plain("billing", secret), plain("nobody", secret))
            assert secret not in text
            assert not any(form.decode() in text for form in encoded)


@asynccontextmanager
async def scene(place: Place, pki: Pki) -> AsyncIterator[Scene]:
    """A listener; at the end nothing may be open."""
    async with place.running(listener.ScriptedSes(deque()), pki) as relay:
        made = Scene(place, relay, pki.client())
        yield made
    made.check_parcels()
    made.check_log()
    assert (relay.server.connections, relay.server.messages) == (0, 0)
