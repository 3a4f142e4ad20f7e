"""What the tests of the SMTP transport are made of: parcels, logins, endpoints, certificates, the transport itself."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import trustme

from relay.aws.credentials import CredentialTrouble, SmtpLogin
from relay.aws.endpoints import SmtpEndpoint, SmtpTls
from relay.delivery.ses_smtp import SesSmtp
from relay.model import Buffer, Deferred, Delivered, Outcome, Parcel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from relay.policy.outcomes import ConfigurationErrors

CONTENT = b"From: app@example.com\r\n\r\nHello\r\n"
REGION = "us-west-2"


def at(port: int, tls: SmtpTls = "none", host: str = "127.0.0.1") -> SmtpEndpoint:
    """An endpoint on loopback."""
    return SmtpEndpoint(host, port, tls)


@dataclass
class Book:
    """Logins by the name of credentials; counts how often it was asked."""

    logins: dict[str, SmtpLogin] = field(default_factory=lambda: {"default": SmtpLogin("user", "secret")})
    asked: int = 0

    async def smtp_login(self, name: str, region: str) -> SmtpLogin:
        self.asked += 1
        if name not in self.logins:
            raise CredentialTrouble(f"no credentials are called {name!r}")
        return self.logins[name]


def parcel(
    content: bytes | Sequence[Buffer] = CONTENT,
    *,
    sender: str = "app@example.com",
    recipients: Sequence[str] = ("a@example.org",),
    credentials: str = "default",
    region: str = REGION,
) -> Parcel:
    """A parcel as the courier would hand it over."""
    pieces = (content,) if isinstance(content, bytes) else tuple(content)
    return Parcel(
        id="p1",
        identity="example.com",
        region=region,
        transport="smtp",
        credentials=credentials,
        sender=sender,
        recipients=tuple(recipients),
        content=pieces,
        return_path_arn="",
    )


@cache
def authority() -> trustme.CA:
    """The certificate authority that the tests believe."""
    return trustme.CA()


def server_context(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """TLS for a server on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or authority().issue_cert("127.0.0.1", "localhost")).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """TLS that verifies servers, and believes the tests' authority."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # what `relay.aws.trust` sets; some systems' default is less
    authority().configure_trust(context)
    return context


@asynccontextmanager
async def transport(
    *endpoints: SmtpEndpoint,
    book: Book | None = None,
    timeout_s: float = 10.0,
    final_s: float = 10.0,
    concurrency: int = 32,
    mode: ConfigurationErrors = "auto",
) -> AsyncIterator[SesSmtp]:
    """The transport under test; the n-th endpoint is that of the n-th region, the first that of all others."""
    regions = {f"region-{number}": endpoint for number, endpoint in enumerate(endpoints)}
    ses = SesSmtp(
        book or Book(),
        lambda region: regions.get(region, endpoints[0]),
        timeout_s=timeout_s,
        final_s=final_s,
        concurrency=concurrency,
        mode=mode,
        helo="relay.test",
        tls=client_context,
    )
    try:
        yield ses
    finally:
        await ses.close()


def in_short(outcome: Outcome) -> str:
    """An outcome in the words of the transcripts."""
    if isinstance(outcome, Delivered):
        return f"Delivered {outcome.message_id}".strip()
    kind = "Deferred" if isinstance(outcome, Deferred) else "Failed"
    return f"{kind} {outcome.reply.code} {outcome.reply.enhanced} {outcome.cause}"
