"""Verdicts on an identity as configured: its region, its ARNs where we may look, its configuration set. Pure.

Sources: SES developer guide, "Sending emails for the identity owner for SES sending authorization" (the call goes to
the identity's region; who may send is the owner's to say) and "Creating and verifying identities".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from relay.arn import IdentityArn
from relay.aws.asking import NotTold
from relay.aws.resources import EmailIdentity
from relay.doctor.findings import About, Finding, bad, ok, unknown, warning
from relay.doctor.reasons import Reason, reason_of
from relay.doctor.remedies import allow, identity_command, proof_of
from relay.model import Identity

_REFUSED: Final = "SES refuses all mail of this identity"


def arns_of(identity: Identity) -> dict[str, IdentityArn]:
    """The ARNs that its mail names, each once, by the key of the configuration that has it first."""
    named = {
        "source_arn": identity.source_arn,
        "from_arn": identity.from_arn,
        "return_path_arn": identity.return_path_arn,
    }
    once: dict[IdentityArn, str] = {}
    for key, arn in named.items():
        if arn is not None:
            once.setdefault(arn, key)
    return {key: arn for arn, key in once.items()}


def on_region(identity: Identity, known: frozenset[str]) -> Iterator[Finding]:
    """Whether mail goes where the identity is."""
    about, region = About("identity", identity.name), identity.region
    wrong = {key: arn for key, arn in arns_of(identity).items() if arn.region not in ("*", region)}
    for key, arn in wrong.items():
        yield bad(
            about, "region", f"mail goes to {region}, and {key} names an identity in {arn.region}", _REFUSED,
            f"region: {arn.region} in the configuration; or let the owner verify {arn.name} in {region}",
        )  # fmt: skip
    if region not in known:
        yield warning(
            about, "region", f"{region} is not among the regions that the AWS SDK lists for SES",
            "it may be misspelt, or newer than the SDK", "correct it, or install a newer botocore",
        )  # fmt: skip
    elif not wrong:
        yield ok(about, "region", f"{region}, which is that of its ARNs")


def on_foreign(identity: Identity, key: str, arn: IdentityArn) -> Finding:
    """An identity that belongs to another account than the caller's."""
    return unknown(
        About("identity", identity.name), "identity", f"{key} {arn.name} belongs to account {arn.account}",
        "only its owner sees whether it is verified and whom its policy lets send", proof_of(identity.name),
    )  # fmt: skip


def on_either(identity: Identity, key: str, arn: IdentityArn, found: EmailIdentity | NotTold) -> Finding:
    """An identity where nobody knows whether it is ours: what our account has by this name settles it."""
    if isinstance(found, EmailIdentity):
        return on_own(identity, key, arn, found)
    mend = f"{proof_of(identity.name)}; or let STS say whose the credentials are"
    if reason_of(found) is Reason.DENIED:
        mend = f"{mend}, or the caller have {allow('ses:GetEmailIdentity', str(arn))}"
    what = f"{key} {arn.name} belongs to account {arn.account}, and whose account is ours is not known"
    return unknown(
        About("identity", identity.name), "identity", f"{what} ({found.detail})",
        "whether we could see if it is verified is not known either", mend,
    )  # fmt: skip


def on_own(identity: Identity, key: str, arn: IdentityArn, found: EmailIdentity | NotTold) -> Finding:
    """An identity of our own account, where we may look at it."""
    about, region = About("identity", identity.name), identity.region
    if isinstance(found, NotTold):
        return _untold(identity, key, arn, found)
    what = f"{key} {arn.name} of our own account in {region}"
    if not found.verified:
        mend = f"{identity_command('get-email-identity', arn.name, region)} shows what is missing"
        status = found.status.lower() or "unknown"
        return bad(about, "identity", f"{what} is not verified (status {status})", _REFUSED, mend)
    if found.broken_mail_from:
        return bad(
            about, "identity", f"{what}: the DNS of its MAIL FROM domain {found.broken_mail_from} is wrong", _REFUSED,
            "publish its MX and SPF records; how it stands is shown by "
            + identity_command("get-email-identity", arn.name, region),
        )  # fmt: skip
    return ok(about, "identity", f"{what} is verified")


def _untold(identity: Identity, key: str, arn: IdentityArn, told: NotTold) -> Finding:
    about, region, reason = About("identity", identity.name), identity.region, reason_of(told)
    if reason is Reason.MISSING:
        return bad(
            about, "identity", f"{key}: our account has no identity {arn.name} in {region}", _REFUSED,
            f"{identity_command('create-email-identity', arn.name, region)}, or name the right one",
        )  # fmt: skip
    mend = proof_of(identity.name)
    if reason is Reason.DENIED:
        mend = f"{mend}; for more, let the caller have {allow('ses:GetEmailIdentity', str(arn))}"
    why = "whether it is verified is not known; mail does not need this permission"
    return unknown(about, "identity", f"{key} {arn.name}: {told.detail}", why, mend)


def on_set(identity: Identity, account: str, found: bool | NotTold) -> Finding:
    """The configuration set: there, and not paused. `found` is whether it may send."""
    about, name, region = About("identity", identity.name), identity.configuration_set, identity.region
    if found is True:
        return ok(about, "configuration set", f"{name} of our account in {region}")
    if found is False:
        return bad(
            about, "configuration set", f"{name} is paused in {region}", _REFUSED,
            f"aws sesv2 put-configuration-set-sending-options --configuration-set-name {name} --sending-enabled "
            f"--region {region}",
        )  # fmt: skip
    if reason_of(found) is Reason.MISSING:
        return bad(
            about, "configuration set", f"our account has no configuration set {name} in {region}", _REFUSED,
            f"aws sesv2 create-configuration-set --configuration-set-name {name} --region {region}; it must be in our "
            "account, not in the owner's",
        )  # fmt: skip
    mend = proof_of(identity.name)
    if reason_of(found) is Reason.DENIED:
        arn = f"arn:{identity.source_arn.partition}:ses:{region}:{account}:configuration-set/{name}"
        mend = f"{mend}; for more, let the caller have {allow('ses:GetConfigurationSet', arn)}"
    why = "whether it exists is not known; mail does not need this permission"
    return unknown(about, "configuration set", f"{name}: {found.detail}", why, mend)
