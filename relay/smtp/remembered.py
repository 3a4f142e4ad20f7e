"""Logins that were right a short while ago, so that the next one costs no hash.

Owns the marks of right logins for `REMEMBER_S` after their last use, and which user has come from which origin with
which of them. A mark is a keyed hash that `relay.smtp.auth` makes of user, password and stored hash: a changed
password is another mark. Guarantees a bounded size. Decides nothing, and looks at no clock.
"""

from __future__ import annotations

from collections import OrderedDict

REMEMBER_S = 60.0
_MARKS_MOST = 1024
_REGULARS_MOST = 4096


class Remembered:
    """Right logins."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._regulars: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # by origin and user

    def has(self, mark: bytes, now: float) -> bool:
        """Whether this login was right, wherever it came from."""
        return self._until.get(mark, now) > now

    def here(self, origin: str, user: str, now: float) -> bytes | None:
        """The mark of the right login with which this user has come from this origin."""
        mark = self._regulars.get((origin, user))
        return mark if mark is not None and self.has(mark, now) else None

    def keep(self, mark: bytes, origin: str, user: str, now: float) -> None:
        """A login was right; the ones used longest ago are forgotten when there are too many."""
        self._until[mark] = now + REMEMBER_S
        self._until.move_to_end(mark)
        while len(self._until) > _MARKS_MOST:
            self._until.popitem(last=False)
        self._regulars[origin, user] = mark
        self._regulars.move_to_end((origin, user))
        while len(self._regulars) > _REGULARS_MOST:
            self._regulars.popitem(last=False)
