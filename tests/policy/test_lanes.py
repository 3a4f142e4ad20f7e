"""The words of lanes: an identity's, and that of what one client sends as one sender below it."""

from __future__ import annotations

import pytest

from relay.policy.lanes import identity_of, lane_below, words_of


@pytest.mark.parametrize(
    ("client", "sender"), [("shop", "x@example.com"), ("", "mailer-daemon@example.com"), ("shop", ""), ("", "")]
)
def test_a_lane_below_is_below_its_identity_and_no_others(client: str, sender: str) -> None:
    """Also for the relay's own mail, and for bounces."""
    lane = lane_below("example.com", client, sender)

    assert identity_of(lane) == "example.com"
    assert words_of(lane) == ("example.com", lane)


def test_an_identity_stands_below_none() -> None:
    assert identity_of("example.com") == "example.com"
    assert words_of("example.com") == ("example.com",)


def test_clients_and_senders_are_told_apart() -> None:
    pairs = [("a", "b"), ("ab", ""), ("", "ab"), ("a", "B"), ("A", "b")]

    assert len({lane_below("example.com", *pair) for pair in pairs}) == len(pairs)
