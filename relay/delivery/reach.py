"""Whether a connection to SES is to be had, as mail would make it: to the API, or to the SMTP interface.

Owns the connections of the probes of `upstream`. Guarantees that certificates are verified as they are for mail, that
nothing is asked of the API and nobody logs in; that a configured HTTP proxy is used as for mail: by CONNECT, which
asks it for SES; that no password of a proxy is in an error.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from relay.aws.endpoints import ApiEndpoints, EndpointTrouble, SmtpEndpoint
from relay.delivery.smtp_dialogue import Refused
from relay.delivery.smtp_login import Terms, greet
from relay.delivery.smtp_wire import Broken, connect
from relay.delivery.tls_line import Line
from relay.delivery.upstream import Unreachable
from relay.model import TransportName
from relay.policy.outcomes import Trouble

GOODBYE_S: Final = 0.5
_PORTS: Final = {"https": 443, "http": 80}


class Connector:
    """Connects for one configuration.

    Args:
        api: where the API is.
        smtp: finds the SMTP interface of a region; made by the callable when it is needed, in a thread.
        helo: the name we give in EHLO.
        trust: makes the TLS context; called in a thread.
    """

    def __init__(
        self,
        api: ApiEndpoints,
        smtp: Callable[[], Callable[[str], SmtpEndpoint]],
        *,
        helo: str,
        trust: Callable[[], ssl.SSLContext],
    ) -> None:
        self._api, self._find_smtp, self._helo, self._make_context = api, smtp, helo, trust
        self._smtp: Callable[[str], SmtpEndpoint] | None = None
        self._context: ssl.SSLContext | None = None

    async def __call__(self, region: str, transport: TransportName, timeout_s: float) -> None:
        """Connect as far as `timeout_s` allows, and part. Raises Unreachable."""
        try:
            await (self._greet if transport == "smtp" else self._touch)(region, timeout_s)
        except TimeoutError:
            raise Unreachable(f"no connection within {timeout_s:g} s") from None
        except Broken as broken:
            raise Unreachable(f"{broken.trouble}: {broken}") from broken
        except (Refused, EndpointTrouble) as trouble:
            raise Unreachable(str(trouble)) from trouble

    async def _greet(self, region: str, timeout_s: float) -> None:
        await self._trusted()
        if self._smtp is None:
            self._smtp = await asyncio.to_thread(self._find_smtp)
        async with asyncio.timeout(timeout_s):
            await greet(self._smtp(region), Terms(self._helo, self._trusted, timeout_s))

    async def _touch(self, region: str, timeout_s: float) -> None:
        context = await self._trusted()
        endpoint = await self._api.find("SendRawEmail", region)
        proxy = urlsplit(endpoint.proxy) if endpoint.proxy else None
        async with asyncio.timeout(timeout_s):
            await _touch(urlsplit(endpoint.url), proxy, context, timeout_s)

    async def _trusted(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = await asyncio.to_thread(self._make_context)
            except Exception as error:  # whatever is wrong with the bundle: no trust, no connection
                raise Broken(Trouble.TLS, f"certificate authorities: {error}") from error
        return self._context


async def _touch(url: SplitResult, proxy: SplitResult | None, context: ssl.SSLContext, timeout_s: float) -> None:
    line = await _dial(proxy or url, timeout_s, is_proxy=proxy is not None)
    try:
        if proxy is not None and proxy.scheme == "https":
            await line.start_tls(context, proxy.hostname or "", timeout_s)
        if url.scheme == "https":
            if proxy is not None:
                await line.tunnel(proxy, *_place(url))
            await line.start_tls(context, url.hostname or "", timeout_s)
        await line.close(GOODBYE_S)
    except BaseException:
        line.abort()
        raise


async def _dial(url: SplitResult, timeout_s: float, *, is_proxy: bool) -> Line:
    try:
        return await connect(*_place(url), timeout_s, Line)
    except Broken as broken:
        raise Broken(Trouble.PROXY, str(broken)) if is_proxy else broken from None


def _place(url: SplitResult) -> tuple[str, int]:
    if url.scheme not in _PORTS:
        raise Broken(Trouble.OUR_FAULT, f"there is no way over {url.scheme!r}")
    return url.hostname or "", url.port or _PORTS[url.scheme]
