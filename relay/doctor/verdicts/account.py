"""Verdicts on what an account may send in a region: paused, sandbox, day's quota, rate. Pure.

Sources: SES API v2 reference, GetAccount; SES developer guide, "Service quotas" and "Moving out of the sandbox".
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Final

from relay.aws.asking import NotTold
from relay.aws.quota import Quota
from relay.doctor.findings import About, Finding, bad, ok, unknown, warning
from relay.doctor.reasons import Reason, reason_of, wrong_part
from relay.doctor.remedies import allow

NEARLY: Final = 0.8  # of the day's quota
_SANDBOX: Final = (1.0, 200.0)  # recipients per second and day

_BLIND: Final = "sandbox, pauses and quota of the account are not known; mail does not need this permission"
_BOXED: Final = "in the sandbox SES takes mail only for verified recipients and its own simulator, 200 a day"


def on_account(about: About, region: str, found: Quota | NotTold, max_rate: float | None) -> Iterator[Finding]:
    """All that is to be said of an account; `max_rate` is the configured ceiling, recipients per second."""
    if isinstance(found, NotTold):
        yield _untold(about, found)
        return
    yield _on_sending(about, region, found)
    yield _on_sandbox(about, region, found)
    yield _on_day(about, region, found)
    yield _on_rate(about, found, max_rate)


def not_asked(about: About, name: str) -> Finding:
    """Nothing was asked, for want of keys."""
    return unknown(
        about, "account", f"not asked: credentials {name} have no keys that work",
        "sandbox, pauses and quota of the account are not known", f"see what is said of credentials {name}",
    )  # fmt: skip


def cannot_ask(about: About) -> Finding:
    """Nothing can be asked by an SMTP login, and nothing is wrong with that."""
    return unknown(
        about, "account", "not asked: an SMTP login cannot ask anything", _BLIND,
        "nothing needs to be mended; with access_key_id and secret_access_key instead, it could be asked",
    )  # fmt: skip


def _untold(about: About, told: NotTold) -> Finding:
    reason = reason_of(told)
    if reason is Reason.KEYS:
        return bad(about, "account", told.detail, "SES takes no mail signed with these keys", _for_right_keys(told))
    if reason in _REFUSED:
        return bad(about, "account", told.detail, *_REFUSED[reason])
    mend = _for_more() if reason is Reason.DENIED else "try again; see what is said of the credentials and the region"
    return unknown(about, "account", told.detail, _BLIND, mend)


_REFUSED: Final = {
    Reason.NOT_SUBSCRIBED: ("SES takes no mail from it", "sign up for SES, or enable the region in the account"),
    Reason.ENDED: ("SES takes no mail signed with these keys", "renew them: temporary keys end"),
    Reason.CLOCK: ("SES takes no signature that is more than five minutes off", "see what is said of the clock"),
}


def _on_sending(about: About, region: str, quota: Quota) -> Finding:
    if quota.enforcement == "SHUTDOWN":
        what = "AWS has stopped the sending of the account"
        return bad(about, "sending", what, "SES takes no mail from it", "answer the case in the AWS Support Center")
    if quota.enabled is False:
        mend = f"aws sesv2 put-account-sending-attributes --sending-enabled --region {region}"
        return bad(about, "sending", "the sending of the account is paused", "SES takes no mail from it", mend)
    if quota.enforcement == "PROBATION":
        what, why = "the account is under review", "AWS may stop its sending, for bounces or complaints"
        return warning(
            about, "sending", what, why, "see the reputation dashboard of SES and the mail from AWS about it"
        )
    if quota.enabled is None:
        return unknown(about, "sending", "whether it is paused was not told", _BLIND, _for_more())
    return ok(about, "sending", "enabled")


def _on_sandbox(about: About, region: str, quota: Quota) -> Finding:
    mend = (
        f"aws sesv2 put-account-details --production-access-enabled --mail-type TRANSACTIONAL --website-url URL "
        f"--region {region}"
    )
    if quota.production is False:
        return bad(about, "sandbox", "the account is in the sandbox", _BOXED, mend)
    if quota.production:
        return ok(about, "sandbox", "the account is out of it")
    if (quota.rate, quota.per_day) == _SANDBOX:
        return warning(about, "sandbox", "by its quota the account is in the sandbox", _BOXED, mend)
    return unknown(about, "sandbox", "whether the account is in it was not told", _BOXED, _for_more())


def _on_day(about: About, region: str, quota: Quota) -> Finding:
    if not isfinite(quota.per_day):
        return ok(about, "quota", f"unlimited; {quota.sent:,.0f} recipients in the last 24 hours")
    what = f"{quota.sent:,.0f} of {quota.per_day:,.0f} recipients in the last 24 hours"
    mend = (
        "ask for more: aws service-quotas request-service-quota-increase --service-code ses --region "
        f"{region} --quota-code CODE --desired-value RECIPIENTS (list-service-quotas shows the code)"
    )
    if quota.sent >= quota.per_day:
        why = "SES takes no more until some of it is older than a day; mail is put off with a 451"
        return bad(about, "quota", what, why, mend)
    if quota.sent >= NEARLY * quota.per_day:
        return warning(about, "quota", what, "when it is used up, mail is put off with a 451", mend)
    return ok(about, "quota", what)


def _on_rate(about: About, quota: Quota, max_rate: float | None) -> Finding:
    what = f"{quota.rate:g} recipients per second"
    if max_rate is not None and max_rate > quota.rate:
        why = "the relay keeps to the smaller one, so that mail waits although ses.max_rate permits it"
        return warning(
            about, "rate", f"{what}, and ses.max_rate is {max_rate:g}", why, "set ses.max_rate: auto, or ask for more"
        )
    return ok(about, "rate", what)


def _for_right_keys(told: NotTold) -> str:
    return f"{wrong_part(told)}: correct them where these credentials have them from, or make new ones"


def _for_more() -> str:
    return f"let the caller have {allow('ses:GetAccount')}"
