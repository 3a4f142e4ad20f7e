"""The identities and configuration sets of a world file, with the policies of their owners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from relay.settings import scalars
from relay.settings.source import Source
from relay.simulator.policy_document import MAX_POLICIES, BadPolicy, permit
from relay.simulator.policy_language import Policy
from relay.simulator.world import Account, ConfigurationSet, Identity, canonical, identity_arn
from relay.simulator.worlds.delegation import ACTIONS
from relay.simulator.worlds.policies import policies
from relay.simulator.worlds.reader import Section
from relay.simulator.worlds.words import identity_name, principal, region, set_name


@dataclass(slots=True)
class Owned:
    """What all accounts own in each region, as it is read."""

    source: Source
    regions: Sequence[str]
    identities: list[Identity] = field(default_factory=list)
    configuration_sets: list[ConfigurationSet] = field(default_factory=list)
    _names: set[tuple[str, str, str]] = field(default_factory=set)

    def read(self, account: Account, section: Section) -> None:
        """Read what one account owns."""
        for one in section.listed("identities"):
            self._identity(account, one)
            one.end()
        for one in section.listed("configuration_sets"):
            name, paused = one.need("name", set_name, ""), one.get("paused", scalars.parse_switch, default=False)
            for place in self._places(one, account, f"configuration set {name}"):
                self.configuration_sets.append(ConfigurationSet(account.id, place, name, paused, account.partition))
            one.end()

    def _identity(self, account: Account, section: Section) -> None:
        """One identity in each of its regions; a policy names one resource, so it can be right in one region only."""
        name = section.need("name", identity_name, "")
        verified = section.get("verified", scalars.parse_switch, default=True)
        delegates = section.texts("delegates", principal)
        for place in self._places(section, account, canonical(name)):
            arn = identity_arn(account.partition, place, account.id, name)
            found = [*self._delegating(section, arn, delegates), *policies(section, "identity", arn)]
            if len(found) > MAX_POLICIES:
                self.source.error((*section.keys, "policies"), f"at most {MAX_POLICIES} policies", str(len(found)))
            self.identities.append(Identity(account.id, place, name, verified, tuple(found), account.partition))

    def _delegating(self, section: Section, arn: str, delegates: tuple[str, ...]) -> Iterator[Policy]:
        """The short way to a policy: who may send."""
        if delegates:
            try:
                yield permit("delegates", ACTIONS, arn, delegates)
            except BadPolicy as bad:
                self.source.error((*section.keys, "delegates"), "fewer of them: " + bad.problems[0][1])

    def _places(self, section: Section, account: Account, name: str) -> Iterator[str]:
        """The regions of a section, by default all; nothing may be twice in one."""
        for place in section.texts("regions", region) or self.regions:
            if place not in self.regions:
                self.source.error((*section.keys, "regions"), "regions of this world: " + ", ".join(self.regions))
            elif (account.id, place, name) in self._names:
                self.source.error((*section.keys, "name"), f"a name that account {account.id} has once in {place}")
            else:
                self._names.add((account.id, place, name))
                yield place
