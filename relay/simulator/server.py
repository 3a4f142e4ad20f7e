"""The simulator as a whole: the parts, their sockets on loopback, and what tests and people ask it.

    async with Simulator(regions=("us-east-1", "eu-west-1")) as ses:
        ...                                     # point a relay or boto3 to ses.api_url and ses.smtp_address()
        await ses.wait_for(1)
        ses.received[0].raw

Refuses to listen anywhere but on loopback: it knows no limits, and its keys are in the documentation.
"""

from __future__ import annotations

import asyncio
import ipaddress
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any, Self

from aiohttp import web as http

from relay.arn import parse_identity_arn
from relay.simulator import certificates, configuration, web
from relay.simulator.explanation import Decision
from relay.simulator.faults import Faults
from relay.simulator.keys import KeyRing, smtp_password
from relay.simulator.ledger import Ledger
from relay.simulator.reads import Reads
from relay.simulator.reception import Clock, Reception
from relay.simulator.smtp import Smtp
from relay.simulator.sts import Sts
from relay.simulator.usage import Usage
from relay.simulator.wire import Connections, Wire
from relay.simulator.words import AccessKey, Called, Received, SmtpLogin, TurnedAway
from relay.simulator.world import World
from relay.simulator.worlds.delegation import delegate
from relay.simulator.worlds.words import region as parse_region

