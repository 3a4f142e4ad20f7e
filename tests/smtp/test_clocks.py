"""Deadlines are arithmetic."""

import pytest

from relay import replies
from relay.smtp.clocks import SLOW_START_GRACE_S, Deadline, SessionLimits, between_messages, inside_data

LIMITS = SessionLimits(idle_s=300, data_s=600, data_bytes_per_s=500, session_s=1800)


@pytest.mark.parametrize(
    ("opened", "last_byte", "when"), [(0, 0, 300), (0, 100, 400), (0, 1700, 1800), (1000, 1000, 1300)]
)
def test_between_messages_idle_time_and_session_length_count(opened: float, last_byte: float, when: float) -> None:
    assert between_messages(LIMITS, opened, last_byte) == Deadline(when, replies.IDLE)


@pytest.mark.parametrize(
    ("last_byte", "received", "deadline"),
    [
        (0, 0, Deadline(SLOW_START_GRACE_S, replies.TOO_SLOW)),
        (10, 5_000, Deadline(SLOW_START_GRACE_S + 10, replies.TOO_SLOW)),
        (100, 1_000_000, Deadline(400, replies.IDLE)),
        (590, 1_000_000, Deadline(600, replies.TOO_SLOW)),
    ],
)
def test_inside_data_the_nearest_of_rate_idle_and_whole_counts(
    last_byte: float, received: int, deadline: Deadline
) -> None:
    assert inside_data(LIMITS, 0, last_byte, received) == deadline


def test_a_rate_of_zero_asks_for_none() -> None:
    limits = SessionLimits(idle_s=300, data_s=600, data_bytes_per_s=0, session_s=1800)
    assert inside_data(limits, 0, 0, 0) == Deadline(300, replies.IDLE)
