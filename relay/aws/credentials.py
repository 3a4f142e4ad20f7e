"""The keys that requests to AWS are signed with, by the names of the configuration's `credentials`.

Owns the cache over botocore's credential providers (environment, shared files, profiles, web identity, container
and instance roles; AWS SDKs and tools reference guide, "Standardized credential providers") and over the sessions of
assumed roles, which may be assumed by one another. Guarantees that the event loop never waits for a provider or for
STS: looking up and refreshing happen in a few threads, once for all who wait, and keys that are good for a while yet
are handed out while their successors are fetched; whoever made the book hears when that fails. Refuses to guess: an
unknown name, an empty chain, a role that may not be assumed or a failing provider is a `CredentialTrouble`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar

import boto3
from botocore.credentials import Credentials

from relay.aws.answers import EXPIRED
from relay.aws.keys import CredentialTrouble, Keys, SmtpLogin
from relay.aws.roles import RoleSession, assume
from relay.aws.smtp_password import derive
from relay.settings.model import CredentialSource

__all__ = ["CredentialBook", "CredentialTrouble", "Keys", "SmtpLogin"]

RENEW_S: Final = 900.0  # so long before their end keys are renewed (botocore's own)
LATE_S: Final = 300.0  # metadata services have new keys by then (EC2 user guide, "Retrieve security credentials")
LAST_CALL_S: Final = 120.0  # keys with less than this left are not used while a refresh is under way
PATIENCE_S: Final = 30.0  # how long a caller waits for a provider; the provider itself goes on
RECHECK_S: Final = 10.0  # how often the expiry of cached keys is looked at, and a failed refresh tried again
THREADS: Final = 3  # at once, so that providers which hang leave some of the loop's threads for names and files

P = ParamSpec("P")
T = TypeVar("T")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Holding:
    """What is known about one name: the keys in use, what they came from, a refresh under way."""

    keys: Keys | None = None
    provider: Any = None  # botocore.credentials.Credentials or one of its kin, or a RoleSession
    look_again: float = 0.0
    refresh: asyncio.Task[Keys] | None = None
    told: str = ""  # the last failure that nobody was waiting for


class CredentialBook:
    """Keys and SMTP logins by name; used from one event loop.

    Args:
        sources: the entries of the configuration.
        clock: seconds, for what was looked at when.
        now: the time, aware, to which the sessions of roles end.
        patience_s: how long a caller waits for keys.
        not_renewed: is told name and detail when keys that are still good could not be renewed: mail goes on, but
            not for long. Once for each reason in a row; it must not raise.
    """

    def __init__(
        self,
        sources: Mapping[str, CredentialSource],
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] = _utc_now,
        patience_s: float = PATIENCE_S,
        not_renewed: Callable[[str, str], None] = lambda _name, _detail: None,
    ) -> None:
        self._sources, self._clock, self._now, self._patience_s = sources, clock, now, patience_s
        self._not_renewed = not_renewed
        self._holdings: dict[str, _Holding] = {}
        self._threads = asyncio.Semaphore(THREADS)

    async def keys(self, name: str, region: str = "") -> Keys:
        """The keys called `name`, fresh enough to sign with. Raises CredentialTrouble.

        Keys are good in every region. `region` is where STS is asked if a role is to be assumed: the region that the
        keys are wanted for can be reached, or nothing could be sent there.
        """
        holding = self._holdings.setdefault(name, _Holding())
        if holding.keys and self._clock() < holding.look_again:
            return holding.keys
        if holding.keys and not self._ends_within(holding.provider, None):
            holding.look_again = self._clock() + RECHECK_S
            return holding.keys
        return await self._renew(name, holding, region)

    async def smtp_login(self, name: str, region: str) -> SmtpLogin:
        """The SMTP login called `name`: as configured, or derived from its keys. Raises CredentialTrouble."""
        source = self._source(name)
        if source.smtp_username and source.smtp_password:
            return SmtpLogin(source.smtp_username, source.smtp_password)
        keys = await self.keys(name, region)
        if keys.token:
            raise CredentialTrouble(f"credentials {name!r} are temporary, which SES does not accept in SMTP")
        return SmtpLogin(keys.access_key, derive(keys.secret_key, region))

    def role_of(self, name: str) -> str | None:
        """The ARN of the role that is assumed for the keys called `name`, if one is."""
        return self._sources[name].assume_role if name in self._sources else None

    def forget(self, name: str, keys: Keys) -> None:
        """AWS has refused `keys`: look them up from the start next time, unless they have changed since."""
        holding = self._holdings.get(name)
        if holding and holding.keys == keys:
            holding.keys = holding.provider = None  # a refresh under way goes on: what it brings is newer

    def _source(self, name: str) -> CredentialSource:
        if name in self._sources:
            return self._sources[name]
        if name == "default":
            return CredentialSource("default")
        raise CredentialTrouble(f"no credentials are called {name!r}")

    async def _renew(self, name: str, holding: _Holding, region: str) -> Keys:
        source = self._source(name)
        if holding.refresh is None:
            holding.refresh = asyncio.create_task(self._refresh(source, holding, region))
            holding.refresh.add_done_callback(_retrieve)
        if holding.keys and not self._ends_within(holding.provider, LAST_CALL_S):
            holding.look_again = self._clock() + RECHECK_S
            return holding.keys
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(holding.refresh)
        except TimeoutError:
            raise CredentialTrouble(f"credentials {name!r} were not there within {self._patience_s:g} s") from None

    async def _refresh(self, source: CredentialSource, holding: _Holding, region: str) -> Keys:
        try:
            provider, keys = await self._fetched(source, holding, region)
        except CredentialTrouble as trouble:
            self._tell(source.name, holding, trouble.detail)
            raise
        else:
            if keys == holding.keys and self._ends_within(provider, LATE_S):  # botocore keeps failures to itself
                self._tell(source.name, holding, f"credentials {source.name!r}: the provider still gives the old keys")
            else:
                holding.told = ""
            holding.provider, holding.keys, holding.look_again = provider, keys, self._clock() + RECHECK_S
            return keys
        finally:
            holding.refresh = None

    async def _fetched(self, source: CredentialSource, holding: _Holding, region: str) -> tuple[Any, Keys]:
        """New keys and what they came from. Raises CredentialTrouble."""
        try:
            if source.assume_role:
                session = await self._assume(source, region)
                return session, session.keys
            return await self._in_thread(_fetch, source, holding.provider)
        except CredentialTrouble:
            raise
        except Exception as error:  # providers raise what they like: OSError, ValueError, RuntimeError, BotoCoreError
            raise CredentialTrouble(f"credentials {source.name!r}: {type(error).__name__}: {error}") from error

    def _tell(self, name: str, holding: _Holding, detail: str) -> None:
        """A renewal has failed; without keys that are good for a while the caller hears of it."""
        if holding.keys and detail != holding.told and not self._ends_within(holding.provider, LAST_CALL_S):
            holding.told = detail
            self._not_renewed(name, detail)

    async def _assume(self, source: CredentialSource, region: str) -> RoleSession:
        """A new session of the role; once more if the keys that assume it had ended, and there are others."""
        keys = await self.keys(source.source, region)
        try:
            return await self._in_thread(assume, source, keys, region)
        except CredentialTrouble as trouble:
            if trouble.code not in EXPIRED:
                raise
            self.forget(source.source, keys)
            fresh = await self.keys(source.source, region)
            if fresh == keys:
                raise
        return await self._in_thread(assume, source, fresh, region)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._threads:
            return await asyncio.to_thread(call, *args, **kwargs)

    def _ends_within(self, provider: Any, seconds: float | None) -> bool:
        """Whether the keys end within so many seconds, by default the time for a refresh; never blocks."""
        if isinstance(provider, RoleSession):
            return provider.ends - self._now() < timedelta(seconds=RENEW_S if seconds is None else seconds)
        ask = getattr(provider, "refresh_needed", None)  # of botocore's, only temporary credentials have it
        return bool(ask and ask(seconds))


def _fetch(source: CredentialSource, provider: Any) -> tuple[Any, Keys]:
    """Ask botocore, in a thread: files, metadata services and helper programs are waited for here."""
    provider = provider or _find(source)
    if provider is None:
        raise CredentialTrouble(f"credentials {source.name!r}: no provider of boto3's chain has any")
    frozen = provider.get_frozen_credentials()
    return provider, Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _find(source: CredentialSource) -> Any:
    if source.access_key_id and source.secret_access_key:
        return Credentials(source.access_key_id, source.secret_access_key, source.session_token)
    if source.smtp_username:
        raise CredentialTrouble(f"credentials {source.name!r} are for SMTP only")
    return boto3.Session(profile_name=source.profile).get_credentials()


def _retrieve(task: asyncio.Task[Keys]) -> None:
    """Take note of a failure that nobody may have waited for; the next `keys` meets it again."""
    if not task.cancelled():
        task.exception()
