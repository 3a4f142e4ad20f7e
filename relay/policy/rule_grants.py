"""The grants that a whole configuration needs: every rule of `identities`, for whoever its credentials are.

Owns what a rule asks of owners. SES looks at a policy on each of the three ARNs that a message names, each time with
the address of the header From; so every ARN of a rule gets the rule's senders, and the addresses that the relay itself
writes, as From patterns. Patterns that no header From can match at SES (`<>`, hosts without a domain) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from relay.arn import IdentityArn
from relay.model import Identity
from relay.policy.delegates import Delegate
from relay.policy.grants import RAW, SEND, Grant, Terms
from relay.policy.patterns import ANY, NULL
from relay.policy.routing import Router

Use = tuple[IdentityArn, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Askers:
    """Who sends: delegates by the name of their credentials, or everybody of an organization."""

    delegates: Mapping[str, tuple[Delegate, ...]]
    organization: str | None = None


def rule_grants(identities: Sequence[Identity], askers: Askers, terms: Terms) -> tuple[Grant, ...]:
    """The grants of all rules; `terms` apply to each, its senders in addition to the rule's.

    Raises:
        ValueError: Something cannot be granted; in words for an operator.
    """
    router = Router(identities)
    return tuple(
        Grant(
            arn=replace(arn, region=rule.region) if arn.region == "*" else arn,
            delegates=askers.delegates.get(rule.credentials, ()),
            terms=replace(terms, senders=(*senders, *terms.senders) if senders else ()),
            organization=askers.organization,
            actions=(RAW,) if rule.transport == "smtp" else (SEND, RAW),
            sets=(rule.configuration_set,) if rule.configuration_set else (),
        )
        for rule in identities
        for arn, senders in dict.fromkeys(_uses(rule, identities, router))
    )


def _uses(rule: Identity, rules: Sequence[Identity], router: Router) -> Iterator[Use]:
    """Each ARN that mail by this rule may name, and the addresses that its header From may then have."""
    if rule.from_arn is not None:
        authors = _authors(rule)
        yield rule.from_arn, authors
    elif rule.replace_from:
        authors = (rule.replace_from,)
        chosen = router.covering(rule.replace_from)
        yield (chosen or rule).source_arn, authors
    else:  # the header chooses among all rules
        authors = tuple(address for one in rules for address in _of_senders(one))
        yield from ((one.source_arn, _of_senders(one)) for one in rules if _of_senders(one))
    yield rule.source_arn, authors
    yield rule.return_path_arn, authors


def _authors(rule: Identity) -> tuple[str, ...]:
    """Patterns of what SES sees as the header From; empty when nothing is known."""
    if rule.replace_from:
        return (rule.replace_from,)
    return _of_senders(rule) + ((rule.replace_sender,) if rule.replace_sender else ())


def _of_senders(rule: Identity) -> tuple[str, ...]:
    return tuple(pattern for pattern in rule.senders if pattern == ANY or (pattern != NULL and _has_domain(pattern)))


def _has_domain(pattern: str) -> bool:
    domain = pattern.rpartition("@")[2]
    return "." in domain and not domain.startswith("[")
