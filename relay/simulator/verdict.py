"""May this caller send this message? The judgement, pure: facts in, silence or a refusal out.

Owns which addresses SES checks and under which ARN (SES developer guide, "Using sending authorization"; SES API
reference, SendRawEmail). Today an identity that is named by its ARN and exists in the region is enough; a
judge that reads the owner's policies takes the place of `judge` and nothing else.

Where SES documents no answer, the strict reading is taken: a Source ARN alone does not cover the From header;
an ARN of another region counts as not verified in this one; an ARN that names nothing is denied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from relay.arn import IdentityArn, parse_identity_arn
from relay.simulator import headers
from relay.simulator.headers import Fields
from relay.simulator.refusals import ACCESS_DENIED, INVALID, REJECTED, Refused
from relay.simulator.rules import check_address
from relay.simulator.words import Arns, Caller, Submission


@dataclass(frozen=True, slots=True)
class Claim:
    """One address that the message uses, as SES would print it, and the ARN given for it."""

    address: str
    shown: str
    arn: str | None


def claims(submission: Submission, fields: Fields, arns: Arns) -> tuple[Claim, ...]:
    """Every address that SES checks: envelope sender, bounce address, From, Sender, Return-Path.

    There is no ARN for the Sender header. Bounces go to the envelope sender, whose own ARN serves where no
    return-path ARN is given.
    """
    return tuple(_claims(submission, fields, arns))


def _claims(submission: Submission, fields: Fields, arns: Arns) -> Iterator[Claim]:
    if submission.sender is not None:
        if submission.interface != "v2":  # the v2 API has no envelope sender, only a bounce address
            yield _claim(submission.sender, arns.source)
        yield _claim(submission.sender, arns.source if arns.return_path is None else arns.return_path)
    visible = submission.visible_from or headers.first(fields, "From") or ""
    for name, address in headers.mailboxes(visible) or [("", visible)]:
        yield _claim(f"{name} <{address}>" if name else address, arns.from_)
    for value in headers.values(fields, "Sender"):
        yield _claim(value, None)
    for value in headers.values(fields, "Return-Path"):
        yield _claim(value, arns.return_path)


def _claim(shown: str, arn: str | None) -> Claim:
    return Claim(check_address(shown), shown, arn)


def check_arns(arns: Arns) -> None:
    """Refused when an ARN that was given is no identity ARN, whether or not the message comes to need it."""
    for text in (arns.source, arns.from_, arns.return_path):
        if text is not None:
            _parse(text)


def judge(claimed: Collection[Claim], caller: Caller, identities: Collection[IdentityArn]) -> None:
    """Refused unless every claim is the caller's own identity or covered by the ARN given for it."""
    here = [identity for identity in identities if identity.region in ("*", caller.region)]
    own = [identity for identity in here if identity.account == caller.account]
    failed: list[str] = []
    for claim in claimed:
        named = None if claim.arn is None else _named(claim.arn, caller, here)
        candidates = own if claim.arn is None else [named] if named else []
        if not any(_covers(identity, claim.address) for identity in candidates):
            failed.append(claim.shown)
    if failed:
        shown = ", ".join(dict.fromkeys(failed))
        region = caller.region.upper()
        words = f"Email address is not verified. The following identities failed the check in region {region}: {shown}"
        raise Refused(REJECTED, words)


def _named(text: str, caller: Caller, here: Collection[IdentityArn]) -> IdentityArn | None:
    """The known identity that an ARN names; None when the ARN is of another region."""
    arn = _parse(text)
    if arn.region not in ("*", caller.region):
        return None
    for identity in here:
        if _key(identity) == _key(arn):
            return identity
    words = f"User `{caller.principal}' is not authorized to perform `ses:SendRawEmail' on resource `{text}'"
    raise Refused(ACCESS_DENIED, words)


def _parse(text: str) -> IdentityArn:
    try:
        return parse_identity_arn(text)
    except ValueError:
        raise Refused(INVALID, f"Invalid ARN <{text}>.") from None


def _key(arn: IdentityArn) -> tuple[str, str, str]:
    """What makes two ARNs the same identity: domains compare without case, local parts exactly."""
    local, at, domain = arn.name.rpartition("@")
    return arn.partition, arn.account, local + at + domain.lower()


def _covers(identity: IdentityArn, address: str) -> bool:
    """Whether the identity is this address or its domain or a parent domain; `+label` belongs to its address.

    Said again here although IdentityArn can tell: the judge must not share the rule it judges.
    """
    local, _, domain = address.rpartition("@")
    own_local, at, own_domain = identity.name.rpartition("@")
    if at:
        return domain.lower() == own_domain.lower() and own_local in (local, local.split("+", 1)[0])
    return f".{domain.lower()}".endswith(f".{own_domain.lower()}")
