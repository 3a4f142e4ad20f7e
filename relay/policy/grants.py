"""Grants: what the owner of an identity lets delegates do, as sending authorization policies.

Owns the documents (SES developer guide, "Policy anatomy" and "Creating an identity authorization policy"): exactly one
identity as the resource, at least one principal, at most 4 KB and 20 policies; no action beyond those that the
relay calls. Guarantees that a policy permits what the terms say and nothing else. Refuses what a policy cannot
say exactly, and what SES would not take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from relay.address import to_a_labels
from relay.arn import IdentityArn
from relay.policy.delegates import Delegate
from relay.policy.patterns import ANY, NULL, check_pattern

Document = Mapping[str, Any]

MAX_BYTES: Final = 4096  # of one policy, taken as JSON without blanks
MAX_POLICIES: Final = 20  # on one identity
VERSION: Final = "2012-10-17"

# SMTP, SendRawEmail, and (as users of SES report) SESv2's SendEmail with a raw message are asked for the first;
# SESv2's own page names the second, and large messages and tenants go that way.
RAW: Final = "ses:SendRawEmail"
SEND: Final = "ses:SendEmail"

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ORGANIZATION: Final = re.compile(r"o-[a-z0-9]{10,32}")


@dataclass(frozen=True, slots=True)
class Terms:
    """On which conditions mail may be sent; an empty tuple is no condition of that kind.

    `senders` (header From), `feedback` (where bounces go) and `recipients` are patterns as in the configuration.
    `names` are display names of the header From, in which `*` and `?` stand for anything.
    """

    senders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    secure_transport: bool = False

    def block(self) -> dict[str, dict[str, Any]]:
        """The `Condition` of a statement. Raises ValueError for what a policy cannot say."""
        likes = {
            "ses:FromAddress": globs(self.senders),
            "ses:FromDisplayName": list(map(_check_text, dict.fromkeys(self.names))),
            "ses:FeedbackAddress": globs(self.feedback),
        }
        likes = {key: values for key, values in likes.items() if values}
        recipients = globs(self.recipients)
        block: dict[str, dict[str, Any]] = {"StringLike": likes} if likes else {}
        if recipients:
            block["ForAllValues:StringLike"] = {"ses:Recipients": recipients}
        if self.secure_transport:
            block["Bool"] = {"aws:SecureTransport": "true"}
        return block


@dataclass(frozen=True, slots=True)
class Grant:
    """One identity in its region, who may send as it, and on which terms; `sets` are the delegate's own.

    Without delegates it is for every principal of `organization`.
    """

    arn: IdentityArn
    delegates: tuple[Delegate, ...]
    terms: Terms = Terms()
    organization: str | None = None
    actions: tuple[str, ...] = (SEND, RAW)
    sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be granted."""
        if self.arn.region == "*":
            raise ValueError(f"{self.arn} is in several regions, and a policy belongs to one: name them by --region")
        if bool(self.delegates) == bool(self.organization):
            raise ValueError("either delegates or an organization may send")
        if self.organization and not _ORGANIZATION.fullmatch(self.organization):
            raise ValueError(f"{self.organization!r} is not the id of an organization, such as o-a1b2c3d4e5")
        for delegate in self.delegates:
            if delegate.partition not in (None, self.arn.partition):
                raise ValueError(f"{delegate} is of another partition than {self.arn}, where it cannot send")

    @property
    def foreign(self) -> tuple[Delegate, ...]:
        """The delegates of other accounts: for those of the owner's own account IAM decides alone."""
        return tuple(one for one in self.delegates if one.account != self.arn.account)

    def statement(self) -> dict[str, Any]:
        """The statement that an owner's policy needs."""
        block = self.terms.block()
        if self.organization:
            block["StringEquals"] = {"aws:PrincipalOrgID": self.organization}
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": "*" if self.organization else {"AWS": one_or_all([one.text for one in self.foreign])},
            "Action": one_or_all(self.actions),
            "Resource": str(self.arn),
        }
        return statement | ({"Condition": block} if block else {})


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """One document for the owner of `arn` to attach to it under `name`."""

    arn: IdentityArn
    name: str
    document: Document


def owner_policies(grants: Iterable[Grant], name: str) -> tuple[OwnerPolicy, ...]:
    """What the owners must attach: one policy for each identity, more only where one would be too long.

    Args:
        grants: Grants for one identity and the same delegates are put together.
        name: Of the policies; numbered where an identity needs several.

    Raises:
        ValueError: A policy cannot say it, or not in 20 policies of 4 KB; in words for an operator.
    """
    by_identity: dict[IdentityArn, list[Grant]] = {}
    for grant in merged(grants):
        if grant.organization or grant.foreign:
            by_identity.setdefault(grant.arn, []).append(grant)
    return tuple(policy for arn, group in by_identity.items() for policy in _policies(arn, group, name))


