"""The words by which the queue finds parcels that go the same way: its lanes.

Mail waits in the lane of its identity. What one client sends as one sender, and SES refuses, waits in a lane of its
own below that one, so that it keeps nobody else's mail from going.
"""

from __future__ import annotations

from typing import Final

BELOW: Final = "\x1f"  # a unit separator: in no name of an identity, no address


def lane_below(identity: str, client: str, sender: str) -> str:
    """The lane for what one client sends as one sender of an identity."""
    return BELOW.join((identity, client, sender))


def identity_of(lane: str) -> str:
    """The identity whose mail waits in a lane."""
    return lane.partition(BELOW)[0]


def is_below(lane: str, other: str) -> bool:
    """Whether the other lane is the one above this."""
    return lane.startswith(other + BELOW)


def words_of(lane: str) -> tuple[str, ...]:
    """A lane and the one above it, if there is one."""
    identity = identity_of(lane)
    return (identity,) if identity == lane else (identity, lane)
