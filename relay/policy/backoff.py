"""How long to wait before the next attempt: arithmetic, with chance passed in.

While a client waits for its answer (`delivery.hold_s`), trouble that proves that SES has not taken the message
is worth another try after a short pause that doubles: throttling, a refused connection, a 5xx answer. An
answer that was lost is not, since the message may have been sent.
"""

from relay.model import Cause, Deferred

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 4.0
SPREAD = 0.2

_WORTH_ANOTHER_TRY = frozenset({Cause.THROTTLED, Cause.UNAVAILABLE, Cause.NETWORK})


def pause_in_hold(outcome: Deferred, attempts: int, left_s: float, chance: float) -> float | None:
    """Seconds until the next attempt, or None when there should be none before the client is answered.

    `attempts` have been made, `left_s` seconds of the hold are left, `chance` is uniform in 0 to 1.
    """
    if outcome.cause not in _WORTH_ANOTHER_TRY:
        return None
    pause = min(FIRST_PAUSE_S * 2 ** (attempts - 1), LONGEST_PAUSE_S) * (1 - SPREAD + 2 * SPREAD * chance)
    return pause if pause < left_s else None
