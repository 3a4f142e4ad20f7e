"""How it stands between one account and SES in one region: what answers have taught, and what follows from it.

Owns the pace, the daily quota and, for each pair of credentials and transport, whether it is suspended; and says so
in the log when one of them changes. Guarantees that only throttling, the daily quota, and trouble that three
different messages in a row have met, with connections, credentials or an SES that gives no sensible answer, slow or
stop anything: whatever else SES answers to one message is that message's own affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from relay import replies
from relay.model import Cause, Deferred, Delivered, Outcome, Parcel, TransportName
from relay.observe.log import Journal
from relay.policy.pacing import Bucket
from relay.policy.reachability import News
from relay.policy.suspension import DAILY_QUOTA, OUTAGE, Suspension

TOLD_EVERY_S: Final = 60.0  # slowed again and again says so no more often

_OUTAGE: Final = frozenset(
    {Cause.NETWORK, Cause.TLS, Cause.CREDENTIALS, Cause.UNAVAILABLE, Cause.LOST_ANSWER, Cause.NOT_SES}
)
_SAYS_NOTHING: Final = frozenset({Cause.OUR_FAULT, Cause.RULES})


@dataclass(slots=True)
class _Way:
    """One pair of credentials and transport; `queued` recipients wait for it."""

    outage: Suspension = field(default_factory=lambda: Suspension(OUTAGE))
    queued: int = 0
    answered_at: float = -inf
    troubled_at: float = -inf

    def heard(self, now: float, *, well: bool) -> None:
        """An attempt has shown whether the way works."""
        if well:
            self.answered_at = now
        else:
            self.troubled_at = now


class Conditions:
    """What holds for one account and region.

    Args:
        name: of the credentials, for the log.
        region: of SES.
        journal: hears of changes.
        chance: uniform in 0 to 1, for the length of pauses.
        now: seconds, as in all methods.
        rate: recipients per second, None to learn it.
    """

    def __init__(
        self, name: str, region: str, journal: Journal, chance: Callable[[], float], now: float, rate: float | None
    ) -> None:
        self._name, self._region, self._journal, self._chance = name, region, journal, chance
        self._bucket = Bucket(now, rate)
        self._quota = Suspension(DAILY_QUOTA)
        self._ways: dict[tuple[str, str], _Way] = {}
        self._told_at = -inf

    def rate(self, now: float) -> float:
        """Recipients per second."""
        return self._bucket.rate(now)

    def permit(self, rate: float | None, now: float) -> None:
        """So many recipients per second are permitted; None: that is not known."""
        self._bucket.permit(rate, now)

    def absorb(self, other: Conditions) -> None:
        """`other` turned out to be about the same account: its credentials keep their outages."""
        self._ways |= other._ways

    # Before an attempt

    def queue(self, parcel: Parcel, change: int) -> None:
        """The parcel's recipients begin (1) or cease (-1) to wait."""
        self._way(parcel).queued += change * len(parcel.recipients)

    def queued(self) -> int:
        """Recipients that wait and may go before whoever comes now."""
        return sum(way.queued for way in self._ways.values() if way.outage.reason is None)

    def news(self, credentials: str, transport: TransportName) -> News:
        """What the attempts with these credentials have met."""
        way = self._ways.get((credentials, transport))
        return News() if way is None else News(way.answered_at, way.troubled_at, way.outage.reason is not None)

    def is_suspended(self, parcel: Parcel) -> bool:
        """Whether the parcel's credentials and transport do not work at the moment."""
        return self._way(parcel).outage.reason is not None

    def asked_last(self, parcel: Parcel) -> bool:
        """Whether another sender's mail is to be the next probe, if there is any."""
        return self._way(parcel).outage.asked_last(parcel)

    def refusal(self, parcel: Parcel, give_up: float, ahead: int, now: float) -> Deferred | None:
        """Why the parcel cannot go before `give_up`, if that is certain; `ahead` recipients go before it."""
        give_up = max(give_up, now)  # with a hold of 0 there is no waiting, but an attempt
        for suspension in (self._quota, self._way(parcel).outage):
            if suspension.reason and give_up < suspension.opens_at < inf:
                return suspension.reason
        wait_s = self._bucket.wait_s(len(parcel.recipients), now, ahead)
        return self._too_fast(now) if now + wait_s > give_up else None

    def expired(self, parcel: Parcel, now: float) -> Deferred:
        """What the parcel hears whose time is up while it waits."""
        return self._quota.reason or self._way(parcel).outage.reason or self._too_fast(now)

    def opens_at(self, parcel: Parcel) -> float:
        """When the parcel may go for all that SES's troubles say; infinite while a probe is under way."""
        return max(self._quota.opens_at, self._way(parcel).outage.opens_at)

    def wait_s(self, parcel: Parcel, now: float) -> float:
        """Seconds until the parcel may go for all that the pace says."""
        return self._bucket.wait_s(len(parcel.recipients), now)

    def begin(self, parcel: Parcel, now: float) -> None:
        """The parcel goes."""
        self._bucket.take(len(parcel.recipients), now)
        self._quota.begin(parcel)
        self._way(parcel).outage.begin(parcel)

    # After an attempt

    def learn(self, parcel: Parcel, outcome: Outcome | None, now: float) -> bool:
        """An attempt has ended, without an outcome if it was cancelled; whether others must wait longer for it."""
        if isinstance(outcome, Delivered):
            self._bucket.delivered(len(parcel.recipients), now)
        slower = self._slow_down(outcome, now)
        way, well = self._way(parcel), _gets_through(outcome)
        if well is not None:
            way.heard(now, well=well)
        down = self._settle(way.outage, parcel, outcome, now, well=well)
        used_up = self._settle(self._quota, parcel, outcome, now, well=_has_quota(outcome))
        return slower or down or used_up

    def _slow_down(self, outcome: Outcome | None, now: float) -> bool:
        if not isinstance(outcome, Deferred) or outcome.cause is not Cause.THROTTLED:
            return False
        halved = self._bucket.throttled(now)
        if halved and now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            self._journal.slowed(self._name, self._region, self.rate(now), outcome.detail)
        return halved

    def _settle(
        self, suspension: Suspension, parcel: Parcel, outcome: Outcome | None, now: float, *, well: bool | None
    ) -> bool:
        """Tell a suspension whether the outcome is good news, bad news or none; whether it lasts longer now."""
        before = suspension.reason
        if isinstance(outcome, Deferred) and well is False:
            longer = suspension.trouble(parcel, _to_others(outcome), now, self._chance())
            if longer and before is None:
                self._journal.paused(parcel, outcome)
            return longer
        if well is None:
            suspension.unknown(parcel)
        elif suspension.answered(parcel) and before:
            self._journal.resumed(parcel, before)
        return False

    def _way(self, parcel: Parcel) -> _Way:
        key = parcel.credentials, parcel.transport
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = _Way()
        return way

    def _too_fast(self, now: float) -> Deferred:
        detail = f"no turn within hold_s at {self.rate(now):.3g} recipients per second, {self.queued()} waiting"
        return Deferred(replies.SENDING_AT_LIMIT, Cause.PACE, detail, tried=False)


def _to_others(outcome: Deferred) -> Deferred:
    """What those hear that are not tried, because of what one has met; of them SES has nothing."""
    detail = f"not tried, because of: {outcome.detail}"
    if outcome.cause is Cause.LOST_ANSWER:
        return Deferred(replies.SES_GIVES_NO_ANSWERS, Cause.NETWORK, detail, tried=False)
    return replace(outcome, detail=detail, tried=False)


def _gets_through(outcome: Outcome | None) -> bool | None:
    """Whether the way to SES works: any answer is one, even no."""
    if outcome is None or (isinstance(outcome, Deferred) and (not outcome.tried or outcome.cause in _SAYS_NOTHING)):
        return None
    return not isinstance(outcome, Deferred) or outcome.cause not in _OUTAGE


def _has_quota(outcome: Outcome | None) -> bool | None:
    """Whether the day's quota lasts; what SES refuses for another reason may have been refused before it counted."""
    if isinstance(outcome, Delivered):
        return True
    return False if isinstance(outcome, Deferred) and outcome.cause is Cause.QUOTA else None
