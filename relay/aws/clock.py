"""How far our clock is from that of AWS: SES takes no signature that is more than five minutes off.

Any answer tells, also a refusal, by its Date (RFC 9110 section 6.6.1), so the question needs no keys.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from relay.aws.endpoints import ApiEndpoint
from relay.aws.exchange import Exchange

_HALF_SECOND: Final = timedelta(milliseconds=500)  # Date is cut to whole seconds


async def seconds_ahead(exchange: Exchange, endpoint: ApiEndpoint, clock: Callable[[], datetime]) -> float | None:
    """How many seconds the clock there is ahead of ours; None when the answer has no date. Raises NoAnswer."""
    before = clock()
    answer = await exchange.get(endpoint, [("host", endpoint.host)])
    ours = before + (clock() - before) / 2
    theirs = _date(answer.date)
    return None if theirs is None else (theirs + _HALF_SECOND - ours).total_seconds()


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