OWNER_ACCOUNT = "123456789012"
DELEGATE = AccessKey(  # the key pair that the AWS documentation uses in its examples
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # noqa: S106 (an example, opens nothing)
    account="111122223333",
    principal="arn:aws:iam::111122223333:user/ses-relay",
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Simulator:
    """A local SES. Ports of 0 are chosen by the system; sizes are bytes, times seconds.

    `identities` are ARNs: those of a key's own account may be used without naming them, all others are delegated
    to every key; an ARN with region "*" exists in every region. By default example.com of another account.
    `configuration_sets` are those of every key's account in every region.
    With a `world` its regions, keys and logins count, and those given here do not.
    `ca_file`: where to write the certificate authority, a temporary directory by default.
    """

    regions: Sequence[str] = ("us-east-1", "eu-west-1")
    identities: Sequence[str] | None = None
    configuration_sets: Sequence[str] = ()
    keys: Sequence[AccessKey] = (DELEGATE,)
    logins: Sequence[SmtpLogin] = ()
    host: str = "127.0.0.1"
    http_port: int = 0
    smtp_port: int = 0
    smtps_port: int = 0
    https: bool = False
    tls_required: bool = True
    idle_s: float = 10.0
    keep: int = 1000
    keep_bytes: int = 256 * 1024 * 1024
    ca_file: Path | None = None
    clock: Clock = _utc_now
    world: World | None = None
    faults: Faults = field(init=False, default_factory=Faults)

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise ValueError(f"the simulator listens on loopback only, not on {self.host}")
        if self.world is not None:
            self.regions, self.keys, self.logins = self.world.regions, self.world.keys, self.world.logins
            self.identities = [identity.arn for identity in self.world.identities]
        elif self.identities is None:
            self.identities = [f"arn:aws:ses:{region}:{OWNER_ACCOUNT}:identity/example.com" for region in self.regions]
        _check_words(self.regions)
        self._arns = tuple(map(parse_identity_arn, self.identities))
        self._check_identities()
        self._world = self.world or delegate(self.regions, self._arns, self.keys, self.logins, self.configuration_sets)
        self._usage = Usage()
        self._ledger = Ledger(self.keep, self.keep_bytes)
        self._connections = Connections()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self.ca_file is None:
                self.ca_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ca.pem"
            issued = await asyncio.to_thread(certificates.issue)
            issued.write_authority(self.ca_file)
            ring = KeyRing(self.keys, self.logins, self.regions)
            reception = Reception(self._world, self._usage, self.faults, self._ledger, self.clock)
            reads, desk = Reads(self._world, self._usage), Sts(self._world, ring)
            api = web.Api(reception, reads, desk, ring, self.regions, self.faults, self._ledger, self.clock)
            smtp = Smtp(reception, ring, self.faults, issued.context, self.tls_required)
            await self._listen_http(stack, api, issued.context)
            await self._listen_smtp(stack, smtp)
            stack.callback(self.faults.clear)  # lets held messages go, so that closing does not wait for them
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _listen_http(self, stack: AsyncExitStack, api: web.Api, context: SSLContext) -> None:
        runner = http.AppRunner(web.application(api), access_log=None, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await http.TCPSite(runner, self.host, self.http_port, ssl_context=context if self.https else None).start()
        self.http_port = runner.addresses[0][1]

    async def _listen_smtp(self, stack: AsyncExitStack, smtp: Smtp) -> None:
        loop = asyncio.get_running_loop()
        plain = partial(Wire, partial(smtp.serve, tls=False), self._connections, self.idle_s)
        wrapped = partial(Wire, partial(smtp.serve, tls=True), self._connections, self.idle_s)
        servers = (
            await loop.create_server(plain, self.host, self.smtp_port, backlog=1024),
            await loop.create_server(wrapped, self.host, self.smtps_port, backlog=1024, ssl=smtp.context),
        )
        stack.push_async_callback(self._connections.close)
        for server in servers:
            stack.callback(server.close)
        self.smtp_port, self.smtps_port = (server.sockets[0].getsockname()[1] for server in servers)

    @property
    def api_url(self) -> str:
        """The endpoint of both APIs, for every region."""
        return f"{'https' if self.https else 'http'}://{_bracketed(self.host)}:{self.http_port}"

    def smtp_address(self, region: str | None = None) -> tuple[str, int]:
        """Host and port for STARTTLS. The same for every region: the login tells which one is meant."""
        self._check_region(region)
        return self.host, self.smtp_port

    def smtps_address(self, region: str | None = None) -> tuple[str, int]:
        """Host and port for implicit TLS."""
        self._check_region(region)
        return self.host, self.smtps_port

    def smtp_login(self, region: str, key: AccessKey | None = None) -> tuple[str, str]:
        """User name and password for SMTP in one region, of the first key by default."""
        self._check_region(region)
        key = key or self.keys[0]
        return key.access_key_id, smtp_password(key.secret_access_key, region)

    def _check_identities(self) -> None:
        """Every identity is in a region that is served, or could never be used. Raises ValueError."""
        for arn in self._arns:
            if arn.region not in ("*", *self.regions):
                served = ", ".join(self.regions)
                raise ValueError(f"{arn} is of {arn.region}, which is not among the regions served: {served}")

    def _check_region(self, region: str | None) -> None:
        if region is not None and region not in self.regions:
            raise ValueError(f"this simulator has no region {region}")

    @property
    def received(self) -> tuple[Received, ...]:
        """The messages kept, oldest first."""
        return self._ledger.received

    @property
    def turned_away(self) -> tuple[TurnedAway, ...]:
        """The messages refused, oldest first."""
        return self._ledger.turned_away

    @property
    def called(self) -> tuple[Called, ...]:
        """The calls to STS and the looks at accounts, oldest first."""
        return self._ledger.called

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Why each message was taken or refused, oldest first."""
        return self._ledger.decisions

    @property
    def total(self) -> int:
        """Messages taken since the start or the last `clear`."""
        return self._ledger.total

    def clear(self) -> None:
        """Forget what came and how much it was, and end all faults."""
        self._ledger.clear()
        self._usage.clear()
        self.faults.clear()

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> tuple[Received, ...]:
        """The messages kept once `count` have come; TimeoutError after `timeout_s` seconds."""
        return await self._ledger.wait_for(count, timeout_s)

    def relay_config(self) -> dict[str, Any]:
        """A relay's configuration that sends as every identity through this simulator."""
        return configuration.relay_config(self._arns, self.regions, self.api_url, self.smtp_address())

    def relay_endpoints(self, tls: str = "starttls") -> dict[str, Any]:
        """What a relay's own configuration needs in its section `ses`; `tls` is how TLS begins in SMTP."""
        address = self.smtps_address() if tls == "implicit" else self.smtp_address()
        return configuration.endpoints(self.api_url, address, "implicit" if tls == "implicit" else "starttls")

    def relay_environment(self, *, keys: bool = True) -> dict[str, str]:
        """The environment that a relay needs besides: the first key, STS, and the certificate authority."""
        return configuration.relay_environment(self.keys[0] if keys else None, self.ca_file, self.api_url)


def _check_words(regions: Sequence[str]) -> None:
    """Raises ValueError for what is no region, as a world file would be refused."""
    for region in regions:
        try:
            parse_region(region)
        except ValueError as error:
            raise ValueError(f"{region!r} is not {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
