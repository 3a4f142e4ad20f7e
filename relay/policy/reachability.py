"""Whether SES is up in a region: what its mail has met there lately, and when only the network can tell.

Owns how long news of mail count. Guarantees that whatever mail has met lately is believed before anything else; that
old news count for nothing, so that nobody who waits for good news before he sends can keep them from coming.

Pure: time in seconds is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

LATELY_S: Final = 60.0  # an answer of SES is that old at most
TROUBLE_S: Final = 180.0  # longer than the longest pause of a way that mail goes on trying, and the attempt after it


@dataclass(frozen=True, slots=True)
class News:
    """What the mail of one pair of credentials and transport has met, and when: negative infinity for never.

    `answered_at` is SES's last answer, yes or no; `troubled_at` the last attempt that got none, or one that says that
    the credentials do not work; `suspended` whether so many of those followed each other that mail waits.
    """

    answered_at: float = -inf
    troubled_at: float = -inf
    suspended: bool = False


def works(news: News, now: float) -> bool | None:
    """Whether mail gets through; None when none was sent lately."""
    if news.suspended and now - news.troubled_at < TROUBLE_S:
        return False
    return True if now - news.answered_at < LATELY_S else None


def is_up(ways: Iterable[News], now: float) -> bool | None:
    """Whether SES takes mail in a region that is used in these ways; one that works will do. None: try idle ones."""
    known = {works(news, now) for news in ways}
    if True in known:
        return True
    return None if None in known else False
