"""What mail has met lately says whether SES is up; what it met long ago says nothing."""

import pytest

from relay.policy.reachability import LATELY_S, TROUBLE_S, News, is_up, works
from relay.policy.suspension import OUTAGE, SPREAD

NOW = 1000.0
WELL = News(answered_at=NOW - 1)
DOWN = News(troubled_at=NOW - 1, suspended=True)
IDLE = News()


@pytest.mark.parametrize(
    ("news", "verdict"),
    [
        pytest.param(IDLE, None, id="never used"),
        pytest.param(WELL, True, id="answered"),
        pytest.param(News(answered_at=NOW - LATELY_S + 0.1), True, id="answered lately"),
        pytest.param(News(answered_at=NOW - LATELY_S), None, id="answered long ago"),
        pytest.param(News(NOW - 5, NOW - 1), True, id="one trouble after an answer"),
        pytest.param(News(troubled_at=NOW - 1), None, id="one trouble, and never an answer"),
        pytest.param(News(NOW - 5, NOW - 1, suspended=True), False, id="suspended after an answer"),
        pytest.param(News(NOW - 1, NOW - 5, suspended=True), False, id="an answer that ended no suspension"),
        pytest.param(News(troubled_at=NOW - TROUBLE_S + 0.1, suspended=True), False, id="tried lately"),
        pytest.param(News(troubled_at=NOW - TROUBLE_S, suspended=True), None, id="suspended, and nobody tries"),
    ],
)
def test_a_way_works_by_its_latest_news(news: News, verdict: bool | None) -> None:
    assert works(news, NOW) is verdict


@pytest.mark.parametrize(
    ("ways", "verdict"),
    [
        pytest.param([WELL, DOWN, IDLE], True, id="one works"),
        pytest.param([DOWN, IDLE], None, id="one is idle"),
        pytest.param([DOWN, DOWN], False, id="none works"),
        pytest.param([IDLE], None, id="all are idle"),
    ],
)
def test_a_region_is_up_if_one_way_works(ways: list[News], verdict: bool | None) -> None:
    """One application's wrong key is not the region's trouble."""
    assert is_up(ways, NOW) is verdict


def test_what_mail_goes_on_trying_is_never_called_idle() -> None:
    """Else a proxy that lets connections through, but no mail, would be up between two attempts."""
    assert OUTAGE.longest_s * (1 + SPREAD) < TROUBLE_S
