"""A world: the accounts, principals, identities and configuration sets that this SES knows. Frozen, and no files.

Guarantees that look-ups cost the same in a world of any size. Who owns what is SES's own model: verification,
policies, sandbox and quotas are per account and region (SES developer guide, "Regions and Amazon SES"), principals
and their policies belong to IAM and are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from relay.simulator.policy_language import Policy
from relay.simulator.words import AccessKey, SmtpLogin

Enforcement = Literal["HEALTHY", "PROBATION", "SHUTDOWN"]
UNLIMITED = -1.0


@dataclass(frozen=True, slots=True)
class Sending:
    """What an account may do in one region; both quotas count recipients, of 24 hours and of a second."""

    production: bool = True
    paused: bool = False
    enforcement: Enforcement = "HEALTHY"
    max_24_hour_send: float = UNLIMITED
    max_send_rate: float = 10_000.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account: its sending in general, and in regions where that differs."""

    id: str
    partition: str = "aws"
    organization: str | None = None
    sending: Sending = Sending()
    elsewhere: Mapping[str, Sending] = field(default_factory=dict)

    def sending_in(self, region: str) -> Sending:
        """What it may do in a region."""
        return self.elsewhere.get(region, self.sending)


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """A user, or with `trust` a role that can be assumed for at most `max_session_s` seconds."""

    arn: str
    policies: tuple[Policy, ...] = ()
    trust: Policy | None = None
    max_session_s: int = 3600


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A domain or an address of one account in one region, and the policies that hang on it."""

    account: str
    region: str
    name: str
    verified: bool = True
    policies: tuple[Policy, ...] = ()
    partition: str = "aws"

    @property
    def arn(self) -> str:
        """Its ARN."""
        return identity_arn(self.partition, self.region, self.account, self.name)

    @property
    def is_address(self) -> bool:
        """Whether it is one address rather than a domain."""
        return "@" in self.name


@dataclass(frozen=True, slots=True, eq=False)
class ConfigurationSet:
    """A configuration set of one account in one region."""

    account: str
    region: str
    name: str
    paused: bool = False
    partition: str = "aws"

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:{self.partition}:ses:{self.region}:{self.account}:configuration-set/{self.name}"


@dataclass(frozen=True, slots=True)
class Disputed:
    """What this SES does where AWS's pages contradict each other, or what users of SES report.

    `source_arn_alone`: whether a Source ARN covers the From header where no From ARN is given. `owner_in_sandbox`:
    whether the identity owner's sandbox counts for a delegate outside it.
    """

    source_arn_alone: Literal["refused", "enough"] = "refused"
    owner_in_sandbox: Literal["ignored", "counts"] = "ignored"


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """All of it. `source_ip` is where callers come from in conditions; None: where they do come from.

    `entries` are the principals behind the entries of a relay's `credentials`, in a world made of its configuration.
    """

    regions: Sequence[str]
    accounts: Mapping[str, Account]
    principals: Mapping[str, Principal] = field(default_factory=dict)
    keys: Sequence[AccessKey] = ()
    logins: Sequence[SmtpLogin] = ()
    identities: Sequence[Identity] = ()
    configuration_sets: Sequence[ConfigurationSet] = ()
    disputed: Disputed = Disputed()
    source_ip: str | None = None
    entries: Mapping[str, str] = field(default_factory=dict)
    _identities: dict[tuple[str, str, str], Identity] = field(init=False, repr=False, compare=False)
    _sets: dict[tuple[str, str, str], ConfigurationSet] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        identities = {(one.account, one.region, canonical(one.name)): one for one in self.identities}
        sets = {(one.account, one.region, one.name): one for one in self.configuration_sets}
        object.__setattr__(self, "_identities", identities)
        object.__setattr__(self, "_sets", sets)

    def account(self, account: str) -> Account:
        """The account of that id; one that nothing is said of is like any other."""
        return self.accounts.get(account) or Account(account)

    def identity(self, account: str, region: str, name: str) -> Identity | None:
        """The identity of that very name, verified or not."""
        return self._identities.get((account, region, canonical(name)))

    def covering(self, account: str, region: str, address: str) -> Identity | None:
        """The most specific verified identity of an account that covers an address."""
        found = (self.identity(account, region, name) for name in _names(address))
        return next((one for one in found if one is not None and one.verified), None)

    def configuration_set(self, account: str, region: str, name: str) -> ConfigurationSet | None:
        """The configuration set of that name."""
        return self._sets.get((account, region, name))

    def policies_of(self, arn: str) -> tuple[Policy, ...]:
        """The IAM policies of a user or role."""
        principal = self.principals.get(arn)
        return principal.policies if principal else ()


def identity_arn(partition: str, region: str, account: str, name: str) -> str:
    """The ARN of an identity."""
    return f"arn:{partition}:ses:{region}:{account}:identity/{name}"


def canonical(name: str) -> str:
    """How identities compare: domains in any case, addresses exactly (SES developer guide, "Creating identities")."""
    return name if "@" in name else name.lower()


def covers(name: str, address: str) -> bool:
    """Whether an identity of this name covers the address."""
    return canonical(name) in _names(address)


def _names(address: str) -> Iterator[str]:
    """The identities that would cover an address, the most specific first: itself, less its label, its domains."""
    local, _, domain = address.rpartition("@")
    yield address
    if "+" in local:
        yield f"{local.partition('+')[0]}@{domain}"
    labels = domain.lower().split(".")
    for start in range(len(labels)):
        yield ".".join(labels[start:])


@cache
def partition_of(region: str) -> str:
    """The partition of a region, by its name (AWS General Reference, "Amazon Resource Names")."""
    prefixes = {"us-gov-": "aws-us-gov", "cn-": "aws-cn", "eusc-": "aws-eusc"}
    return next((partition for prefix, partition in prefixes.items() if region.startswith(prefix)), "aws")
