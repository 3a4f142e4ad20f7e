"""How much an account may send in a region: rate, day's quota, sandbox.

SESv2's GetAccount tells it all, GetSendQuota of v1 the numbers; a principal may be permitted either, or none (SES API
references, both). Numbers count recipients (SES developer guide, "Service quotas").
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from relay.aws.answers import element, load
from relay.aws.asking import Asker, NotTold

_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quota:
    """What SES permits: recipients per second and per 24 hours (infinite if SES says -1), and how many went.

    `production` is false in the sandbox, `enabled` while the account may send, `enforcement` what AWS thinks of it
    (HEALTHY, PROBATION, SHUTDOWN); None where that was not told.
    """

    rate: float
    per_day: float
    sent: float
    production: bool | None = None
    enabled: bool | None = None
    enforcement: str | None = None


async def read_quota(asker: Asker, credentials: str, region: str) -> Quota:
    """The sending limits of the account behind these credentials. Raises NotTold."""
    try:
        return _from_account(await asker.ask("GetAccount", credentials, region))
    except NotTold as first:
        if not first.lasting:
            raise
        try:
            return _from_send_quota(await asker.ask("GetSendQuota", credentials, region))
        except NotTold as second:
            detail, refusal = f"{first.detail}; {second.detail}", second.refusal
            raise NotTold(detail, lasting=second.lasting, refusal=refusal, trouble=second.trouble) from second


def _from_account(body: bytes) -> Quota:
    account = load(body)
    numbers = account.get("SendQuota")
    production, enabled = account.get("ProductionAccessEnabled"), account.get("SendingEnabled")
    enforcement = account.get("EnforcementStatus")
    return replace(
        _quota(numbers if isinstance(numbers, dict) else {}),
        production=production if isinstance(production, bool) else None,
        enabled=enabled if isinstance(enabled, bool) else None,
        enforcement=enforcement if isinstance(enforcement, str) else None,
    )


def _from_send_quota(body: bytes) -> Quota:
    result = element(body.decode("utf-8", "replace"), "GetSendQuotaResult")
    return _quota({name: element(result, name).strip() for name in ("MaxSendRate", "Max24HourSend", "SentLast24Hours")})


def _quota(numbers: dict[str, Any]) -> Quota:
    rate, per_day = _number(numbers.get("MaxSendRate")), _number(numbers.get("Max24HourSend"))
    if rate is None or rate <= 0 or per_day is None:
        raise NotTold("the answer has no quota", lasting=True)
    sent = _number(numbers.get("SentLast24Hours")) or 0.0
    return Quota(rate, per_day if per_day >= 0 else math.inf, sent)


def _number(found: object) -> float | None:
    """A number as JSON or XML has it; the world's largest are cut off rather than infinite."""
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    return float(found) if _NUMBER.fullmatch(str(found)) else None
