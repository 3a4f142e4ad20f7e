"""The composition root: builds the parts of a relay from its settings, starts, reloads, drains and stops them.

The only module that knows everybody. A reload swaps rules and transports as a whole and touches nothing that is
under way; the order of the end is listeners, messages in hand, transports, admin, so that probes see the drain.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from relay import __version__
from relay.aws.asking import Asker, Means
from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints, SmtpEndpoints
from relay.aws.exchange import Exchange
from relay.aws.trust import tls_context
from relay.delivery.acceptance import WithoutSpool
from relay.delivery.courier import Courier, Transport
from relay.delivery.gates import GateRules, Gates
from relay.delivery.pace import Clock
from relay.delivery.reach import Connector
from relay.delivery.ses_api import SesApi
from relay.delivery.ses_smtp import SesSmtp
from relay.delivery.upstream import Route, Upstream, routes_of
from relay.intake import Intake
from relay.memory import memory_limit
from relay.model import TransportName
from relay.observe.admin import Admin
from relay.observe.log import Journal
from relay.observe.metrics import Metrics
from relay.policy.admission import Admission, ClientRule
from relay.policy.headers import HeaderRules, Stamp
from relay.policy.parcels import SES_RECIPIENTS
from relay.policy.routing import Router
from relay.policy.rulebook import RuleBook
from relay.post import PostOffice, new_id
from relay.settings.certificates import check_pair
from relay.settings.model import Listener, Settings
from relay.smtp.activation import Activation
from relay.smtp.auth import Clock as AuthClock
from relay.smtp.auth import Logins
from relay.smtp.clocks import SessionLimits
from relay.smtp.door import Door
from relay.smtp.server import Server, ServerLimits
from relay.smtp.sockets import open_sockets
from relay.smtp.tls import server_context
from relay.spool.sqlite import SqliteSpool

_FIXED_KEYS = ("listeners", "admin")  # what only a restart reads, besides the spool's path
_IN_FLIGHT_SHARE, _IN_FLIGHT_MOST = 4, 512_000_000


class Relay:
    """One running relay, with a spool or without; made and used inside its event loop."""

    def __init__(
        self, settings: Settings, journal: Journal, metrics: Metrics, spool: SqliteSpool | None = None
    ) -> None:
        self.settings = settings
        self.addresses: list[str] = []
        self._journal = journal
        self._metrics = metrics
        self._hostname = hostname()
        credentials = CredentialBook(settings.credentials, not_renewed=journal.credentials_not_renewed)
        endpoints = ApiEndpoints(settings.ses.api_endpoint)
        self._gates = Gates(journal, _clock(), gate_rules(settings, credentials, endpoints))
        self._upstream = Upstream(journal, asyncio.get_running_loop().time, self._gates.news)
        self._upstream.change(*upstream_of(settings, endpoints, self._hostname))
        self._courier = courier_of(settings, credentials, endpoints, journal, self._hostname, self._gates)
        book = book_of(settings, self._hostname)
        self._post = None
        if spool is not None:
            self._post = PostOffice(spool, settings, book, self._courier, journal, _clock(), self._hostname)
        acceptance = WithoutSpool() if self._post is None else self._post.acceptance()
        self._intake = Intake(book, self._courier, journal, new_stamp, acceptance)
        self._logins = Logins(settings.users, AuthClock(asyncio.get_running_loop().time, asyncio.sleep))
        self._server = Server(self._intake, limits_of(settings), journal, self._hostname, self._logins)
        self._doors = [door_of(listener) for listener in settings.listeners]
        self._admin: Admin | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open every listener and the admin server; raises OSError when an address cannot be had."""
        activation = Activation(os.environ, os.getpid())
        for listener, door in zip(self.settings.listeners, self._doors, strict=True):
            for opened in open_sockets(listener.bind, activation):
                await self._server.serve(opened, door)
                self.addresses.append(opened.name)
        if activation.names:
            self._journal.sockets_unused(activation.names)
        self._metrics.count_connections(lambda: self._server.connections)
        if self.settings.admin is not None:
            self._admin = Admin(
                self.settings.admin.bind, self._metrics, ready=self._not_ready, status=self._status,
                upstream=self._upstream.ask, scraped=lambda: self._metrics.upstream(self._upstream.glance()),
                report=lambda error: self._journal.internal_error("admin", error),
            )  # fmt: skip
            for address in await self._admin.start():
                self._journal.listening(f"http://{address}")
        if self._post is not None:
            self._post.start()
        self._journal.ready()

    def reload(self, settings: Settings) -> None:
        """Swap rules and transports for those of `settings`; mail under way ends with the old ones.

        The listeners stay, so `settings` must have been loaded with them (`load`'s `standing`). Raises OSError when
        a certificate cannot be used: then nothing has changed.
        """
        contexts = [door_of(listener).context for listener in self.settings.listeners]
        settings, waiting = until_restart(settings, self.settings)
        if waiting:
            self._journal.reload_needs_restart(waiting)
        credentials = CredentialBook(settings.credentials, not_renewed=self._journal.credentials_not_renewed)
        endpoints = ApiEndpoints(settings.ses.api_endpoint)
        courier = courier_of(settings, credentials, endpoints, self._journal, self._hostname, self._gates)
        book = book_of(settings, self._hostname)
        self.settings = settings
        self._gates.change(gate_rules(settings, credentials, endpoints))
        self._upstream.change(*upstream_of(settings, endpoints, self._hostname))
        self._retire(self._courier)
        self._courier = courier
        self._intake.change(book, courier)
        if self._post is not None:
            self._post.change(self.settings, book, courier)
            self._intake.acceptance = self._post.acceptance()
        self._logins.change(settings.users)
        for door, context in zip(self._doors, contexts, strict=True):
            door.context = context
        self._server.change(limits_of(settings))
        self._journal.reloaded(len(settings.identities))

    async def stop(self) -> None:
        """Drain within `limits.drain_s`, then let go of everything."""
        drain_s = self.settings.limits.drain_s
        self._intake.acceptance.hurry()
        if self._post is not None:
            await asyncio.gather(self._server.drain(drain_s), self._post.wind_down(drain_s))
            await self._post.close()
        else:
            await self._server.drain(drain_s)
        await self._courier.close()
        await self._gates.close()
        await self._upstream.close()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self._admin is not None:
            await self._admin.stop()
        self._journal.stopped()

    def _retire(self, courier: Courier) -> None:
        task = asyncio.get_running_loop().create_task(courier.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _not_ready(self) -> str | None:
        if not self._server.accepting:
            return "draining"
        refusal = self._intake.refusal()
        return None if refusal is None else refusal.text

    def _status(self) -> Mapping[str, object]:
        return {
            "version": __version__,
            "listeners": ", ".join(self.addresses),
            "connections": self._server.connections,
            "messages in hand": self._server.messages,
            "identities": ", ".join(identity.name for identity in self.settings.identities[:50]),
            **(self._post.status() if self._post is not None else {}),
        }


def until_restart(new: Settings, old: Settings) -> tuple[Settings, list[str]]:
    """What of new settings holds in a relay that runs by the old ones, and the keys of what has to wait."""
    waiting = [key for key in _FIXED_KEYS if getattr(new, key) != getattr(old, key)]
    kept: dict[str, Any] = {key: getattr(old, key) for key in waiting}
    if new.spool is None or old.spool is None:
        if new.spool != old.spool:
            waiting, kept = [*waiting, "spool"], kept | {"spool": old.spool}
    elif new.spool.path != old.spool.path:
        waiting, kept = [*waiting, "spool.path"], kept | {"spool": replace(new.spool, path=old.spool.path)}
    return replace(new, **kept), waiting


def book_of(settings: Settings, name: str) -> RuleBook:
    """The rules of these settings."""
    entries = [
        ClientRule.of(
            entry.name, networks=entry.networks, unix=entry.unix, users=entry.users, senders=entry.senders,
            allow=entry.recipients.allow, deny=entry.recipients.deny,
        )
        for entry in settings.clients
    ]  # fmt: skip
    message, limits = settings.message, settings.limits
    rules = HeaderRules(
        normalize=message.line_endings == "normalize",
        add_missing=message.add_missing_headers,
        strip=frozenset(header.lower() for header in message.strip_headers),
        received=message.received,
        header_bytes=limits.header_bytes,
        hops=limits.hops,
        hostname=name,
    )
    recipients = limits.recipients if settings.spool else min(limits.recipients, SES_RECIPIENTS)
    router = Router(settings.identities)
    size = min(limits.message_bytes, limits_of(settings).in_flight_bytes)  # what is offered can be taken
    return RuleBook(Admission(entries), router, rules, size, recipients, dry_run=settings.ses.dry_run)


def courier_of(
    settings: Settings, book: CredentialBook, endpoints: ApiEndpoints, journal: Journal, name: str, gates: Gates
) -> Courier:
    """A courier with transports of its own, which `close` lets go of."""
    transports = transports_of(settings, name, book, endpoints)
    return Courier(transports, journal, _clock(), hold_s=settings.delivery.hold_s, gates=gates)


def upstream_of(settings: Settings, endpoints: ApiEndpoints, name: str) -> tuple[list[Route], Connector]:
    """The regions in use, of which there are none where nothing is sent, and how to connect to them."""
    ses = settings.ses
    smtp = partial(SmtpEndpoints, ses.smtp_endpoint, ses.smtp_tls)
    routes = [] if ses.dry_run else routes_of(settings.identities)
    return routes, Connector(endpoints, smtp, helo=name, trust=tls_context)


def gate_rules(settings: Settings, book: CredentialBook, endpoints: ApiEndpoints) -> GateRules:
    """Concurrency and pace of these settings, and whom to ask about quotas; STS only where SES is the real one."""
    ses = settings.ses
    exchange = Exchange(ses.timeout_s, user_agent=f"ses-relay/{__version__}", final_s=0)
    asker = Asker(Means(book, endpoints, exchange, _utc_now))
    max_rate = None if ses.max_rate == "auto" else ses.max_rate
    return GateRules(ses.concurrency, max_rate, asker, whose=endpoints.sts_belongs)


def _clock() -> Clock:
    return Clock(asyncio.get_running_loop().time, asyncio.sleep, random.random)


def transports_of(
    settings: Settings, name: str, book: CredentialBook | None = None, endpoints: ApiEndpoints | None = None
) -> dict[TransportName, Transport]:
    """The ways to SES, for a host of this name; each to be closed."""
    ses, mode = settings.ses, settings.delivery.configuration_errors
    book, endpoints = book or CredentialBook(settings.credentials), endpoints or ApiEndpoints(ses.api_endpoint)
    return {
        "api": SesApi(book, endpoints, timeout_s=ses.timeout_s, mode=mode, clock=_utc_now),
        "smtp": SesSmtp(
            book, SmtpEndpoints(ses.smtp_endpoint, ses.smtp_tls), timeout_s=ses.timeout_s,
            concurrency=ses.concurrency, mode=mode, helo=name, tls=tls_context,
        ),
    }  # fmt: skip


def door_of(listener: Listener) -> Door:
    """How a listener lets clients in; reads its certificate. Raises OSError, which names the file that is no use."""
    context = None
    if listener.tls != "none" and listener.certificate and listener.private_key:
        check_pair(listener.certificate, listener.private_key, listener.tls_profile)
        context = server_context(listener.certificate, listener.private_key, listener.tls_profile)
    return Door(
        listener.tls, context, listener.require_tls, listener.auth_without_tls, tuple(listener.proxy_protocol_from)
    )


def limits_of(settings: Settings) -> ServerLimits:
    """The limits of the listeners."""
    limits = settings.limits
    room = limits.in_flight_bytes
    return ServerLimits(
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        errors=limits.errors,
        auth_failures=limits.auth_failures,
        in_flight_bytes=min(memory_limit() // _IN_FLIGHT_SHARE, _IN_FLIGHT_MOST) if room == "auto" else room,
        session=SessionLimits(limits.idle_s, limits.data_s, limits.data_bytes_per_s, limits.session_s),
    )


def new_stamp() -> Stamp:
    """What a message needs of clock and chance."""
    token = new_id()
    return Stamp(id=token, when=_utc_now(), token=token)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def hostname() -> str:
    """This host's name, as greeting, EHLO and Received show it; never looked up in DNS, which may block."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"
