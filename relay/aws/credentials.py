"""The keys that requests to SES are signed with, by the names of the configuration's `credentials`.

Owns the cache over botocore's credential providers (environment, shared files, profiles, web identity, container
and instance roles; AWS SDKs and tools reference guide, "Standardized credential providers"). Guarantees that the
event loop never waits for a provider: looking up and refreshing happen in a thread, once for all who wait, and
keys that are good for a while yet are handed out while their successors are fetched. Secrets are in no repr.
Refuses to guess: an unknown name, an empty chain or a failing provider is a `CredentialTrouble`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import boto3
from botocore.credentials import Credentials

from relay.aws.smtp_password import derive
from relay.settings.model import CredentialSource

LAST_CALL_S: Final = 600  # keys with less than this left are not used while a refresh is under way (botocore's own)
PATIENCE_S: Final = 30.0  # how long a caller waits for a provider; the provider itself goes on
RECHECK_S: Final = 10.0  # how often the expiry of cached keys is looked at, and a failed refresh tried again


class CredentialTrouble(Exception):
    """There are no keys under this name now; `detail` says why, for the log."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with; `token` only with temporary credentials."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SmtpLogin:
    """User and password of the SES SMTP interface in one region."""

    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class _Holding:
    """What is known about one name: the keys in use, botocore's object behind them, a refresh under way."""

    keys: Keys | None = None
    provider: Any = None  # botocore.credentials.Credentials or one of its kin
    look_again: float = 0.0
    refresh: asyncio.Task[Keys] | None = None


class CredentialBook:
    """Keys and SMTP logins by name; used from one event loop."""

    def __init__(
        self,
        sources: Mapping[str, CredentialSource],
        *,
        clock: Callable[[], float] = monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._sources, self._clock, self._patience_s = sources, clock, patience_s
        self._holdings: dict[str, _Holding] = {}

    async def keys(self, name: str) -> Keys:
        """The keys called `name`, fresh enough to sign with. Raises CredentialTrouble."""
        holding = self._holdings.setdefault(name, _Holding())
        if holding.keys and self._clock() < holding.look_again:
            return holding.keys
        if holding.keys and not _expires_within(holding.provider, None):
            holding.look_again = self._clock() + RECHECK_S
            return holding.keys
        return await self._renew(name, holding)

    async def smtp_login(self, name: str, region: str) -> SmtpLogin:
        """The SMTP login called `name`: as configured, or derived from its keys. Raises CredentialTrouble."""
        source = self._source(name)
        if source.smtp_username and source.smtp_password:
            return SmtpLogin(source.smtp_username, source.smtp_password)
        keys = await self.keys(name)
        if keys.token:
            raise CredentialTrouble(f"credentials {name!r} are temporary, which SES does not accept in SMTP")
        return SmtpLogin(keys.access_key, derive(keys.secret_key, region))

    def forget(self, name: str, keys: Keys) -> None:
        """SES has refused `keys`: look them up from the start next time, unless they have changed since."""
        holding = self._holdings.get(name)
        if holding and holding.keys == keys:
            del self._holdings[name]

    def _source(self, name: str) -> CredentialSource:
        if name in self._sources:
            return self._sources[name]
        if name == "default":
            return CredentialSource("default")
        raise CredentialTrouble(f"no credentials are called {name!r}")

    async def _renew(self, name: str, holding: _Holding) -> Keys:
        source = self._source(name)
        if holding.refresh is None:
            holding.refresh = asyncio.create_task(self._refresh(source, holding))
            holding.refresh.add_done_callback(_retrieve)
        if holding.keys and not _expires_within(holding.provider, LAST_CALL_S):
            holding.look_again = self._clock() + RECHECK_S
            return holding.keys
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(holding.refresh)
        except TimeoutError:
            raise CredentialTrouble(f"credentials {name!r} were not there within {self._patience_s:g} s") from None

    async def _refresh(self, source: CredentialSource, holding: _Holding) -> Keys:
        try:
            holding.provider, keys = await asyncio.to_thread(_fetch, source, holding.provider)
        except CredentialTrouble:
            raise
        except Exception as error:  # providers raise what they like: OSError, ValueError, RuntimeError, BotoCoreError
            raise CredentialTrouble(f"credentials {source.name!r}: {type(error).__name__}: {error}") from error
        else:
            holding.keys, holding.look_again = keys, self._clock() + RECHECK_S
            return keys
        finally:
            holding.refresh = None


def _fetch(source: CredentialSource, provider: Any) -> tuple[Any, Keys]:
    """Ask botocore, in a thread: files, metadata services and helper programs are waited for here."""
    provider = provider or _find(source)
    if provider is None:
        raise CredentialTrouble(f"credentials {source.name!r}: no provider of boto3's chain has any")
    frozen = provider.get_frozen_credentials()
    return provider, Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _find(source: CredentialSource) -> Any:
    if source.assume_role:
        raise CredentialTrouble(f"credentials {source.name!r}: assume_role is not available yet")
    if source.access_key_id and source.secret_access_key:
        return Credentials(source.access_key_id, source.secret_access_key, source.session_token)
    if source.smtp_username:
        raise CredentialTrouble(f"credentials {source.name!r} are for SMTP only")
    return boto3.Session(profile_name=source.profile).get_credentials()


def _expires_within(provider: Any, seconds: float | None) -> bool:
    """Whether the credentials end within so many seconds, by default botocore's time for a refresh; never blocks."""
    ask = getattr(provider, "refresh_needed", None)  # only temporary credentials have it
    return bool(ask and ask(seconds))


def _retrieve(task: asyncio.Task[Keys]) -> None:
    """Take note of a failure that nobody may have waited for; the next `keys` meets it again."""
    if not task.cancelled():
        task.exception()
