"""Looks at what a plan says, a few things at a time, and has what it finds judged. Reads only.

Guarantees that every question ends within a minute of its turn, that AWS is asked the same thing once, and no faster
than it permits; that one thing which cannot be looked at hides no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

from relay.app import hostname
from relay.aws.asking import NotTold
from relay.aws.clock import seconds_ahead
from relay.aws.endpoints import EndpointTrouble
from relay.aws.exchange import NoAnswer
from relay.aws.identity_of import Caller, identity_of
from relay.aws.keys import CredentialTrouble, SmtpLogin
from relay.aws.quota import read_quota
from relay.aws.regions import known_regions
from relay.aws.resources import read_identity, set_may_send
from relay.delivery.smtp_client import connect
from relay.delivery.smtp_dialogue import Refused
from relay.delivery.smtp_login import Terms
from relay.delivery.smtp_wire import Broken
from relay.doctor.findings import About, Finding, Verdict
from relay.doctor.plan import Plan
from relay.doctor.tools import Tools
from relay.doctor.verdicts import account, credentials, identity, region, smtp
from relay.model import Identity
from relay.policy.outcomes import Trouble
from relay.settings.model import Settings

AT_ONCE: Final = 8
LOGIN_S: Final = 30.0
_GOODBYE_S: Final = 2.0

T = TypeVar("T")
Callers = Mapping[str, Caller | None]


class Looking:
    """One examination; the callers that it finds are for whoever goes on from there.

    `proving`: a trial message follows, which tells what cannot be looked at.
    """

    def __init__(self, settings: Settings, plan: Plan, tools: Tools, *, proving: bool) -> None:
        self._settings, self._plan, self._tools, self._proving = settings, plan, tools, proving
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._keyless: set[str] = set()
        self.callers: dict[str, Caller | None] = {}

    async def look(self) -> list[Finding]:
        """All findings, in the order of the plan."""
        plan = self._plan
        found = await self._together(self._credentials(*use) for use in plan.credentials.items())
        known = await asyncio.to_thread(known_regions)
        return found + await self._together(
            [
                *(self._region(name, needed=needed) for name, needed in plan.regions.items()),
                *(self._account(*pair) for pair in plan.accounts),
                *(self._login(*pair) for pair in plan.logins),
                *(self._identity(one, known) for one in plan.identities),
            ]
        )

    async def _together(self, jobs: Iterable[Coroutine[Any, Any, list[Finding]]]) -> list[Finding]:
        async def in_turn(job: Awaitable[list[Finding]]) -> list[Finding]:
            async with self._room:
                return await job

        return [finding for found in await asyncio.gather(*map(in_turn, jobs)) for finding in found]

    async def _credentials(self, name: str, place: str) -> list[Finding]:
        source, tools = self._settings.credentials[name], self._tools
        self.callers[name] = None
        try:
            keys = await tools.book.keys(name, place)
        except CredentialTrouble as trouble:
            self._keyless.add(name)
            return [credentials.on_keys(source, trouble)]
        found = await _told(identity_of(tools.asker, name, place or "us-east-1"))
        if isinstance(found, Caller):
            self.callers[name] = found
        return [credentials.on_keys(source, keys), credentials.on_caller(source, found, elsewhere=tools.api.elsewhere)]

    async def _region(self, name: str, *, needed: bool) -> list[Finding]:
        tools = self._tools
        try:
            endpoint = await tools.api.find("SendRawEmail", name)
            ahead_s = await seconds_ahead(tools.exchange, endpoint, tools.clock)
        except EndpointTrouble as trouble:
            return [region.on_endpoint(name, "API", NoAnswer(Trouble.OUR_FAULT, trouble.detail), needed=needed)]
        except NoAnswer as trouble:
            return [region.on_endpoint(name, endpoint.url, trouble, needed=needed)]
        reached = region.on_endpoint(name, endpoint.url, None, needed=needed)
        return [reached, region.on_clock(name, ahead_s, needed=needed)]

    async def _account(self, name: str, place: str) -> list[Finding]:
        caller, rate = self.callers[name], self._settings.ses.max_rate
        about = About("account", f"{caller.account if caller else 'unknown'} in {place}, by credentials {name}")
        if name in self._keyless:
            return [account.not_asked(about, name)]
        found = await _told(read_quota(self._tools.asker, name, place))
        return list(account.on_account(about, place, found, None if rate == "auto" else rate))

    async def _login(self, name: str, place: str) -> list[Finding]:
        about, endpoint = About("smtp", f"{place}, by credentials {name}"), self._tools.smtp(place)
        try:
            login = await self._tools.book.smtp_login(name, place)
        except CredentialTrouble as trouble:
            return list(smtp.on_login(about, place, smtp.Login(endpoint, "", trouble)))
        tried = smtp.Login(endpoint, login.username, await self._try_login(place, login))
        return list(smtp.on_login(about, place, tried))

    async def _try_login(self, place: str, login: SmtpLogin) -> Refused | Broken | OSError | None:
        """Log in, say QUIT; what stood in the way."""
        tools = self._tools
        try:
            context = await asyncio.to_thread(tools.trust)
        except OSError as error:  # of which ssl.SSLError is a kind
            return error

        async def trust() -> Any:
            return context

        try:
            async with asyncio.timeout(LOGIN_S):
                session = await connect(tools.smtp(place), login, Terms(hostname(), trust, tools.timeout_s))
                await session.quit(_GOODBYE_S)
        except TimeoutError:
            return Broken(Trouble.TIMEOUT_BEFORE_SENT, f"no login within {LOGIN_S:g} s")
        except (Refused, Broken) as trouble:
            return trouble
        return None

    async def _identity(self, one: Identity, known: frozenset[str]) -> list[Finding]:
        caller = self.callers[one.credentials]
        found = list(identity.on_region(one, known))
        for key, arn in identity.arns_of(one).items():
            if caller is not None and caller.account == arn.account:
                told = await self._once("identity", one, arn.name, read_identity)
                found.append(identity.on_own(one, key, arn, told))
            else:
                found.append(identity.on_foreign(one, key, arn))
        if one.configuration_set:
            may_send = await self._once("set", one, one.configuration_set, set_may_send)
            found.append(identity.on_set(one, caller.account if caller else "ACCOUNT", may_send))
        return [finding for finding in found if not (self._proving and finding.verdict is Verdict.UNKNOWN)]

    async def _once(
        self, kind: str, one: Identity, name: str, read: Callable[..., Coroutine[Any, Any, T]]
    ) -> T | NotTold:
        """What AWS says of something of our account, asked once for all identities that share it."""
        if one.credentials in self._keyless:
            words = f"not asked: credentials {one.credentials} have no keys that work"
            return NotTold(words, lasting=True, trouble=Trouble.NO_CREDENTIALS)
        key = kind, one.credentials, one.region, name
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(_told(read(self._tools.asker, *key[1:])))
        found: T | NotTold = await self._asked[key]
        return found


async def _told(question: Awaitable[T]) -> T | NotTold:
    """The answer, or why there is none."""
    try:
        return await question
    except NotTold as told:
        return told
