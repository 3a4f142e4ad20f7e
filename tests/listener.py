"""A real listener on loopback for tests: everything is the relay's own, but SES, whose answers the test gives."""

import asyncio
import io
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from relay.arn import parse_identity_arn
from relay.delivery.acceptance import Acceptance, WithoutSpool
from relay.delivery.courier import Courier, Transport
from relay.delivery.gates import GateRules, Gates
from relay.delivery.pace import Clock
from relay.intake import Intake
from relay.model import Cause, Deferred, Delivered, Failed, Identity, Outcome, Parcel, Reply, TransportName
from relay.observe.log import Journal
from relay.observe.log_output import open_log
from relay.observe.metrics import Metrics
from relay.policy.admission import Admission, ClientRule
from relay.policy.headers import HeaderRules, Stamp
from relay.policy.routing import Router
from relay.policy.rulebook import RuleBook
from relay.settings.addresses import TcpAddress
from relay.smtp.activation import Activation
from relay.smtp.auth import Clock as AuthClock
from relay.smtp.auth import Logins
from relay.smtp.clocks import SessionLimits
from relay.smtp.door import Door
from relay.smtp.server import Server, ServerLimits
from relay.smtp.sockets import open_sockets

DELIVERED = Delivered("0100-ses-id")
THROTTLED = Deferred(Reply(451, "4.4.5", "SES is throttling"), Cause.THROTTLED, "Maximum sending rate exceeded.")
CREDENTIALS = Deferred(
    Reply(451, "4.3.5", "The relay's AWS keys do not work"), Cause.CREDENTIALS, "InvalidClientTokenId"
)
REFUSED = Failed(Reply(554, "5.7.1", "Email address is not verified"), Cause.IDENTITY, "Email address is not verified")


@dataclass
class ScriptedSes:
    """A transport that answers what the test says, `DELIVERED` when it says nothing, and keeps the parcels."""

    outcomes: deque[Outcome | Exception] = field(default_factory=deque)
    parcels: list[Parcel] = field(default_factory=list)
    gate: asyncio.Event | None = None
    _change: asyncio.Condition = field(default_factory=asyncio.Condition)
    closed: bool = False

    async def send(self, parcel: Parcel) -> Outcome:
        """Take one parcel."""
        async with self._change:
            self.parcels.append(parcel)
            self._change.notify_all()
        if self.gate is not None:
            await self.gate.wait()
        outcome = self.outcomes.popleft() if self.outcomes else DELIVERED
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def has_got(self, parcels: int) -> None:
        """Wait until that many parcels have come."""
        async with asyncio.timeout(10), self._change:
            await self._change.wait_for(lambda: len(self.parcels) >= parcels)

    async def close(self) -> None:
        """Nothing to let go of."""
        self.closed = True

    def message(self, number: int = -1) -> bytes:
        """What SES got, as one piece."""
        return b"".join(bytes(piece) for piece in self.parcels[number].content)


def identity(pattern: str = "@example.com", arn_name: str = "example.com", **changes: Any) -> Identity:
    """An identity in us-west-2 that `pattern` may use."""
    arn = parse_identity_arn(f"arn:aws:ses:us-west-2:123456789012:identity/{arn_name}")
    made = Identity(
        name=arn_name, senders=(pattern,), source_arn=arn, from_arn=arn, return_path_arn=arn, region="us-west-2"
    )
    return replace(made, **changes)


def client_rule(name: str = "local", network: str = "127.0.0.0/8", **changes: Any) -> ClientRule:
    """An entry of `clients`."""
    fields: dict[str, Any] = {
        "name": name, "networks": (ip_network(network), ip_network("::1/128")), "unix": True, "users": None,
        "senders": None, "allow": ("*",), "deny": (),
    } | changes  # fmt: skip
    return ClientRule.of(**fields)


HEADERS = HeaderRules(
    normalize=True, add_missing=True, strip=frozenset({"bcc", "return-path", "sender"}), received="none",
    header_bytes=100_000, hops=50, hostname="relay.test",
)  # fmt: skip
SESSION = SessionLimits(idle_s=300, data_s=600, data_bytes_per_s=500, session_s=1800)
LIMITS = ServerLimits(
    connections=100, connections_per_client=50, errors=20, auth_failures=3, in_flight_bytes=512_000_000, session=SESSION
)


@dataclass
class Listener:
    """A running listener and what the test sees of it."""

    server: Server
    intake: Intake
    ses: ScriptedSes
    port: int
    output: io.StringIO
    metrics: Metrics

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [event for event in self.log if event["event"] == name]


@asynccontextmanager
async def running(
    ses: ScriptedSes | None = None,
    *,
    identities: Sequence[Identity] = (),
    clients: Sequence[ClientRule] = (),
    headers: HeaderRules = HEADERS,
    limits: ServerLimits = LIMITS,
    message_bytes: int = 1_000_000,
    recipients: int = 50,
    hold_s: float = 5.0,
    concurrency: int = 32,
    drain_s: float = 5.0,
    dry_run: bool = False,
    host: str = "127.0.0.1",
    door: Door | None = None,
    users: Mapping[str, str] | None = None,
    transports: Mapping[TransportName, Transport] | None = None,
    acceptance: Acceptance | None = None,
) -> AsyncIterator[Listener]:
    """Start a listener on a free port of loopback, and drain it at the end."""
    ses = ses or ScriptedSes()
    output = io.StringIO()
    metrics = Metrics("test")
    journal = Journal(open_log("json", "debug", output), metrics)
    clock = Clock(asyncio.get_running_loop().time, _no_pause, lambda: 0.5)
    gates = Gates(journal, clock, GateRules(concurrency, max_rate=1e6))
    courier = Courier(transports or {"api": ses, "smtp": ses}, journal, clock, hold_s=hold_s, gates=gates)
    admission = Admission(clients or [client_rule()])
    router = Router(identities or [identity()])
    book = RuleBook(admission, router, headers, message_bytes, recipients, dry_run=dry_run)
    serial = itertools.count(1)

    def stamp() -> Stamp:
        return Stamp(f"m{next(serial)}", datetime(2026, 11, 20, 12, 0, tzinfo=UTC), "token")

    intake = Intake(book, courier, journal, stamp, acceptance or WithoutSpool())
    logins = Logins(users or {}, AuthClock(asyncio.get_running_loop().time, _no_pause))
    server = Server(intake, limits, journal, "relay.test", logins)
    [opened] = open_sockets(TcpAddress(host, 0), Activation({}, 0))
    port = opened.sock.getsockname()[1]
    await server.serve(opened, door or Door())
    try:
        yield Listener(server, intake, ses, port, output, metrics)
    finally:
        await server.drain(drain_s)
        if transports is None:
            await courier.close()
        await gates.close()


async def _no_pause(seconds: float) -> None:
    await asyncio.sleep(0)
