"""Warnings about identities: what SES will probably refuse, although only SES can know.

Sources: SES developer guide, "Identity owner tasks for sending authorization" (each ARN must cover its address, and
is used in its own region), "Creating and verifying identities" (a domain covers its subdomains); AWS General
Reference, "Amazon SES endpoints and quotas" (regions without an SMTP endpoint).
"""

from collections.abc import Callable, Iterable, Iterator

from relay.address import split
from relay.arn import IdentityArn
from relay.settings.document import IdentityEntry
from relay.settings.problems import Keys
from relay.settings.source import Source

Regions = Callable[[], frozenset[str]]

WITHOUT_SMTP = frozenset({"af-south-1", "ap-southeast-3", "me-south-1"})


def warn_of_coverage(source: Source, entries: Iterable[tuple[Keys, IdentityEntry]]) -> None:
    """Warn where an ARN does not cover the addresses that it is there for."""
    for keys, entry in entries:
        if source.wrong((*keys, "replace_sender")):
            continue
        for place, pattern in _envelope_senders(keys, entry):
            _warn_if_outside(source, place, pattern, "source_arn", entry.source_arn)
            if entry.return_path_arn not in (None, entry.source_arn):
                _warn_if_outside(source, place, pattern, "return_path_arn", entry.return_path_arn)
        from_arn = entry.from_arn or entry.source_arn
        if entry.replace_from and isinstance(from_arn, IdentityArn):
            _warn_if_outside(source, (*keys, "replace_from"), entry.replace_from, "from_arn", from_arn)


def _envelope_senders(keys: Keys, entry: IdentityEntry) -> Iterator[tuple[Keys, str]]:
    """What the ARNs must cover: the replacement, or else every sender."""
    if entry.replace_sender:
        yield (*keys, "replace_sender"), entry.replace_sender
        return
    for index, pattern in enumerate(entry.senders):
        yield (*keys, "senders", index), pattern


def _warn_if_outside(source: Source, place: Keys, pattern: str, name: str, arn: IdentityArn | None) -> None:
    if arn and not _covers(arn, pattern):
        source.warn(place, f"what {name} covers, {arn.name}: SES will refuse the rest")


def _covers(arn: IdentityArn, pattern: str) -> bool:
    local, domain = split(pattern)
    if not local:
        return not arn.is_address and arn.covers("", domain.removeprefix("."))
    return arn.covers(local, domain)


def warn_of_regions(
    source: Source, entries: Iterable[tuple[Keys, IdentityEntry]], regions: Regions | None, *, own_smtp: bool
) -> None:
    """Warn of regions that are not the ARNs', that SES is not known to be in, or that have no SMTP endpoint.

    Args:
        source: Takes the warnings.
        entries: Identities with their keys.
        regions: The regions that the AWS SDK lists for SES; None skips that.
        own_smtp: Whether `ses.smtp_endpoint` stands in for the region's.
    """
    known = regions() if regions else frozenset()
    for keys, entry in entries:
        region = entry.region or entry.source_arn.region
        place = (*keys, "region") if entry.region else (*keys, "source_arn")
        if region == "*":
            continue
        _warn_of_other_regions(source, keys, entry, region)
        if known and region not in known:
            source.warn(place, "a region that the AWS SDK lists for SES", region)
        if entry.transport == "smtp" and region in WITHOUT_SMTP and not own_smtp:
            source.warn(place, "a region with an SES SMTP endpoint, or transport: api", region)


def _warn_of_other_regions(source: Source, keys: Keys, entry: IdentityEntry, region: str) -> None:
    for name in ("source_arn", "from_arn", "return_path_arn"):
        arn = getattr(entry, name)
        if isinstance(arn, IdentityArn) and arn.region not in ("*", region):
            source.warn((*keys, name), f"the region that mail goes to, {region}", arn.region)
