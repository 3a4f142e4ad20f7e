"""How fast recipients may go to SES: one `Bucket` per account and region, in recipients per second.

SES counts recipients, not messages, and permits short bursts (SES developer guide, "Managing your Amazon SES
sending limits"). The bucket earns credit at its rate, at most what half a second earns, so that a burst of ours
leaves as much of SES's own tolerance to the others on the account. A parcel goes when its recipients, or as many
as fit into a full bucket, are there; the rest is debt that delays those that follow, so that 50 recipients can go
at any rate.

The rate follows what SES says. Throttled, it is halved, at most every 2 seconds (what is under way was sent at the
old rate), never below 1 a second; then it recovers by 10 % a second up to the limit, which is the account's quota
or what the configuration says, whichever is lower. While no limit is known, the bucket learns: it starts at 10 a
second and grows by 10 % per second of sending at full rate until SES throttles. Nine tenths of that rate is *good*:
recovery takes it there quickly, and from there growth goes on at 0.5 % per second of sending. A quarter above, the
old knowledge is out of date, and growth is quick again.

Pure: the time is handed in, in seconds of any clock that never goes back.
"""

from __future__ import annotations

from math import exp, log
from typing import Final

START: Final = 10.0  # recipients per second while nothing is known
FLOOR: Final = 1.0
HALVED_EVERY_S: Final = 2.0
RECOVERY: Final = 1.1  # factor per second
BURST_S: Final = 0.5  # how much of the rate may be saved up
SAFE: Final = 0.9  # of the rate at which SES throttled
IN_USE_S: Final = 1.0  # who had to wait so lately shows that the rate is what holds us back
QUICK_STEP: Final = 0.1  # growth per accepted recipient, in recipients per second: 10 % per second at full rate
SLOW_STEP: Final = 0.005
OUTDATED: Final = 1.25  # so far above the good rate, what was learnt there no longer holds

_PER_S: Final = log(RECOVERY)
_ROUNDING: Final = 1e-6  # recipients; clocks and floating point are not finer


class Bucket:
    """The credit, the debt and the rate of one account in one region."""

    __slots__ = ("_good", "_halved_at", "_level", "_limit", "_rate", "_short_at", "_when")

    def __init__(self, now: float, limit: float | None = None) -> None:
        self._rate = START if limit is None else limit
        self._limit = limit
        self._good = 0.0  # the rate that is known to be all right; 0: SES has not throttled yet
        self._halved_at = now - HALVED_EVERY_S
        self._short_at = now - IN_USE_S
        self._level = self._most()
        self._when = now

    def rate(self, now: float) -> float:
        """Recipients per second at this moment; asks only, so that another thread may."""
        return self._rate_after(max(0.0, now - self._when))

    def wait_s(self, recipients: int, now: float, ahead: int = 0) -> float:
        """Seconds until a parcel of so many recipients may go, if as many as `ahead` go before it."""
        self._advance(now)
        missing = ahead + min(recipients, self._most()) - self._level
        if missing <= _ROUNDING:
            return 0.0
        self._short_at = now
        return self._time_for(missing)

    def take(self, recipients: int, now: float) -> None:
        """A parcel goes."""
        self._advance(now)
        self._level -= recipients

    def delivered(self, recipients: int, now: float) -> None:
        """SES has taken a parcel: without a limit, a reason to try a little more if the rate is used up."""
        self._advance(now)
        used_up = now - self._short_at < IN_USE_S
        if self._limit is not None or not used_up or self._rate < self._good:
            return
        step = SLOW_STEP if self._rate < self._good * OUTDATED else QUICK_STEP
        self._rate = min(self._rate + step * recipients, self._rate * RECOVERY)

    def throttled(self, now: float) -> bool:
        """SES says that it was too much; whether that has halved the rate."""
        self._advance(now)
        self._level = min(self._level, 0.0)
        if now - self._halved_at < HALVED_EVERY_S:
            return False
        self._halved_at = now
        self._learn()
        self._rate = max(self._rate / 2, min(self._rate, FLOOR))
        return True

    def permit(self, limit: float | None, now: float) -> None:
        """From now on so many recipients per second are known to be permitted; None: nothing is known any more."""
        self._advance(now)
        if limit == self._limit:
            return
        unhurt = not self._good if self._limit is None else self._rate >= self._limit
        self._good = 0.0
        self._limit = limit
        if limit is not None:
            self._rate = limit if unhurt else min(self._rate, limit)
            self._level = min(self._level, self._most())

    def _learn(self) -> None:
        if self._limit is not None:
            return
        at_best = self._rate >= self._good
        # Throttled on the way up to it, the good rate is in doubt, but one storm must not make us forget it
        self._good = self._rate * SAFE if at_best else (self._good + self._rate) / 2

    def _most(self) -> float:
        return max(1.0, self._rate * BURST_S)

    def _advance(self, now: float) -> None:
        seconds = now - self._when
        if seconds <= 0:
            return
        earned = self._earned(seconds)
        self._rate = self._rate_after(seconds)
        self._level = min(self._level + earned, self._most())
        self._when = now

    # Recovery: the rate grows by the same factor each second until the target

    def _target(self) -> float:
        return max(self._rate, self._good if self._limit is None else self._limit)

    def _recovery_s(self) -> float:
        target = self._target()
        return log(target / self._rate) / _PER_S if self._rate < target else 0.0

    def _rate_after(self, seconds: float) -> float:
        growing = min(seconds, self._recovery_s())
        # Rounding may take it above the target
        return min(self._rate * exp(_PER_S * growing), self._target()) if growing else self._rate

    def _earned(self, seconds: float) -> float:
        """Credit after so many seconds: the integral of the rate."""
        growing = min(seconds, self._recovery_s())
        while_growing = (self._rate_after(growing) - self._rate) / _PER_S if growing else 0.0
        return while_growing + self._target() * (seconds - growing)

    def _time_for(self, credit: float) -> float:
        """Seconds until so much has been earned; the inverse of `_earned`."""
        growing = self._recovery_s()
        while_growing = self._earned(growing)
        if credit < while_growing:
            return log(1 + credit * _PER_S / self._rate) / _PER_S
        return growing + (credit - while_growing) / self._target()
