"""The users and roles of a world file, with their keys, SMTP logins and policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.settings import scalars
from relay.settings.source import Source
from relay.settings.words import EXTERNAL_ID, parse_grammar
from relay.simulator.policy_document import VERSION, trusting
from relay.simulator.policy_language import Policy
from relay.simulator.words import AccessKey, SmtpLogin
from relay.simulator.world import Account, Principal
from relay.simulator.worlds.policies import policies, policy_of
from relay.simulator.worlds.reader import Section
from relay.simulator.worlds.words import iam_name, key_id, principal, region, word

_SESSION_S = 3600.0
_SHORTEST_S, _LONGEST_S = 3600, 43_200  # IAM user guide, "Maximum session duration"


@dataclass(slots=True)
class People:
    """The principals of all accounts, as they are read; a key id and a login may be there once."""

    source: Source
    regions: Sequence[str]
    principals: dict[str, Principal] = field(default_factory=dict)
    keys: list[AccessKey] = field(default_factory=list)
    logins: list[SmtpLogin] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def read(self, account: Account, section: Section) -> None:
        """Read the users and roles of one account."""
        for name, one in section.named("users", iam_name):
            arn = f"arn:{account.partition}:iam::{account.id}:user/{name}"
            self._credentials(account, arn, one)
            self.principals[arn] = Principal(arn, tuple(policies(one, "iam")))
            one.end()
        for name, one in section.named("roles", iam_name):
            arn = f"arn:{account.partition}:iam::{account.id}:role/{name}"
            longest = int(one.get("max_session", _session, _SESSION_S))
            self.principals[arn] = Principal(arn, tuple(policies(one, "iam")), self._trust(one), longest)
            one.end()

    def _credentials(self, account: Account, arn: str, user: Section) -> None:
        for one in user.listed("access_keys"):
            key = one.need("access_key_id", key_id, "")
            secret = one.need("secret_access_key", word, "")
            self._once(one, "access_key_id", key)
            self.keys.append(AccessKey(key, secret, account.id, arn))
            one.end()
        for one in user.listed("smtp_logins"):
            name, password = one.need("smtp_username", key_id, ""), one.need("smtp_password", word, "")
            place = one.need("region", region, "")
            if place and place not in self.regions:
                self.source.error((*one.keys, "region"), "a region of this world: " + ", ".join(self.regions))
            self._once(one, "smtp_username", f"{name} {place}")
            self.logins.append(SmtpLogin(name, password, place, account.id, arn))
            one.end()

    def _once(self, section: Section, name: str, value: str) -> None:
        if value in self._ids:
            self.source.error((*section.keys, name), "an id that stands nowhere else in this world")
        self._ids.add(value)

    def _trust(self, role: Section) -> Policy | None:
        """Who may assume a role: a whole policy, or principals and an external id."""
        keys, document = (*role.keys, "trust_policy"), role.raw("trust_policy")
        trusted = list(role.texts("trusted", principal))
        external_id = role.get("external_id", lambda value: parse_grammar(value, grammar=EXTERNAL_ID), None)
        if document is None:
            if not role.value.get("trusted"):
                self.source.error((*role.keys, "trusted"), "principals that may assume the role, or a trust_policy")
            document = {"Version": VERSION, "Statement": [trusting(trusted, external_id)]} if trusted else None
        elif trusted or external_id:
            self.source.error(
                (*role.keys, "trust_policy"), "trust_policy, or trusted and external_id, not both", "both"
            )
        keys = (*role.keys, "trust_policy")
        return None if document is None else policy_of(self.source, keys, "trust", document, "trust")


def _session(value: object) -> float:
    """How long a session of a role may last."""
    seconds = scalars.parse_duration(value)
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise ValueError("a duration from 1h to 12h")
    return seconds
