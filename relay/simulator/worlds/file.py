"""A world from its YAML file, or everything that is wrong with the file.

`config/world.yaml` is a sample of every key. Errors come all at once, with file, line and key, as those of the relay's
own configuration do; `${NAME}` references work alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, cast

from relay.settings import scalars
from relay.settings.problems import ConfigurationError, Problem
from relay.settings.source import Source
from relay.settings.yaml_file import read
from relay.simulator.world import Account, Disputed, Enforcement, Sending, World
from relay.simulator.worlds.owned import Owned
from relay.simulator.worlds.principals import People
from relay.simulator.worlds.reader import Section
from relay.simulator.worlds.words import account_id, choice, partition, quota, region, word

_DEPTH: Final = 14  # a value of a condition of a policy of an identity of an account
_PRODUCTION: Final = Sending()
_SANDBOX: Final = Sending(production=False, max_24_hour_send=200, max_send_rate=1)  # SES developer guide, the sandbox


@dataclass(frozen=True, slots=True)
class LoadedWorld:
    """A world that may be used, and what there is to say about its file."""

    world: World
    warnings: tuple[Problem, ...]


def load_world(path: Path, environ: Mapping[str, str]) -> LoadedWorld:
    """Load a world file. Raises ConfigurationError with all that is wrong."""
    source = read(path, environ, depth=_DEPTH)
    if not isinstance(source.value, dict):
        source.error((), "a mapping with the keys regions and accounts")
        raise ConfigurationError(source.problems)
    world = _Reader(source).world(Section(source, (), source.value))
    if source.failed:
        raise ConfigurationError(source.problems)
    return LoadedWorld(world, tuple(sorted(source.problems)))


@dataclass(slots=True)
class _Reader:
    """One file, read into what it has of everything."""

    source: Source
    accounts: dict[str, Account] = field(default_factory=dict)

    def world(self, top: Section) -> World:
        regions = top.texts("regions", region)
        if not top.value.get("regions"):
            self.source.error(("regions",), "at least one region, such as us-east-1")
        people, owned = People(self.source, regions), Owned(self.source, regions)
        for account, section in top.named("accounts", account_id):
            self.accounts[account] = self._account(account, section, regions)
            people.read(self.accounts[account], section)
            owned.read(self.accounts[account], section)
            section.end()
        if not people.keys and not self.source.broken("accounts"):
            self.source.error(("accounts",), "at least one user with an access key, or nobody can call")
        world = World(
            regions=regions,
            accounts=self.accounts,
            principals=people.principals,
            keys=tuple(people.keys),
            logins=tuple(people.logins),
            identities=tuple(owned.identities),
            configuration_sets=tuple(owned.configuration_sets),
            disputed=_disputed(top),
            source_ip=top.get("source_ip", word, None),
        )
        top.end()
        return world

    def _account(self, account: str, section: Section, regions: Sequence[str]) -> Account:
        sending = _sending(section, _PRODUCTION)
        elsewhere = {}
        for name, one in section.named("elsewhere", region):
            if name not in regions:
                self.source.error(one.keys, "a region of this world: " + ", ".join(regions), name)
            elsewhere[name] = _sending(one, sending)
            one.end()
        return Account(
            account,
            section.get("partition", partition, "aws"),
            section.get("organization", word, None),
            sending,
            elsewhere,
        )


def _sending(section: Section, usual: Sending) -> Sending:
    """What an account may do; one that is in the sandbox has the quotas of the sandbox unless others are given."""
    production = section.get("production", scalars.parse_switch, usual.production)
    usual = usual if production == usual.production else _PRODUCTION if production else _SANDBOX
    enforcement = section.get("enforcement", partial(choice, words=("healthy", "probation", "shutdown")), None)
    return Sending(
        production,
        section.get("paused", scalars.parse_switch, usual.paused),
        cast("Enforcement", enforcement.upper()) if enforcement else usual.enforcement,
        section.get("max_24_hour_send", quota, usual.max_24_hour_send),
        section.get("max_send_rate", scalars.parse_rate, usual.max_send_rate),
    )


def _disputed(top: Section) -> Disputed:
    """What this SES does where nobody knows."""
    found = next(top.sections("disputed"), None)
    if found is None:
        return Disputed()
    alone = found.get("source_arn_alone", partial(choice, words=("refused", "enough")), "refused")
    owner = found.get("owner_in_sandbox", partial(choice, words=("ignored", "counts")), "ignored")
    found.end()
    return Disputed(cast('Literal["refused", "enough"]', alone), cast('Literal["ignored", "counts"]', owner))
