"""The world that a relay's own configuration takes for granted, so that a simulator needs no file.

Owners and identities are those of its ARNs; the relay is a delegate, one user or role for each entry of
`credentials`, and each owner's policy allows exactly those that send by its identity. Keys that only AWS's files
or the machine would tell are the delegate's example key; keys of the environment and of profiles are known as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from relay.arn import IdentityArn
from relay.model import Identity as Rule
from relay.settings.model import CredentialSource, Settings
from relay.simulator.policy_document import VERSION, permit, read, trusting
from relay.simulator.words import AccessKey, SmtpLogin
from relay.simulator.world import Account, ConfigurationSet, Principal, World, partition_of
from relay.simulator.worlds.delegation import delegated
from relay.simulator.worlds.profiles import written_keys

_MOST_NAMED = 30  # principals that fit into a policy of 4 KB; more are named by their accounts


@dataclass(slots=True)
class _Cast:
    """Who there is: principals, their keys and logins; `by_name` are the ARNs of the entries of `credentials`."""

    delegate: AccessKey
    principals: dict[str, Principal] = field(default_factory=dict)
    keys: list[AccessKey] = field(default_factory=list)
    logins: list[SmtpLogin] = field(default_factory=list)
    by_name: dict[str, str] = field(default_factory=dict)


def derive(settings: Settings, environ: Mapping[str, str], delegate: AccessKey) -> World:
    """The world of a configuration; `delegate` is the key of boto3's chain where nothing else is known."""
    people = _people(settings, environ, delegate)
    arns = _allowed(settings.identities, people)
    regions = dict.fromkeys(rule.region for rule in settings.identities)
    regions |= dict.fromkeys(arn.region for arn in arns if arn.region != "*")
    identities = [one for arn, principals in arns.items() for one in delegated(arn, tuple(regions), principals)]
    owners = {arn.account: arn.partition for arn in arns}
    accounts = {arn.split(":")[4] for arn in people.principals} | owners.keys()
    sets = {
        (people.by_name[rule.credentials].split(":")[4], rule.region, rule.configuration_set): None
        for rule in settings.identities
        if rule.configuration_set
    }
    return World(
        regions=tuple(regions),
        accounts={one: Account(one, owners.get(one, "aws")) for one in sorted(accounts)},
        principals=people.principals,
        keys=tuple(people.keys),
        logins=tuple(people.logins),
        identities=tuple(identities),
        configuration_sets=tuple(ConfigurationSet(a, r, str(n), partition=partition_of(r)) for a, r, n in sets),
        entries=people.by_name,
    )


def _allowed(rules: Iterable[Rule], people: _Cast) -> dict[IdentityArn, tuple[str, ...]]:
    """Every ARN, and the principals that send by it."""
    rules = tuple(rules)
    found: dict[IdentityArn, dict[str, None]] = defaultdict(dict)
    for rule in rules:
        by_header = () if rule.from_arn else tuple(other.source_arn for other in rules)
        for arn in (rule.source_arn, rule.from_arn, rule.return_path_arn, *by_header):
            if arn is not None:
                found[arn][people.by_name[rule.credentials]] = None
    return {arn: _named(tuple(principals)) for arn, principals in found.items()}


def _named(principals: tuple[str, ...]) -> tuple[str, ...]:
    if len(principals) <= _MOST_NAMED:
        return principals
    return tuple(dict.fromkeys(arn.split(":")[4] for arn in principals))


def _people(settings: Settings, environ: Mapping[str, str], delegate: AccessKey) -> _Cast:
    people = _Cast(delegate)
    _add(people, delegate.principal, (delegate,))
    for source in settings.credentials.values():
        arn = source.assume_role or _user(source, delegate)
        people.by_name[source.name] = arn
        logins = _logins(source, arn, settings.identities, delegate)
        _add(people, arn, () if source.assume_role else _keys(source, arn, environ, delegate), logins)
    _trust(people, settings.credentials.values())
    return people


def _trust(people: _Cast, sources: Iterable[CredentialSource]) -> None:
    """Let each role be assumed by the entries that say that they are its source."""
    statements: dict[str, list[dict[str, object]]] = defaultdict(list)
    for source in sources:
        if source.assume_role:
            by = people.by_name.get(source.source, people.delegate.principal)
            statements[source.assume_role].append(trusting([by], source.external_id))
    for role, found in statements.items():
        trust = read("trust", {"Version": VERSION, "Statement": found}, "trust")
        people.principals[role] = replace(people.principals[role], trust=trust)


def _add(people: _Cast, arn: str, keys: Iterable[AccessKey], logins: Iterable[SmtpLogin] = ()) -> None:
    people.principals.setdefault(arn, Principal(arn, (permit("everything", "*", "*"),)))
    people.keys += [key for key in keys if key.access_key_id not in {known.access_key_id for known in people.keys}]
    people.logins += logins


def _user(source: CredentialSource, delegate: AccessKey) -> str:
    """The user behind an entry: its own where it has keys or a login, else the delegate."""
    if not (source.access_key_id or source.smtp_username or source.profile):
        return delegate.principal
    name = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", source.name)[:64]
    return f"{delegate.principal.rpartition('/')[0]}/{name}"


def _keys(source: CredentialSource, arn: str, environ: Mapping[str, str], delegate: AccessKey) -> Iterator[AccessKey]:
    """The keys of an entry that are written down somewhere."""
    found = written_keys(source, environ)
    if found is not None:
        yield AccessKey(found.access_key_id, found.secret_access_key, delegate.account, arn, found.session_token)


def _logins(source: CredentialSource, arn: str, rules: Iterable[Rule], delegate: AccessKey) -> Iterator[SmtpLogin]:
    """A ready-made SMTP login, good in one region: that of the first rule that uses it."""
    places = [rule.region for rule in rules if rule.credentials == source.name]
    if source.smtp_username and source.smtp_password and places:
        yield SmtpLogin(source.smtp_username, source.smtp_password, places[0], delegate.account, arn)
