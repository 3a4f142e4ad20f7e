"""Which identity stands behind an address of a message: the caller's own, or the one that an ARN names. Pure.

Sources: SES developer guide, "Creating and verifying identities" (what an identity covers), "Sending emails for the
identity owner" (ARNs, regions). Where SES's words are not known, `relay.simulator.facts` says so: an ARN of another
region or one that does not cover the address counts as not verified, one that names nothing is denied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from relay.simulator import facts
from relay.simulator.claims import Claim
from relay.simulator.explanation import Chain, Rank
from relay.simulator.facts import Fact
from relay.simulator.permission import ACTION
from relay.simulator.refusals import ACCESS_DENIED, Refused
from relay.simulator.words import Arns, Caller
from relay.simulator.world import Identity, World, covers, partition_of

_ARN: Final = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):ses:(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+|\*):(?P<account>[0-9]{12})"
    r":identity/(?P<name>[!-~]+)"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """What an address is to a caller: an identity, or why there is none; `covered` is False when it must not go."""

    identity: Identity | None
    why: str
    fact: Fact
    covered: bool = True
    denied: bool = False


def parse(arn: str) -> re.Match[str] | None:
    """The parts of an identity ARN: partition, region (or "*"), account, name."""
    return _ARN.fullmatch(arn)


def find(world: World, caller: Caller, claim: Claim, arns: Arns, chain: Chain) -> Identity | None:
    """The identity behind a claim, whose policies are to be asked; the chain has what was looked at."""
    what = f"{claim.use} {claim.shown}"
    if claim.arn is None:
        place = _own(world, caller.account, caller.region, claim.address)
    else:
        place = _named(world, caller.account, caller.region, claim.arn, claim.address)
    if place.covered:
        chain.passed(what, place.why, claim.fact or place.fact)
    elif place.denied:
        words = f"User `{caller.principal}' is not authorized to perform `{ACTION}' on resource `{claim.arn}'"
        chain.failed(what, place.why, place.fact, Rank.DENIED, Refused(ACCESS_DENIED, words))
    else:
        chain.not_verified(what, place.why, _doubt(claim, arns, place.fact), claim.shown)
    return place.identity


@lru_cache(maxsize=8192)
def _own(world: World, account: str, region: str, address: str) -> _Place:
    """Without an ARN: the most specific verified identity of the caller's own account."""
    identity = world.covering(account, region, address)
    if identity is None:
        why = f"no ARN is given for it, and account {account} has nothing verified in {region} that covers it"
        return _Place(None, why, facts.NOT_VERIFIED, covered=False)
    return _Place(identity, f"{identity.arn} of the caller's own account covers it", facts.OWN)


@lru_cache(maxsize=8192)
def _named(world: World, account: str, region: str, arn: str, address: str) -> _Place:
    """By an ARN; what is none has been refused as such already."""
    parts = parse(arn)
    if parts is None:
        return _Place(None, f"<{arn}> is no identity ARN", facts.ARN_GRAMMAR, covered=False)
    if parts["region"] not in ("*", region):
        why = f"{arn} is of {parts['region']}, the call is to {region}"
        return _Place(None, why, facts.ARN_REGION, covered=False)
    identity = world.identity(parts["account"], region, parts["name"])
    if identity is None or parts["partition"] != partition_of(region):
        return _unknown(world, region, parts)
    if not covers(identity.name, address):
        return _Place(None, f"{arn} does not cover it", facts.ARN_NOT_COVERING, covered=False)
    own = identity.account == account
    if not identity.verified:
        fact = facts.NOT_VERIFIED if own else facts.UNVERIFIED_OWNER
        return _Place(identity, f"{arn} is not verified yet", fact, covered=False)
    return _Place(identity, f"{arn} covers it", facts.OWN if own else _coverage(identity, address))


def _unknown(world: World, region: str, parts: re.Match[str]) -> _Place:
    """An ARN that names nothing."""
    by_domain = "@" in parts["name"] and world.covering(parts["account"], region, parts["name"])
    fact = facts.ARN_NARROWER if by_domain else facts.ARN_UNKNOWN
    why = f"{parts[0]} names no identity of account {parts['account']} in {region}"
    return _Place(None, why, fact, covered=False, denied=True)


def _coverage(identity: Identity, address: str) -> Fact:
    """On whose word an owner's identity covers the address."""
    if identity.is_address:
        return facts.COVERED if address == identity.name else facts.LABEL
    return facts.COVERED if address.rpartition("@")[2].lower() == identity.name.lower() else facts.SUBDOMAIN


def _doubt(claim: Claim, arns: Arns, fact: Fact) -> Fact:
    """On whose word an address is not verified."""
    if claim.arn is not None:
        return fact
    if claim.fact is facts.SENDER_FIELD and _covered_by_any(claim.address, arns):
        return facts.SENDER_OF_OWNER
    return claim.fact or fact


def _covered_by_any(address: str, arns: Arns) -> bool:
    """Whether one of the ARNs of the message covers the address."""
    found = (parse(arn) for arn in (arns.source, arns.from_, arns.return_path) if arn)
    return any(parts is not None and covers(parts["name"], address) for parts in found)
