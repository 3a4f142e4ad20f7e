"""Resolves `identities`: fills in what defaults to the ARN, and refuses rules that contradict each other.

Guarantees that names are unique, that each pattern stands once (compared in canonical form: domains as A-labels,
without case), that every identity has a region and credentials fit for its transport, and that senders which SES
cannot take, the null sender and hosts without a domain, are replaced.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from relay.address import split
from relay.model import Identity
from relay.policy.patterns import NULL
from relay.settings.document import IdentityEntry
from relay.settings.model import CredentialSource
from relay.settings.problems import Keys
from relay.settings.source import Source

Placed = tuple[Keys, IdentityEntry]

_HEADER_LINE_OCTETS = 998  # RFC 5322 section 2.1.1
_TAGS_FIELD = "X-SES-MESSAGE-TAGS: "


def resolve_identities(
    source: Source, entries: Iterable[Placed], credentials: Mapping[str, CredentialSource]
) -> tuple[Identity, ...]:
    """Check all entries and resolve those that have a region; what is wrong goes to the source's problems."""
    placed = tuple(entries)
    broken = source.broken("credentials")
    usable = {name: chosen for name, chosen in credentials.items() if name not in broken}
    _check_names(source, placed)
    _check_patterns(source, placed)
    for keys, entry in placed:
        _check_replacement(source, keys, entry)
        _check_credentials(source, keys, entry, usable)
        _check_tags(source, keys, entry)
    resolved = (_resolve(source, keys, entry) for keys, entry in placed)
    return tuple(identity for identity in resolved if identity)


def _resolve(source: Source, keys: Keys, entry: IdentityEntry) -> Identity | None:
    region = entry.region or entry.source_arn.region
    if region == "*":
        source.error((*keys, "region"), "a region, since source_arn says *", "nothing")
        return None
    from_arn = entry.source_arn if entry.from_arn is None else entry.from_arn
    return Identity(
        name=name_of(entry),
        senders=entry.senders,
        source_arn=entry.source_arn,
        from_arn=None if from_arn == "header" else from_arn,
        return_path_arn=entry.return_path_arn or entry.source_arn,
        region=region,
        transport=entry.transport,
        credentials=entry.credentials,
        configuration_set=entry.configuration_set,
        tags=tuple(entry.tags.items()),
        tenant=entry.tenant,
        replace_sender=entry.replace_sender,
        replace_from=entry.replace_from,
        header_from=entry.header_from,
        client_headers=frozenset(entry.client_headers),
    )


def name_of(entry: IdentityEntry) -> str:
    """The identity's name: by default the last part of its ARN."""
    return entry.name or entry.source_arn.name


def _check_names(source: Source, placed: Iterable[Placed]) -> None:
    check_unique(source, (((*keys, "name"), name_of(entry)) for keys, entry in placed), "a name of its own")


def _check_patterns(source: Source, placed: Iterable[Placed]) -> None:
    patterns = (
        ((*keys, "senders", index), pattern) for keys, entry in placed for index, pattern in enumerate(entry.senders)
    )
    check_unique(source, patterns, "each pattern once")


def check_unique(source: Source, values: Iterable[tuple[Keys, str]], allowed: str) -> None:
    """Refuse a value that an earlier key has too."""
    first: dict[str, Keys] = {}
    for keys, value in values:
        earlier = first.setdefault(value, keys)
        if earlier != keys:
            shown = value if source.at(keys) is None else source.found(keys)
            source.error(keys, allowed, f"{shown}, which stands on line {source.line(earlier)} already")


def _check_replacement(source: Source, keys: Keys, entry: IdentityEntry) -> None:
    unsendable = next(filter(_unsendable, entry.senders), None)
    if unsendable and entry.replace_sender is None:
        source.error((*keys, "replace_sender"), f"an address, since SES cannot send as {unsendable}", "nothing")
    for key in ("replace_sender", "replace_from"):
        address = getattr(entry, key)
        if address and _unsendable(address):
            source.error((*keys, key), "an address whose domain has a dot")


def _unsendable(pattern: str) -> bool:
    """Whether SES takes no such sender: the null sender, a host without a domain, an address literal."""
    _, domain = split(pattern)
    return pattern == NULL or (pattern != "*" and "." not in domain) or domain.startswith("[")


def _check_credentials(
    source: Source, keys: Keys, entry: IdentityEntry, credentials: Mapping[str, CredentialSource]
) -> None:
    place = (*keys, "credentials")
    error = partial(source.error, place, found=None if source.at(place) else entry.credentials)
    chosen = credentials.get(entry.credentials)
    if chosen is None:
        if entry.credentials not in (source.at(("credentials",)) or ()):
            error("a name of credentials: " + ", ".join(sorted(credentials)))
    elif entry.transport == "smtp" and not chosen.logs_in_by_smtp:
        error("credentials with smtp_username, or with an access key that is not temporary, since transport is smtp")
    elif entry.transport == "api" and not chosen.signs_api_calls:
        error("credentials with a profile, a role or an access key, since transport is api")


def _check_tags(source: Source, keys: Keys, entry: IdentityEntry) -> None:
    field = _TAGS_FIELD + ", ".join(f"{name}={value}" for name, value in entry.tags.items())
    if len(field) > _HEADER_LINE_OCTETS:
        source.error((*keys, "tags"), f"tags that fit into one header line of {_HEADER_LINE_OCTETS} octets")
