"""The SMTP transport: parcels to the SES SMTP endpoint of their region.

Owns a pool of sessions per region and credentials, and the way from what happened to an `Outcome`. Guarantees
one outcome per parcel and never an exception; that a parcel is for certain not taken when the outcome says so,
since an answer lost after the end of data is `LOST_ANSWER`; that a parcel fails for good only by SES's own word.
See the SES developer guide, "Using the Amazon SES SMTP interface to send email".
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from relay.aws.credentials import CredentialTrouble, SmtpLogin
from relay.aws.endpoints import SmtpEndpoint
from relay.delivery.smtp_client import Connection, connect
from relay.delivery.smtp_dialogue import Refused
from relay.delivery.smtp_login import FINAL_S, Terms
from relay.delivery.smtp_pool import Pool
from relay.delivery.smtp_reply import UpstreamReply
from relay.delivery.smtp_wire import Broken
from relay.model import Delivered, Outcome, Parcel
from relay.policy.outcomes import ConfigurationErrors, Trouble, from_smtp, from_trouble

_MESSAGE_ID: Final = re.compile(r"(?:2\.\d\.\d )?(?:ok\b[:,]?)?\s*([ -~]{0,200})", re.IGNORECASE)


class LoginBook(Protocol):
    """Where SMTP credentials come from."""

    async def smtp_login(self, name: str, region: str) -> SmtpLogin:
        """The login of the credentials called `name` in `region`; raises CredentialTrouble."""


class SesSmtp:
    """Sends parcels by SMTP.

    Args:
        book: finds the login for a name of credentials and a region.
        endpoints: gives the endpoint of a region.
        timeout_s: seconds without progress; the answer to a whole message may take `final_s` more.
        concurrency: sessions at once per region and credentials.
        mode: `configuration_errors` of the settings.
        helo: the name we give in EHLO.
        tls: makes a context that verifies servers; called once, in a thread, when it is first needed.
        final_s: see `timeout_s`.
    """

    def __init__(
        self,
        book: LoginBook,
        endpoints: Callable[[str], SmtpEndpoint],
        *,
        timeout_s: float,
        concurrency: int,
        mode: ConfigurationErrors,
        helo: str,
        tls: Callable[[], ssl.SSLContext],
        final_s: float = FINAL_S,
    ) -> None:
        self._book, self._endpoints, self._mode = book, endpoints, mode
        self._concurrency = concurrency
        self._terms = Terms(helo, _Trust(tls).context, timeout_s, final_s)
        self._pools: dict[tuple[str, str], Pool[Connection]] = {}

    async def send(self, parcel: Parcel) -> Outcome:
        """Hand the parcel to SES. Raises nothing but CancelledError, after which nothing is known."""
        try:
            return Delivered(message_id(await self._pool(parcel).run(lambda session: session.deliver(parcel))))
        except Refused as refused:
            return from_smtp(refused.stage, refused.reply.code, refused.reply.text, self._mode)
        except Broken as broken:
            return from_trouble(broken.trouble, str(broken))
        except CredentialTrouble as trouble:
            return from_trouble(Trouble.NO_CREDENTIALS, str(trouble))
        except Exception as error:  # noqa: BLE001 an outcome whatever happens
            return from_trouble(Trouble.OUR_FAULT, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Take leave of SES; parcels under way end by themselves."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _pool(self, parcel: Parcel) -> Pool[Connection]:
        key = parcel.region, parcel.credentials
        if key not in self._pools:
            self._pools[key] = Pool(partial(self._connect, *key), self._concurrency, asyncio.get_running_loop().time)
        return self._pools[key]

    async def _connect(self, region: str, credentials: str) -> Connection:
        login = await self._book.smtp_login(credentials, region)
        return await connect(self._endpoints(region), login, self._terms)


class _Trust:
    """The TLS context of all connections, made when the first one needs it."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._made: ssl.SSLContext | None = None
        self._making = asyncio.Lock()

    async def context(self) -> ssl.SSLContext:
        """The context. Raises Broken when there are no certificate authorities to be had; the next call tries again."""
        async with self._making:
            if self._made is None:
                try:
                    self._made = await asyncio.to_thread(self._make)
                except OSError as error:  # of which ssl.SSLError is a kind
                    raise Broken(Trouble.TLS, f"no certificate authorities: {error}") from error
            return self._made


def message_id(reply: UpstreamReply) -> str:
    """What the server calls the message; SES says `250 Ok` and the id. "" when it does not say."""
    match = _MESSAGE_ID.match(reply.text)
    return match[1].strip() if match else ""
