"""What delegates need in their own account: the IAM policies that let them send.

Owns which resources IAM is asked about: the identities, the configuration set that a message names, and in the
sandbox the identities that cover its recipients (SES developer guide, "Controlling access to Amazon SES", and reports
of users of SES on the last two), and what may be read so that the relay knows its quota and the doctor what is wrong.
The owner's conditions stand in the owner's policy; only where owner and delegate are one account, so that IAM decides
alone, they are repeated here. Guarantees documents that IAM takes for their length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.policy.delegates import Delegate
from relay.policy.grants import Document, Grant, compact, halves, merged, numbered, one_or_all, policy_of

MANAGED_BYTES: Final = 6144  # IAM user guide, "IAM and AWS STS quotas", managed policies, without blanks
INLINE_BYTES: Final = 2048  # there, all inline policies of a user
ACCOUNT_READS: Final = ("ses:GetAccount", "ses:GetSendQuota")  # service authorization reference: of no one resource
SET_READS: Final = ("ses:GetConfigurationSet",)
IDENTITY_READS: Final = ("ses:GetEmailIdentity",)  # of the delegate's own; nobody sees another account's


@dataclass(frozen=True, slots=True)
class DelegatePolicy:
    """One document for a delegate's account to attach; `delegate` is None for whoever sends of an organization."""

    delegate: Delegate | None
    name: str
    document: Document

    @property
    def inline(self) -> bool:
        """Whether it is short enough to be put into a user, rather than to stand for itself."""
        return len(compact(self.document)) <= INLINE_BYTES


@dataclass(frozen=True, slots=True)
class _Leave:
    """What is let, and on which conditions (as JSON, so that equal ones are found); a statement in the making."""

    what: str
    conditions: str
    actions: tuple[str, ...]

    def statement(self, number: int, resources: Iterable[str]) -> dict[str, Any]:
        statement: dict[str, Any] = {
            "Sid": f"{self.what}{number}",
            "Effect": "Allow",
            "Action": one_or_all(self.actions),
            "Resource": one_or_all(tuple(resources)),
        }
        block = json.loads(self.conditions)
        return statement | ({"Condition": block} if block else {})


_Part = tuple[_Leave, Sequence[str]]


def delegate_policies(
    grants: Iterable[Grant], name: str, *, sandbox: bool = False, reads: bool = False
) -> tuple[DelegatePolicy, ...]:
    """What each delegate needs, in the order of the grants.

    Args:
        grants: All that is granted to anybody.
        name: Of the policies; numbered where a delegate needs several.
        sandbox: Whether to add the recipients' identities, about which SES asks IAM there.
        reads: Whether to add what the relay reads of its own account (quota) and the doctor besides.

    Raises:
        ValueError: A condition cannot be said, or does not fit; in words for an operator.
    """
    by_delegate: dict[Delegate | None, list[Grant]] = {}
    for grant in grants:
        for delegate in grant.delegates or (None,):
            by_delegate.setdefault(delegate, []).append(grant)
    return tuple(
        policy
        for delegate, group in by_delegate.items()
        for policy in _policies(delegate, merged(group), name, sandbox=sandbox, reads=reads)
    )


def _policies(
    delegate: Delegate | None, grants: Sequence[Grant], name: str, *, sandbox: bool, reads: bool
) -> Iterator[DelegatePolicy]:
    wanted: dict[_Leave, dict[str, None]] = {}
    account = delegate.account if delegate else "*"
    for grant in grants:
        for leave, resource in _needs(grant, account, sandbox=sandbox):
            wanted.setdefault(leave, {})[resource] = None
    for grant in grants if reads else ():
        for leave, resource in _reads(grant, account):
            wanted.setdefault(leave, {})[resource] = None
    documents = _fitted([(leave, list(resources)) for leave, resources in wanted.items()])
    for one, document in zip(numbered(name, len(documents)), documents, strict=True):
        yield DelegatePolicy(delegate, one, document)


def _needs(grant: Grant, account: str, *, sandbox: bool) -> Iterator[tuple[_Leave, str]]:
    """Every resource that IAM is asked about when a delegate of `account` sends by this grant."""
    conditions = json.dumps(grant.terms.block())
    alone = grant.arn.account == account
    yield _Leave("Identities", conditions if alone else "{}", grant.actions), str(grant.arn)
    ours = f"arn:{grant.arn.partition}:ses:{grant.arn.region}:{account}"
    for one in grant.sets:
        yield _Leave("ConfigurationSets", "{}", grant.actions), f"{ours}:configuration-set/{one}"
    if sandbox:  # on the conditions, or it could send as every identity of its own account
        yield _Leave("SandboxRecipients", conditions, grant.actions), f"{ours}:identity/*"


def _reads(grant: Grant, account: str) -> Iterator[tuple[_Leave, str]]:
    """What may be read of the delegate's own account for this grant."""
    yield _Leave("ReadQuota", "{}", ACCOUNT_READS), "*"
    for one in grant.sets:
        arn = f"arn:{grant.arn.partition}:ses:{grant.arn.region}:{account}:configuration-set/{one}"
        yield _Leave("ReadConfigurationSets", "{}", SET_READS), arn
    if grant.arn.account == account:
        yield _Leave("ReadIdentities", "{}", IDENTITY_READS), str(grant.arn)


def _fitted(parts: Sequence[_Part]) -> list[Document]:
    """Documents that IAM takes for their length: statements are parted first, then the resources of one."""
    document = policy_of(leave.statement(number, resources) for number, (leave, resources) in enumerate(parts, 1))
    if len(compact(document)) <= MANAGED_BYTES:
        return [document]
    leave, resources = parts[0]
    if len(parts) == 1 and len(resources) < 2:
        raise ValueError(f"the conditions for {resources[0]} do not fit into a policy of IAM")
    parted = halves(parts) if len(parts) > 1 else [[(leave, part)] for part in halves(resources)]
    return [document for part in parted for document in _fitted(part)]
