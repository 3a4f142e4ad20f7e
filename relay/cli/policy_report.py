"""What `ses-relay policy` prints: the documents, how to attach them, and what to know about them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from relay.policy.delegates import Delegate
from relay.policy.delegation import DelegatePolicy
from relay.policy.grants import Document, Grant, OwnerPolicy, compact

_CASE: Final = (
    "Conditions compare upper and lower case. The relay forwards addresses as applications write them, so mail from "
    "Billing@Example.com is denied where the policy says billing@example.com: name every spelling that is in use."
)
_API_VERSION: Final = (
    "Do not add a condition on ses:ApiVersion: SendRawEmail counts as version 1, SMTP and SESv2 as version 2, so that "
    "a policy for one of them blocks the other, which large messages need."
)
_AUTHORS: Final = (
    "ses:FromAddress is the address of the header From, not the envelope sender. Where applications write another one "
    "than the patterns here, name it by --from."
)
_ROLE: Final = (
    "SES's own pages name accounts and users as principals. Should it refuse a role, name the role's account instead; "
    "IAM then decides who of that account may send."
)
_OWN: Final = (
    "{arn} belongs to the delegate's own account: IAM alone decides there, so the conditions stand in the delegate's "
    "policy, and the identity needs none."
)
_ADDRESS: Final = (
    "{arn} is an address: it must itself be verified in {region}. One that is only covered by its domain has no "
    "policies; use the domain's ARN then."
)
_NAMES: Final = (
    "Whether SES compares ses:FromDisplayName with the name as people read it or with its encoded form is not "
    "documented, so that names with other than ASCII characters may not match."
)
_SANDBOX: Final = (
    "The statement for the sandbox also lets the delegate send as every identity of its own account, on the same "
    "conditions: take it out when AWS has granted production access."
)

_READS: Final = (
    "The delegate may send and nothing else. With --with-reads it may also read its own account's quota, to which the "
    "relay then keeps (ses.max_rate: auto), and what ses-relay doctor looks at."
)


@dataclass(frozen=True, slots=True)
class Papers:
    """All that was made; None for the side that nobody asked for."""

    grants: tuple[Grant, ...]
    owner: tuple[OwnerPolicy, ...] | None
    delegate: tuple[DelegatePolicy, ...] | None
    sandbox: bool
    reads: bool = False


def facts(papers: Papers) -> dict[str, Any]:
    """The documents and where they belong, for programs."""
    found: dict[str, Any] = {}
    if papers.owner is not None:
        found["owner"] = [
            {
                "identity": str(one.arn),
                "account": one.arn.account,
                "region": one.arn.region,
                "name": one.name,
                "policy": one.document,
            }
            for one in papers.owner
        ]
    if papers.delegate is not None:
        found["delegate"] = [
            {"principal": one.delegate and one.delegate.text, "name": one.name, "policy": one.document}
            for one in papers.delegate
        ]
    return found


def only_document(papers: Papers) -> Document | None:
    """The one document, where one side was asked for and has one; it can be piped to where policies are read."""
    if papers.owner is not None and papers.delegate is not None:
        return None
    sides: tuple[OwnerPolicy | DelegatePolicy, ...] = (*(papers.owner or ()), *(papers.delegate or ()))
    documents = [one.document for one in sides]
    return documents[0] if len(documents) == 1 else None


def report(papers: Papers) -> str:
    """The documents for people, each with the commands that attach it."""
    parts = [*map(_for_owner, papers.owner or ()), *map(_for_delegate, papers.delegate or ())]
    notes = "\n".join(f"* {note}" for note in _notes(papers))
    return "\n\n".join([*parts, f"Good to know:\n{notes}"])


def _for_owner(one: OwnerPolicy) -> str:
    arn = one.arn
    first = _command(
        "ses", "put-identity-policy", region=arn.region, identity=arn.name, policy_name=one.name,
        policy=compact(one.document).decode(),
    )  # fmt: skip
    second = _command(
        "sesv2", "create-email-identity-policy", region=arn.region, email_identity=arn.name, policy_name=one.name
    )
    return "\n".join([
        f"The owner, account {arn.account}, attaches this to {arn.name} in {arn.region}:",
        json.dumps(one.document, indent=2),
        "by (a policy of the same name is replaced)",
        f"  {first}",
        "or, where there is none of this name yet, with the same --policy, by",
        f"  {second} --policy ...",
    ])  # fmt: skip


def _for_delegate(one: DelegatePolicy) -> str:
    who = one.delegate.text if one.delegate else "each delegate of the organization"
    return "\n".join([
        f"For the delegate, {who}:",
        json.dumps(one.document, indent=2),
        "by",
        *(f"  {command}" for command in _attaching(one)),
    ])  # fmt: skip


def _attaching(one: DelegatePolicy) -> Iterator[str]:
    """Short ones go into the user or role, long ones stand for themselves."""
    delegate = one.delegate
    kind = "role" if delegate and delegate.kind == "role" else "user"
    name = {f"{kind}_name": (delegate and delegate.name) or "NAME"}
    document = compact(one.document).decode()
    if one.inline:
        yield _command("iam", f"put-{kind}-policy", **name, policy_name=one.name, policy_document=document)
    else:
        arn = _policy_arn(delegate, one.name)
        yield _command("iam", "create-policy", policy_name=one.name, policy_document=document)
        yield _command("iam", f"attach-{kind}-policy", **name, policy_arn=arn)


def _policy_arn(delegate: Delegate | None, name: str) -> str:
    partition = (delegate and delegate.partition) or "aws"
    return f"arn:{partition}:iam::{delegate.account if delegate else 'ACCOUNT'}:policy/{name}"


def _command(service: str, action: str, **options: str) -> str:
    words = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in options.items()]
    return " ".join(["aws", service, action, *words])


def _notes(papers: Papers) -> Iterator[str]:
    grants = papers.grants
    terms = [grant.terms for grant in grants]
    if any(one.senders or one.feedback or one.recipients or one.names for one in terms):
        yield _CASE
    if any(one.senders for one in terms):
        yield _AUTHORS
    yield _API_VERSION
    if any(not name.isascii() for one in terms for name in one.names):
        yield _NAMES
    if any(delegate.kind == "role" for grant in grants for delegate in grant.foreign):
        yield _ROLE
    for arn in dict.fromkeys(grant.arn for grant in grants if len(grant.foreign) < len(grant.delegates)):
        yield _OWN.format(arn=arn)
    for arn in dict.fromkeys(grant.arn for grant in grants if grant.arn.is_address):
        yield _ADDRESS.format(arn=arn, region=arn.region)
    if papers.sandbox and papers.delegate is not None:
        yield _SANDBOX
    if papers.delegate is not None and not papers.reads:
        yield _READS