def merged(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Put grants together that differ in nothing but senders, actions and sets: any of their senders will do."""
    found: dict[Grant, list[Grant]] = {}
    for grant in grants:
        alike = replace(grant, terms=replace(grant.terms, senders=()), actions=(), sets=())
        found.setdefault(alike, []).append(grant)
    return tuple(map(_merged, found.values()))


def _merged(group: Sequence[Grant]) -> Grant:
    unlimited = any(not grant.terms.senders for grant in group)
    senders = () if unlimited else tuple(dict.fromkeys(one for grant in group for one in grant.terms.senders))
    return replace(
        group[0],
        terms=replace(group[0].terms, senders=senders),
        actions=tuple(action for action in (SEND, RAW) if any(action in grant.actions for grant in group)),
        sets=tuple(dict.fromkeys(one for grant in group for one in grant.sets)),
    )


def _policies(arn: IdentityArn, grants: Sequence[Grant], name: str) -> list[OwnerPolicy]:
    documents = _fitted(grants)
    if len(documents) > MAX_POLICIES:
        raise ValueError(f"{arn} would need more than {MAX_POLICIES} policies: use patterns of whole domains")
    names = numbered(name, len(documents))
    return [OwnerPolicy(arn, one, document) for one, document in zip(names, documents, strict=True)]


def _fitted(grants: Sequence[Grant]) -> list[Document]:
    """Documents of at most 4 KB each: statements are parted first, then what stands in one."""
    document = policy_of(grant.statement() for grant in grants)
    if len(compact(document)) <= MAX_BYTES:
        return [document]
    parts = halves(grants) if len(grants) > 1 else [[part] for part in _parted(grants[0])]
    return [document for part in parts for document in _fitted(part)]


def _parted(grant: Grant) -> list[Grant]:
    """The same grant in two: half of its senders each, or half of its delegates."""
    senders, delegates = grant.terms.senders, grant.foreign
    if len(senders) > 1:
        return [replace(grant, terms=replace(grant.terms, senders=tuple(part))) for part in halves(senders)]
    if len(delegates) > 1:
        return [replace(grant, delegates=tuple(part)) for part in halves(delegates)]
    raise ValueError(f"the conditions for {grant.arn} do not fit into a policy of {MAX_BYTES} bytes")


def halves(values: Sequence[Any]) -> list[Sequence[Any]]:
    """Both halves of at least two values."""
    middle = len(values) // 2
    return [values[:middle], values[middle:]]


def policy_of(statements: Iterable[Mapping[str, Any]]) -> Document:
    """A document of these statements."""
    return {"Version": VERSION, "Statement": list(statements)}


def compact(document: Document) -> bytes:
    """A document as it is sent and measured: JSON without blanks, in ASCII."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def numbered(name: str, count: int) -> list[str]:
    """The name for one policy, or as many names as there are policies. Raises ValueError."""
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    for one in names:
        if not _NAME.fullmatch(one):
            raise ValueError(f"{one!r} is no name of a policy: at most 64 letters, digits, - and _")
    return names


def globs(patterns: Iterable[str]) -> list[str]:
    """Patterns as policies write them, each once; an empty list when one of them matches every address."""
    found = list(dict.fromkeys(map(_glob, patterns)))
    return [] if ANY in found else found


def _glob(pattern: str) -> str:
    """One pattern. Its letter case stays: conditions compare it with what the application writes."""
    canonical = check_pattern(pattern)
    if canonical == NULL:
        raise ValueError('"<>" is the null sender, which has no address that a policy could name')
    if canonical == ANY:
        return ANY
    local = canonical.rpartition("@")[0] or "*"
    domain = pattern.rpartition("@")[2]
    any_label, domain = ("*.", domain[1:]) if domain.startswith(".") else ("", domain)
    domain = domain if domain.isascii() else to_a_labels(domain)
    if "?" in local:
        raise ValueError(f"{pattern!r}: a policy takes ? for any character, so it cannot name this address alone")
    _check_text(pattern)
    return f"{local}@{any_label}{domain}"


def _check_text(text: str) -> str:
    """Text for a condition, or ValueError."""
    if "${" in text:
        raise ValueError(f"{text!r}: in a policy ${{ begins a variable")
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r}: a condition is a line of visible text")
    return text


def one_or_all(values: Sequence[str]) -> str | list[str]:
    """Values of an element as policies write them: one alone without a list."""
    return values[0] if len(values) == 1 else list(values)
