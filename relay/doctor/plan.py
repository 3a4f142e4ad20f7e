"""What there is to look at: each thing once, however many identities share it. Pure.

Credentials are those that the identities use and those that assume roles for them; without a choice of identities
also those that nothing uses yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.model import Identity
from relay.settings.model import CredentialSource, Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked at.

    `credentials` are names, and the region in which STS is asked about them ("": any). `regions` tells whether mail
    of a region goes by the API. `accounts` and `logins` (of SMTP) are pairs of credentials and region.
    """

    identities: tuple[Identity, ...]
    credentials: Mapping[str, str]
    regions: Mapping[str, bool]
    accounts: tuple[tuple[str, str], ...]
    logins: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """How many things that is."""
        return sum(map(len, (self.identities, self.credentials, self.regions, self.accounts, self.logins)))


def plan_of(settings: Settings, identities: Sequence[Identity], *, everything: bool) -> Plan:
    """The plan for these identities of the settings; `everything` adds credentials that nothing uses."""
    used = {identity.credentials: identity.region for identity in reversed(identities)}
    named = [*dict.fromkeys(identity.credentials for identity in identities)]
    found: dict[str, str] = {}
    for name in named:
        for source in _chain(settings.credentials, name):
            found.setdefault(source, used[name])
    if everything:
        found |= {name: "" for name in settings.credentials if name not in found and name != "default"}
    by_api = {identity.region for identity in identities if identity.transport == "api"}
    return Plan(
        identities=tuple(identities),
        credentials=found,
        regions={region: region in by_api for region in _regions(identities)},
        accounts=tuple(dict.fromkeys((one.credentials, one.region) for one in identities)),
        logins=tuple(dict.fromkeys((one.credentials, one.region) for one in identities if one.transport == "smtp")),
    )


def _chain(sources: Mapping[str, CredentialSource], name: str) -> Iterator[str]:
    """An entry and those that assume roles for it; the configuration has no circles."""
    yield name
    source = sources[name]
    if source.assume_role:
        yield from _chain(sources, source.source)


def _regions(identities: Iterable[Identity]) -> Iterable[str]:
    return dict.fromkeys(identity.region for identity in identities)
