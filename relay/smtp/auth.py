"""Logins: passwords against argon2 hashes, off the event loop, and against guessing.

Owns what is known of logins: the hashes, a short memory of those that were right (as keyed hashes, never the
password), and the failures of each address. Guarantees that a wrong password, an unknown user and a forgotten
one take the same time and get the same answer; that guessing is slowed for each failure and stopped for a while
after `FAILURES_MOST` within `FAILURES_S`; that at most `CHECKS_AT_ONCE` hashes are computed, since each takes
tens of megabytes. Refuses to answer what it could not check: that is `AuthTrouble`, a 454, never a 535.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

REMEMBER_S = 60.0
REMEMBERED_MOST = 1024
CHECKS_AT_ONCE = 2
SLOWDOWN_S = (0.5, 1.0, 2.0, 4.0)  # for the first failure of an address, the second, ...; the last repeats
FAILURES_MOST = 20
FAILURES_S = 600.0
_ADDRESSES_MOST = 4096

_HASHER = PasswordHasher()


class AuthTrouble(Exception):
    """A login could not be checked; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def hash_password(password: str) -> str:
    """An argon2id hash for `users`, with the parameters that argon2-cffi recommends (RFC 9106)."""
    return _HASHER.hash(password)


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from; `now` in seconds, monotonic."""

    now: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Failures:
    """When logins from one address failed, within the last FAILURES_S."""

    times: deque[float] = field(default_factory=deque)

    def recent(self, now: float) -> int:
        while self.times and self.times[0] <= now - FAILURES_S:
            self.times.popleft()
        return len(self.times)


class Logins:
    """Checks user names and passwords; one per relay, `change` swaps the users on reload."""

    def __init__(self, users: Mapping[str, str], clock: Clock) -> None:
        self._users = dict(users)
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    def __bool__(self) -> bool:
        """Whether there is anybody who could log in."""
        return bool(self._users)

    def change(self, users: Mapping[str, str]) -> None:
        """Hold to other users from the next login on; what is remembered of the old hashes is not asked any more."""
        self._users = dict(users)

    async def check(self, user: str, password: bytes, address: str) -> bool:
        """Whether this is the user's password; a wrong one is answered late. Raises AuthTrouble."""
        failures = self._of(address)
        if failures.recent(self._clock.now()) >= FAILURES_MOST:
            raise AuthTrouble(f"{FAILURES_MOST} failed logins from {address} within {FAILURES_S:.0f} s")
        if await self._is_right(user, password):
            return True
        failures.times.append(self._clock.now())
        await self._clock.pause(SLOWDOWN_S[min(len(failures.times), len(SLOWDOWN_S)) - 1])
        return False

    async def _is_right(self, user: str, password: bytes) -> bool:
        stored = self._users.get(user)
        mark = self._mark(user, password, stored or "")
        if stored is not None and self._remembers(mark):
            return True
        async with self._checks:
            right = await asyncio.to_thread(_verify, stored or _decoy(), password)
        if right and stored is not None:
            self._remember(mark)
            return True
        return False

    def _mark(self, user: str, password: bytes, stored: str) -> bytes:
        """What is remembered of a login that was right; useless without this process's key."""
        parts = (user.encode("utf-8", "surrogateescape"), password, stored.encode())
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, "sha256")

    def _remembers(self, mark: bytes) -> bool:
        until = self._remembered.get(mark)
        return until is not None and self._clock.now() < until

    def _remember(self, mark: bytes) -> None:
        self._remembered[mark] = self._clock.now() + REMEMBER_S
        self._remembered.move_to_end(mark)
        while len(self._remembered) > REMEMBERED_MOST:
            self._remembered.popitem(last=False)

    def _of(self, address: str) -> _Failures:
        failures = self._failures.setdefault(address, _Failures())
        self._failures.move_to_end(address)
        while len(self._failures) > _ADDRESSES_MOST:
            self._failures.popitem(last=False)
        return failures


@lru_cache(maxsize=1)
def _decoy() -> str:
    """A hash that no password fits, so that unknown users cost as much time as known ones."""
    return _HASHER.hash(secrets.token_bytes(32))


def _verify(stored: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, Argon2Error) as error:
        raise AuthTrouble(f"a hash cannot be checked: {type(error).__name__}") from error
