"""Verdicts on the way to SES in a region: its API endpoint, and our clock beside AWS's. Pure."""

from __future__ import annotations

from typing import Final

from relay.aws.exchange import NoAnswer
from relay.doctor.findings import About, Finding, bad, ok, unknown, warning
from relay.policy.outcomes import Trouble

TOLERATED_S: Final = 300.0  # SES takes no signature that is further off
NOTEWORTHY_S: Final = 60.0
AGREEING_S: Final = 2.0

_SET_CLOCK: Final = "set the clock of this machine: timedatectl set-ntp true, or its container host's"
_REMEDIES: Final = {
    Trouble.DNS: "see whether SES is in that region and whether names are resolved here; behind a proxy, HTTPS_PROXY",
    Trouble.TLS: "name the authority of whatever stands between by AWS_CA_BUNDLE=FILE",
    Trouble.PROXY: "see HTTPS_PROXY and NO_PROXY",
}
_OPEN: Final = "let HTTPS out to it, name a proxy by HTTPS_PROXY, or a VPC endpoint by ses.api_endpoint"


def on_endpoint(region: str, url: str, trouble: NoAnswer | None, *, needed: bool) -> Finding:
    """Whether the API can be reached; `needed` if mail goes by it, and not only the doctor's questions."""
    about = About("region", region)
    if trouble is None:
        return ok(about, "endpoint", f"{url} answers")
    what = f"{url}: {trouble.detail}"
    mend = _REMEDIES.get(trouble.trouble, _OPEN)
    if needed:
        return bad(about, "endpoint", what, "mail of this region goes by the API: it is put off with a 451", mend)
    return unknown(about, "endpoint", what, "mail of this region goes by SMTP; only questions cannot be asked", mend)


def on_clock(region: str, ahead_s: float | None, *, needed: bool) -> Finding:
    """Whether our clock is right, by the clock of SES; `needed` if requests are signed."""
    about = About("region", region)
    if ahead_s is None:
        return unknown(
            about, "clock", "the answer has no date", "signatures must not be more than five minutes off", _SET_CLOCK
        )
    what = f"ours is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead of'} that of SES"
    if abs(ahead_s) < AGREEING_S:
        return ok(about, "clock", "ours agrees with that of SES")
    if abs(ahead_s) < NOTEWORTHY_S:
        return ok(about, "clock", what)
    if abs(ahead_s) < TOLERATED_S or not needed:
        return warning(about, "clock", what, "from five minutes on SES takes no signature", _SET_CLOCK)
    return bad(about, "clock", what, "SES takes no signature that is more than five minutes off", _SET_CLOCK)
