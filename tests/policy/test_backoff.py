"""Another attempt while the client waits: only where that is safe, and only while there is time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Cause, Deferred, Reply
from relay.policy.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, SPREAD, pause_in_hold


def deferred(cause: Cause) -> Deferred:
    return Deferred(Reply(451, "4.0.0", "x"), cause, "x")


@pytest.mark.parametrize("cause", [Cause.THROTTLED, Cause.UNAVAILABLE, Cause.NETWORK])
def test_trouble_that_proves_that_nothing_was_sent_is_worth_another_try(cause: Cause) -> None:
    assert pause_in_hold(deferred(cause), 1, 5.0, 0.5) == FIRST_PAUSE_S


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.THROTTLED, Cause.UNAVAILABLE, Cause.NETWORK}))
def test_everything_else_is_not_and_a_lost_answer_least_of_all(cause: Cause) -> None:
    assert pause_in_hold(deferred(cause), 1, 1000.0, 0.5) is None


@given(st.integers(1, 60), st.floats(0, 100), st.floats(0, 1))
def test_pauses_end_before_the_hold_does_and_have_a_bound(attempts: int, left_s: float, chance: float) -> None:
    pause = pause_in_hold(deferred(Cause.THROTTLED), attempts, left_s, chance)
    assert pause is None or 0 < pause < left_s
    assert pause is None or pause <= LONGEST_PAUSE_S * (1 + SPREAD) * 1.001
