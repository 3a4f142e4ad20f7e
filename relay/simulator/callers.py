"""Who of a world would call with an entry of a relay's credentials, and whether SES and STS would let it in.

Owns what stands before any decision on a message: the region, the keys with their secret, the role and its trust
policy, the SMTP password. Keys are looked for where they are written down (configuration, environment, shared files).
Where a program or a service would have to be asked, somebody is taken for the caller, and the chain says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from relay.model import Identity as Rule
from relay.settings.model import CredentialSource
from relay.simulator import facts, sigv4, sts
from relay.simulator.explanation import Chain, Judgement, Rank
from relay.simulator.facts import Fact
from relay.simulator.keys import KeyRing
from relay.simulator.refusals import BAD_SIGNATURE, NOT_ASKED, UNKNOWN_KEY, Refused
from relay.simulator.words import Arns, Caller, Interface
from relay.simulator.world import World
from relay.simulator.worlds.profiles import has_profile, written_keys


@dataclass(frozen=True, slots=True)
class Introduction:
    """A caller, and how it was let in: `judgement.refused` tells why not, and then nobody has called."""

    caller: Caller
    judgement: Judgement


def interface_of(rule: Rule) -> Interface:
    """How mail of a rule reaches SES, but for large messages."""
    return "smtp" if rule.transport == "smtp" else "v2" if rule.tenant else "v1"


def introduce(
    world: World, sources: Mapping[str, CredentialSource], rule: Rule, environ: Mapping[str, str], now: datetime
) -> Introduction:
    """Who would call for a rule of the configuration whose `credentials` are `sources`."""
    desk = _Desk(world, sources, environ, now, rule.region, Chain(interface_of(rule), rule.region))
    caller = Caller("", "", "nobody", rule.region)
    try:
        desk.check_region()
        caller = desk.login(rule.credentials) if rule.transport == "smtp" else desk.caller(rule.credentials)
    except _TurnedAwayError:
        pass
    return Introduction(caller, desk.chain.judgement(Arns()))


class _TurnedAwayError(Exception):
    """It is in the chain why."""


@dataclass(slots=True)
class _Desk:
    """Looks at credentials in one region."""

    world: World
    sources: Mapping[str, CredentialSource]
    environ: Mapping[str, str]
    now: datetime
    region: str
    chain: Chain
    ring: KeyRing = field(init=False)

    def __post_init__(self) -> None:
        self.ring = KeyRing(self.world.keys, self.world.logins, self.world.regions)

    def check_region(self) -> None:
        """Whether this world has the region."""
        if self.region not in self.world.regions:
            why = f"this world has only {', '.join(self.world.regions)}"
            self._refuse(f"region {self.region}", why, facts.REGION, sigv4.no_region(self.region))

    def caller(self, name: str) -> Caller:
        """Who signs with an entry."""
        source, what = self.sources[name], f"credentials {name}"
        if source.assume_role:
            return self._session(source, source.assume_role)
        written = written_keys(source, self.environ)
        if written is None:
            return self._taken(source)
        key = self.ring.key(written.access_key_id)
        if key is None:
            why = f"nobody in this world has the access key {written.access_key_id}"
            self._refuse(what, why, facts.KEYS, Refused(UNKNOWN_KEY, sigv4.INVALID_TOKEN))
        try:
            sigv4.check_token(key, written.session_token, self.now)
        except Refused as refused:
            self._refuse(
                what, f"the session token of {key.access_key_id} has ended, or is no such", facts.KEYS, refused
            )
        if key.secret_access_key != written.secret_access_key:
            why = f"the secret access key is not that of {key.access_key_id}"
            self._refuse(what, why, facts.KEYS, Refused(BAD_SIGNATURE, sigv4.MISMATCH))
        self.chain.passed(what, f"{key.access_key_id} is the key of {key.principal}", facts.KEYS)
        return Caller(key.access_key_id, key.account, key.principal, self.region, key.role)

    def login(self, name: str) -> Caller:
        """Who logs in with an entry: by its SMTP password, or the one that the relay derives from its keys."""
        source, what = self.sources[name], f"SMTP login {name}"
        if source.smtp_username and source.smtp_password:
            return self._logged_in(what, source.smtp_username, source.smtp_password)
        return self.caller(name)

    def _logged_in(self, what: str, username: str, password: str) -> Caller:
        found = self.ring.login(username, password)
        if found is None:
            known = self.ring.key(username) or [one for one in self.world.logins if one.username == username]
            why = f"the password is not that of {username}" if known else f"nobody in this world is called {username}"
            self._refuse(what, why, facts.LOGIN, Refused(BAD_SIGNATURE, ""))
        if found.region != self.region:
            why = f"the password is for {found.region}, and mail goes to {self.region}"
            self._refuse(what, why, facts.LOGIN, Refused(BAD_SIGNATURE, ""))
        self.chain.passed(what, f"{username} is {found.principal}", facts.LOGIN)
        return found

    def _session(self, source: CredentialSource, role: str) -> Caller:
        """The session of a role that another entry assumes."""
        by = self.caller(source.source)
        permitted, why = sts.may_assume(self.world, by, role, source.external_id, self.now)
        what = f"credentials {source.name}: {role}"
        if not permitted:
            self._refuse(what, why, facts.ROLE, sts.not_assumed(by, role))
        self.chain.passed(what, f"{by.principal} may assume it: {why}", facts.ROLE)
        _, partition, _, _, account, resource = role.split(":", 5)
        session = f"arn:{partition}:sts::{account}:assumed-role/{resource.rpartition('/')[2]}/{source.session_name}"
        return Caller("", account, session, self.region, role)

    def _taken(self, source: CredentialSource) -> Caller:
        """Somebody, for keys that are written down nowhere: as the world's maker has it, else whoever is first."""
        what = f"credentials {source.name}"
        if source.profile and not has_profile(source.profile, self.environ):
            why = f"there is no profile {source.profile} in the files of this user"
            self._refuse(what, why, facts.CHAIN, Refused(NOT_ASKED, why))
        principal = self.world.entries.get(source.name)
        if principal is not None:
            why = f"their keys are not written down: taken for {principal}, as this world is made of the configuration"
            self.chain.skipped(what, why, facts.CHAIN)
            return Caller("", principal.split(":")[4], principal, self.region)
        first = self.world.keys[0]
        why = f"their keys are not written down: taken for {first.principal}, who has the first key of this world"
        self.chain.skipped(what, why, facts.SOMEBODY)
        return Caller(first.access_key_id, first.account, first.principal, self.region, first.role)

    def _refuse(self, what: str, why: str, fact: Fact, refused: Refused) -> NoReturn:
        self.chain.failed(what, why, fact, Rank.FORM, refused)
        raise _TurnedAwayError
