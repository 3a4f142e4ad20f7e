"""Verdicts on an entry of `credentials`: are there keys, and whose are they? Pure."""

from __future__ import annotations

import re
from shlex import quote
from typing import Final

from relay.aws.asking import NotTold
from relay.aws.identity_of import Caller
from relay.aws.keys import CredentialTrouble, Keys
from relay.doctor.findings import About, Finding, bad, ok, unknown
from relay.doctor.reasons import Reason, blames_pair, reason_of, wrong_part
from relay.doctor.remedies import allow, lasting, trust
from relay.settings.model import CredentialSource

_NO_KEYS: Final = "without keys no request can be signed: mail with these credentials is put off with a 451"
_CHAIN: Final = (
    "give the relay's process AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a role of its task, pod or instance, or an "
    "AWS_PROFILE; or name another entry of credentials in the identity"
)
_USER: Final = re.compile(r"User: (arn:\S+)")


def on_keys(source: CredentialSource, found: Keys | CredentialTrouble) -> Finding:
    """Whether there are keys."""
    about = About("credentials", source.name)
    if isinstance(found, Keys):
        kind = "temporary key" if found.token else "key"
        return ok(about, "keys", f"{kind} {found.access_key}, from {_origin(source)}")
    if not source.signs_api_calls:
        return ok(about, "keys", "an SMTP login only; AWS cannot be asked anything with it")
    return bad(about, "keys", found.detail, _NO_KEYS, _remedy(source, found))


def _origin(source: CredentialSource) -> str:
    if source.assume_role:
        return f"{source.assume_role}, assumed by {source.source}"
    if source.access_key_id:
        return "the configuration"
    return f"the profile {source.profile}" if source.profile else "boto3's chain"


def _remedy(source: CredentialSource, trouble: CredentialTrouble) -> str:
    if source.assume_role and blames_pair(trouble.code):
        return f"STS does not accept the keys of credentials {source.source}: see what is said of them"
    if source.assume_role and trouble.code:
        return _role_remedy(source, trouble)
    if source.assume_role:
        return f"see what is said of credentials {source.source}, and whether STS can be reached from here"
    if source.profile:
        return f"aws configure --profile {quote(source.profile)}, as the user that the relay runs as"
    return _CHAIN


def _role_remedy(source: CredentialSource, trouble: CredentialTrouble) -> str:
    named = _USER.search(trouble.detail)
    caller = lasting(named[1]) if named else "ACCOUNT_OR_ARN"
    return (
        f"the trust policy of {source.assume_role} must have {trust(caller, source.external_id)}, and the caller's IAM "
        f"policy {allow('sts:AssumeRole', str(source.assume_role))}; external_id must be what the role's owner asks for"
    )


def on_caller(source: CredentialSource, found: Caller | NotTold, *, belongs: bool) -> Finding:
    """Whose keys they are; `belongs`: STS is that of SES, and not AWS's while SES is at `ses.api_endpoint`."""
    about = About("credentials", source.name)
    if isinstance(found, Caller):
        return ok(about, "caller", f"account {found.account}, {found.arn}")
    reason = reason_of(found)
    if reason in (Reason.KEYS, Reason.ENDED) and not belongs:
        return unknown(
            about, "caller", found.detail, "this is AWS's STS, but SES is at ses.api_endpoint, and may know the keys",
            "name the STS that belongs to it by AWS_ENDPOINT_URL_STS; where SES refuses them too (see what is said of "
            "the account), the access key id or its secret is wrong",
        )  # fmt: skip
    if reason is Reason.KEYS:
        return bad(
            about, "caller", found.detail, "keys that AWS does not accept sign no mail",
            f"{wrong_part(found)}: correct the keys from {_origin(source)}; aws iam create-access-key --user-name "
            "USER makes new ones",
        )  # fmt: skip
    if reason in _REFUSED:
        why, mend = _REFUSED[reason]
        return bad(about, "caller", found.detail, why, mend.format(origin=_origin(source)))
    return unknown(
        about, "caller", found.detail, "who the relay is could not be learnt; mail does not need STS for that",
        "let this machine reach STS of the region by HTTPS, or name its endpoint by AWS_ENDPOINT_URL_STS",
    )  # fmt: skip


_REFUSED: Final = {
    Reason.ENDED: (
        "temporary keys have ended, so SES takes no mail signed with them",
        "renew the keys from {origin}; keys of a role are renewed by themselves (assume_role, or boto3's chain)",
    ),
    Reason.CLOCK: (
        "AWS takes no signature that is several minutes off",
        "set the clock of this machine: timedatectl set-ntp true, or its container host's",
    ),
}
