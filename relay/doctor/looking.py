"""Looks at what a plan says, many things at a time, and has what it finds judged. Reads only.

Guarantees that every question ends within a minute of its turn; that AWS is asked the same thing once (thrice, where
it has no time), and no faster than it permits; that one thing which cannot be looked at hides no other; and that what
has been found so far can be had at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from relay.app import hostname
from relay.aws.asking import NotTold
from relay.aws.clock import seconds_ahead
from relay.aws.endpoints import EndpointTrouble
from relay.aws.exchange import NoAnswer
from relay.aws.identity_of import Caller, account_in, identity_of
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
from relay.doctor.reasons import Reason, reason_of
from relay.doctor.tools import Tools
from relay.doctor.verdicts import account, credentials, identity, region, smtp
from relay.model import Identity
from relay.policy.outcomes import Trouble
from relay.settings.model import Settings

AT_ONCE: Final = 8  # connections and credentials; the pace of questions is that of AWS
PATIENCE_S: Final = (1.0, 2.0)  # before a question that AWS had no time for is asked again
LOGIN_S: Final = 30.0
_GOODBYE_S: Final = 2.0

T = TypeVar("T")
Callers = Mapping[str, Caller | None]
Job = Callable[[], Coroutine[Any, Any, list[Finding]]]


class Looking:
    """One examination; the callers that it finds are for whoever goes on from there.

    `proving`: a trial message follows, which tells what cannot be looked at. `looked` is called when one more
    thing of the plan has been looked at.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        tools: Tools,
        *,
        proving: bool,
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._plan, self._tools, self._proving = settings, plan, tools, proving
        self._looked = looked
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._keyless: set[str] = set()
        self._found: dict[Job, list[Finding]] = {}
        self.callers: dict[str, Caller | None] = {}

    @property
    def found(self) -> list[Finding]:
        """The findings until now, in the order of the plan."""
        return [finding for found in self._found.values() for finding in found]

    async def look(self) -> list[Finding]:
        """All findings, in the order of the plan; what is asked by credentials waits for what they are."""
        plan = self._plan
        whose: list[Job] = [partial(self._credentials, *use) for use in plan.credentials.items()]
        ways: list[Job] = [partial(self._region, name, needed=needed) for name, needed in plan.regions.items()]
        accounts: list[Job] = [partial(self._account, *pair) for pair in plan.accounts]
        logins: list[Job] = [partial(self._login, *pair) for pair in plan.logins]
        known = await asyncio.to_thread(known_regions)
        identities: list[Job] = [partial(self._identity, one, known) for one in plan.identities]
        self._found = {job: [] for job in (*whose, *ways, *accounts, *logins, *identities)}
        await asyncio.gather(*(self._in_turn(job) for job in (*whose, *ways, *logins)))
        await asyncio.gather(*map(self._now, (*accounts, *identities)))
        return self.found

    async def _in_turn(self, job: Job) -> None:
        async with self._room:
            await self._now(job)

    async def _now(self, job: Job) -> None:
        self._found[job] = await job()
        self._looked()

    async def _credentials(self, name: str, place: str) -> list[Finding]:
        source, tools = self._settings.credentials[name], self._tools
        self.callers[name] = None
        try:
            keys = await tools.book.keys(name, place)
        except CredentialTrouble as trouble:
            self._keyless.add(name)
            return [credentials.on_keys(source, trouble)]
        found = await self._told(partial(identity_of, tools.asker, name, place or "us-east-1"))
        if isinstance(found, Caller):
            self.callers[name] = found
            tools.asker.belongs(name, found.account)
        belongs = await asyncio.to_thread(lambda: tools.api.sts_belongs)
        return [credentials.on_keys(source, keys), credentials.on_caller(source, found, belongs=belongs)]

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
        rate = self._settings.ses.max_rate
        about = About("account", f"{self._whose(name) or 'unknown'} in {place}, by credentials {name}")
        if not self._settings.credentials[name].signs_api_calls:
            return [account.cannot_ask(about)]
        if name in self._keyless:
            return [account.not_asked(about, name)]
        found = await self._told(partial(read_quota, self._tools.asker, name, place))
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
        ours = self._whose(one.credentials)
        found = list(identity.on_region(one, known))
        for key, arn in identity.arns_of(one).items():
            if ours is not None and ours != arn.account:
                found.append(identity.on_foreign(one, key, arn))
                continue
            told = await self._once("identity", one, arn.name, read_identity)
            judge = identity.on_own if ours else identity.on_either
            found.append(judge(one, key, arn, told))
        if one.configuration_set:
            may_send = await self._once("set", one, one.configuration_set, set_may_send)
            found.append(identity.on_set(one, ours or "ACCOUNT", may_send))
        return [finding for finding in found if not (self._proving and finding.verdict is Verdict.UNKNOWN)]

    async def _once(
        self, kind: str, one: Identity, name: str, read: Callable[..., Coroutine[Any, Any, T]]
    ) -> T | NotTold:
        """What AWS says of something of our account, asked once for all identities that share it."""
        if one.credentials in self._keyless:
            words = f"not asked: credentials {one.credentials} have no keys that work"
            if not self._settings.credentials[one.credentials].signs_api_calls:
                words = "not asked: an SMTP login cannot ask anything"
            return NotTold(words, lasting=True, trouble=Trouble.NO_CREDENTIALS)
        key = kind, one.credentials, one.region, name
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._told(partial(read, self._tools.asker, *key[1:])))
        found: T | NotTold = await self._asked[key]
        return found

    async def _told(self, question: Callable[[], Awaitable[T]]) -> T | NotTold:
        """The answer, or why there is none; asked again where AWS only had no time."""
        for pause_s in PATIENCE_S:
            try:
                return await question()
            except NotTold as told:
                if reason_of(told) is not Reason.BUSY:
                    return told
            await self._tools.pause(pause_s)
        try:
            return await question()
        except NotTold as told:
            return told

    def _whose(self, name: str) -> str | None:
        """The account behind credentials, by STS's word or by the ARN of their role."""
        caller, role = self.callers[name], self._settings.credentials[name].assume_role
        return caller.account if caller else account_in(role) if role else None
