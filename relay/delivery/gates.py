"""The gates of all accounts and regions, and what is known about the accounts behind the credentials.

Owns which parcels share a gate: those of one account in one region where the account is known, else those of one
name of credentials. Guarantees that asking AWS for the account and its quota happens in the background, at most
every ten minutes for each, and never keeps a message waiting; and that a reload forgets nothing that was learnt.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from relay.aws.asking import Asker, NotTold
from relay.aws.identity_of import account_of
from relay.aws.quota import Quota, read_quota
from relay.delivery.conditions import Conditions
from relay.delivery.pace import Arrival, Clock, Gate
from relay.model import Parcel, TransportName
from relay.observe.log import Journal
from relay.policy.reachability import News

LOOK_AGAIN_S: Final = 600.0
TRY_AGAIN_S: Final = 60.0  # when AWS gave no answer that lasts
SPREAD: Final = 0.2  # longer, so that relays which began together do not go on asking together


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the configuration says.

    Args:
        concurrency: attempts at once per account and region.
        max_rate: recipients per second per account and region; None is `auto`.
        asker: who can ask AWS about accounts; None: nobody is asked.
        whose: whether to ask which account credentials belong to.
    """

    concurrency: int
    max_rate: float | None = None
    asker: Asker | None = None
    whose: bool = False


@dataclass(slots=True)
class _Post:
    """One name of credentials in one region: its gate, and what is known of its account."""

    gate: Gate
    look_at: float
    account: str | None = None
    quota: Quota | None = None
    told_unknown: bool = False
    looking: asyncio.Task[None] | None = None


_Look = Callable[[Asker, tuple[str, str], _Post], Awaitable[None]]


class Gates:
    """One per relay; it outlives the couriers."""

    def __init__(self, journal: Journal, clock: Clock, rules: GateRules) -> None:
        self._journal, self._clock, self._rules = journal, clock, rules
        self._posts: dict[tuple[str, str], _Post] = {}
        self._accounts: dict[tuple[str, str], Gate] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._serial = itertools.count()

    def arrive(self, hold_s: float) -> Arrival:
        """A place in the order of all that comes, for a parcel that may wait so many seconds."""
        return Arrival(next(self._serial), self._clock.now() + hold_s)

    def of(self, parcel: Parcel) -> Gate:
        """The gate that the parcel has to pass."""
        key = parcel.credentials, parcel.region
        post = self._posts.get(key) or self._open(key)
        if self._rules.asker is not None and post.looking is None and self._clock.now() >= post.look_at:
            post.looking = asyncio.create_task(self._look(self._rules.asker, key, post))
        return post.gate

    def change(self, rules: GateRules) -> None:
        """Hold to other rules; accounts are looked at again with the next message, since keys may be others."""
        self._stop_asking()
        self._rules = rules
        for post in self._posts.values():
            post.account, post.looking, post.look_at = None, None, self._clock.now()
        quotas = {post.gate: post.quota for post in self._posts.values() if post.quota is not None}
        for gate in {post.gate for post in self._posts.values()}:
            gate.change(rules.concurrency)
            gate.permit(self._rate(quotas.get(gate)))

    def news(self, region: str, transport: TransportName, credentials: str) -> News:
        """What mail has met on this way."""
        post = self._posts.get((credentials, region))
        return News() if post is None else post.gate.conditions.news(credentials, transport)

    async def close(self) -> None:
        """Stop asking; gates go on for whoever is still under way."""
        self._stop_asking()
        self._rules = replace(self._rules, asker=None)
        await asyncio.gather(*self._ending)

    def _open(self, key: tuple[str, str]) -> _Post:
        post = self._posts[key] = _Post(self._new_gate(key), self._clock.now())
        self._journal.watch_pace(*key, lambda: post.gate.rate)
        return post

    def _new_gate(self, key: tuple[str, str]) -> Gate:
        conditions = Conditions(*key, self._journal, self._clock.chance, self._clock.now(), self._rate(None))
        return Gate(conditions, self._clock, self._rules.concurrency)

    def _rate(self, quota: Quota | None) -> float | None:
        """Recipients per second that are known to be permitted."""
        known = (quota.rate if quota else None, self._rules.max_rate)
        return min((rate for rate in known if rate is not None), default=None)

    # Asking

    async def _look(self, asker: Asker, key: tuple[str, str], post: _Post) -> None:
        """Learn what is to be known, and say when to look again; cancelled, leave that to who has cancelled."""
        trouble, _ = await asyncio.gather(
            self._try(self._look_how_much, asker, key, post), self._try(self._look_whose, asker, key, post)
        )
        if trouble is not None and not post.told_unknown:
            post.told_unknown = True
            self._journal.quota_unknown(*key, trouble.detail)
        again_s = LOOK_AGAIN_S if trouble is None or trouble.lasting else TRY_AGAIN_S
        post.looking, post.look_at = None, self._clock.now() + again_s * (1 + SPREAD * self._clock.chance())

    async def _try(self, look: _Look, asker: Asker, key: tuple[str, str], post: _Post) -> NotTold | None:
        """Whatever happens there, mail goes on without it."""
        try:
            await look(asker, key, post)
        except NotTold as trouble:
            return trouble
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            self._journal.internal_error("account", error)
        return None

    async def _look_how_much(self, asker: Asker, key: tuple[str, str], post: _Post) -> None:
        quota = await read_quota(asker, *key)
        before, post.quota, post.told_unknown = post.quota, quota, False
        post.gate.permit(self._rate(quota))
        if before is None or replace(before, sent=quota.sent) != quota:
            per_day = quota.per_day if isfinite(quota.per_day) else None
            self._journal.quota_read(
                *key, recipients_per_second=quota.rate, per_day=per_day, sent=quota.sent,
                production=quota.production, enabled=quota.enabled,
            )  # fmt: skip

    async def _look_whose(self, asker: Asker, key: tuple[str, str], post: _Post) -> None:
        if post.account is None:
            account = await account_of(asker, *key, ask=self._rules.whose)
            if account is not None:
                post.account = account
                self._join(key, post, account)

    def _join(self, key: tuple[str, str], post: _Post, account: str) -> None:
        """Share a gate with other credentials of the same account, in the same region."""
        place = account, key[1]
        gate = self._accounts.get(place)
        if gate is None:
            is_others = post.gate in self._accounts.values()  # the keys were another account's before a reload
            gate = self._accounts[place] = self._new_gate(key) if is_others else post.gate
        if gate is not post.gate:
            gate.conditions.absorb(post.gate.conditions)
            post.gate = gate
            if post.quota is not None:
                gate.permit(self._rate(post.quota))

    def _stop_asking(self) -> None:
        looking = [post.looking for post in self._posts.values() if post.looking is not None]
        if self._rules.asker is not None:
            task = asyncio.create_task(_end(looking, self._rules.asker))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _end(looking: Sequence[asyncio.Task[None]], asker: Asker) -> None:
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    await asker.close()
