"""What the doctor asks with: credentials, endpoints and connections of its own, as the relay would have them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from relay import __version__
from relay.aws.asking import Asker, Means
from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints, SmtpEndpoints
from relay.aws.exchange import Exchange
from relay.aws.trust import tls_context
from relay.settings.model import Settings

TIMEOUT_S: Final = 10.0  # without progress; nobody wants to wait as long for a diagnosis as for mail


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Tools:
    """All of it; `close` lets go of the connections. `trust` makes a TLS context, and may block."""

    book: CredentialBook
    api: ApiEndpoints
    smtp: SmtpEndpoints
    exchange: Exchange
    asker: Asker
    timeout_s: float
    clock: Callable[[], datetime]
    pause: Callable[[float], Awaitable[None]]
    trust: Callable[[], ssl.SSLContext]

    async def close(self) -> None:
        """Let go of all connections."""
        await self.asker.close()


def tools_for(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = _utc_now,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Tools:
    """Tools for a configuration. Blocks a little; for use in one event loop, also one that runs later."""
    timeout_s = min(settings.ses.timeout_s, TIMEOUT_S)
    book, endpoints = CredentialBook(settings.credentials), ApiEndpoints(settings.ses.api_endpoint)
    exchange = Exchange(timeout_s, user_agent=f"ses-relay/{__version__}", final_s=0)
    return Tools(
        book=book,
        api=endpoints,
        smtp=SmtpEndpoints(settings.ses.smtp_endpoint, settings.ses.smtp_tls),
        exchange=exchange,
        asker=Asker(Means(book, endpoints, exchange, clock, pause)),
        timeout_s=timeout_s,
        clock=clock,
        pause=pause,
        trust=tls_context,
    )
