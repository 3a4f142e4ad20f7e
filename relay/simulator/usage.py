"""How much each account has sent in each region: the rolling 24 hours, and the rate of a second.

Source: SES developer guide, "Managing your Amazon SES sending limits": both count recipients, the day is a rolling
window, short bursts above the rate are let through. How SES measures a burst is not documented; here a second's
worth may be saved up, and a message goes when there is room for one recipient, be it of fifty.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

DAY: Final = timedelta(hours=24)
_GRAIN_S: Final = 60  # sends of a minute are kept as one number
_ALMOST: Final = 1e-6  # seconds are not exact


@dataclass(slots=True)
class _Meter:
    """One account in one region."""

    sent: int = 0
    minutes: deque[tuple[int, int]] = field(default_factory=deque)  # (minute, recipients)
    level: float | None = None
    at: float = 0.0


class Usage:
    """Counts recipients by account and region; time is passed in and may not run backwards."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], _Meter] = {}

    def sent(self, account: str, region: str, now: datetime) -> int:
        """Recipients of the last 24 hours, to the minute."""
        meter = self._meter(account, region)
        _forget(meter, now)
        return meter.sent

    def room(self, account: str, region: str, rate: float, now: datetime) -> bool:
        """Whether the rate, in recipients per second, has room for another message now."""
        return _level(self._meter(account, region), rate, now) >= 1 - _ALMOST

    def count(self, account: str, region: str, rate: float, recipients: tuple[str, ...], now: datetime) -> None:
        """A message has been taken: all its recipients count for the rate, but for the quota only `towards_quota`."""
        meter = self._meter(account, region)
        more = towards_quota(recipients)
        meter.level = _level(meter, rate, now) - len(recipients)
        meter.at = now.timestamp()
        minute = int(now.timestamp() // _GRAIN_S)
        if meter.minutes and meter.minutes[-1][0] == minute:
            meter.minutes[-1] = (minute, meter.minutes[-1][1] + more)
        else:
            meter.minutes.append((minute, more))
        meter.sent += more
        _forget(meter, now)

    def clear(self) -> None:
        """Nobody has sent anything."""
        self._meters.clear()

    def _meter(self, account: str, region: str) -> _Meter:
        return self._meters.setdefault((account, region), _Meter())


def is_mailbox_simulator(address: str) -> bool:
    """Whether it is of SES's mailbox simulator, which everybody may send to (SES developer guide, "Testing")."""
    return address.lower().endswith("@simulator.amazonses.com")


def towards_quota(recipients: tuple[str, ...]) -> int:
    """How many of them count towards the quota of 24 hours: not those of the mailbox simulator."""
    return sum(not is_mailbox_simulator(address) for address in recipients)


def _level(meter: _Meter, rate: float, now: datetime) -> float:
    """What may be sent at once: a second's worth, at least one recipient, at most."""
    most = max(rate, 1.0)
    if meter.level is None:
        return most
    return min(most, meter.level + max(0.0, now.timestamp() - meter.at) * rate)


def _forget(meter: _Meter, now: datetime) -> None:
    oldest = (now - DAY).timestamp() // _GRAIN_S
    while meter.minutes and meter.minutes[0][0] < oldest:
        meter.sent -= meter.minutes.popleft()[1]
