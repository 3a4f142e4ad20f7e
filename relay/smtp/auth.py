"""Logins: passwords against argon2 hashes, off the event loop, and against guessing.

Owns the hashes, and decides what is checked and what is answered without. Guarantees that a wrong password, an
unknown user and a forgotten one take the same time and get the same answer; that at most `CHECKS_AT_ONCE` hashes are
computed ever, since each takes tens of megabytes, in turn between origins (`relay.smtp.guesses`); that a check which
was begun is noted whether or not anybody still waits for it; that one origin gets at most `FAILURES_MOST` different
wrong logins checked within `FAILURES_S`, those under way included, and `CHECKS_EACH` at the same time.

An origin with too many of either hears `TooManyLogins`, right password or not. Only a login that was right from there
a short while ago passes, as long as not more than `LOOKS_MOST` others have been tried on its user meanwhile: without
that end, the exception would answer guesses for nothing. Refuses to answer what it could not check: that is
`AuthTrouble`, a 454, never a 535.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

from relay.smtp.guesses import FAILURES_S, Guesses, Record, origin_of
from relay.smtp.remembered import Remembered
from relay.smtp.turns import Turns

CHECKS_AT_ONCE = 2
CHECKS_EACH = 8  # under way for one origin, waiting ones included
CHECKS_MOST = 256  # under way for all of them
SLOWDOWN_S = (0.5, 1.0, 2.0, 4.0)  # for the first wrong login of an origin, the second, ...; the last repeats
FAILURES_MOST = 20
LOOKS_MOST = 20

_HASHER = PasswordHasher()


class AuthTrouble(Exception):
    """A login could not be checked; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyLogins(AuthTrouble):
    """A login was not checked, because of others from the same origin or because of how many there are in all."""


def hash_password(password: str) -> str:
    """An argon2id hash for `users`, with the parameters that argon2-cffi recommends (RFC 9106)."""
    return _HASHER.hash(password)


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from; `now` in seconds, monotonic."""

    now: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A login that is asked for; `stored` is None for a user that there is not."""

    origin: str
    user: str
    password: bytes = field(repr=False)
    stored: str | None = field(repr=False)
    mark: bytes  # what is kept of it; useless without this process's key


class Logins:
    """Checks user names and passwords; one per relay, `change` swaps the users on reload."""

    def __init__(self, users: Mapping[str, str], clock: Clock) -> None:
        self._users = dict(users)
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._remembered = Remembered()
        self._failures = Guesses()
        self._turns = Turns(CHECKS_AT_ONCE)
        self._under_way: dict[tuple[str, bytes], asyncio.Task[bool]] = {}

    def __bool__(self) -> bool:
        """Whether there is anybody who could log in."""
        return bool(self._users)

    def change(self, users: Mapping[str, str]) -> None:
        """Hold to other users from the next login on; what is remembered of the old hashes is not asked any more."""
        self._users = dict(users)

    async def check(self, user: str, password: bytes, address: str) -> bool:
        """Whether this is the user's password; a wrong one is answered late. Raises AuthTrouble."""
        attempt = self._attempt(user, password, address)
        record = self._failures.of(attempt.origin)
        if await self._is_right(attempt, record):
            return True
        wrong = max(1, record.wrong.count(self._clock.now()))
        await self._clock.pause(SLOWDOWN_S[min(wrong, len(SLOWDOWN_S)) - 1])
        return False

    def _attempt(self, user: str, password: bytes, address: str) -> _Attempt:
        stored = self._users.get(user)
        parts = (user.encode("utf-8", "surrogateescape"), password, (stored or "").encode())
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return _Attempt(origin_of(address), user, password, stored, hmac.digest(self._key, text, "sha256"))

    async def _is_right(self, attempt: _Attempt, record: Record) -> bool:
        if record.wrong.has(attempt.mark, self._clock.now()):
            return False
        refusal = self._refusal(attempt.origin, record)
        if self._knows(attempt, record, closed=refusal is not None):
            return True
        task = self._under_way.get((attempt.origin, attempt.mark))
        if task is None:
            if refusal is not None:
                self._note_look(attempt, record)
                raise TooManyLogins(refusal)
            task = self._begin(attempt, record)
        return await asyncio.shield(task)  # which goes on when its client goes away

    def _refusal(self, origin: str, record: Record) -> str | None:
        """Why no new check is begun for this origin, or None."""
        if record.wrong.count(self._clock.now()) + record.under_way >= FAILURES_MOST:
            return f"{FAILURES_MOST} different logins from {origin} failed within {FAILURES_S:.0f} s"
        if record.under_way >= CHECKS_EACH:
            return f"{CHECKS_EACH} logins from {origin} are being checked"
        if len(self._under_way) >= CHECKS_MOST:
            return f"{CHECKS_MOST} logins are being checked"
        return None

    # What is remembered

    def _knows(self, attempt: _Attempt, record: Record, *, closed: bool) -> bool:
        now = self._clock.now()
        if closed:
            here = self._remembered.here(attempt.origin, attempt.user, now)
            known = here == attempt.mark and record.looks.count(now) < LOOKS_MOST
        else:  # a wrong guess is going to be checked, and counted
            known = self._remembered.has(attempt.mark, now)
        if known:
            self._keep(attempt)
        return known

    def _note_look(self, attempt: _Attempt, record: Record) -> None:
        """Somebody has learned that this is not the login that is remembered, if there is one."""
        now = self._clock.now()
        if self._remembered.here(attempt.origin, attempt.user, now) is not None:
            record.looks.add(attempt.mark, now)

    def _keep(self, attempt: _Attempt) -> None:
        self._remembered.keep(attempt.mark, attempt.origin, attempt.user, self._clock.now())

    # What is computed

    def _begin(self, attempt: _Attempt, record: Record) -> asyncio.Task[bool]:
        """A task of ours, which all wait for who ask the same from the same origin."""
        record.under_way += 1
        task = asyncio.get_running_loop().create_task(self._compute(attempt, record))
        self._under_way[attempt.origin, attempt.mark] = task
        return task

    async def _compute(self, attempt: _Attempt, record: Record) -> bool:
        try:
            async with self._turns.turn(attempt.origin):
                right = await asyncio.to_thread(_verify, attempt.stored, attempt.password)
        finally:
            record.under_way -= 1
            del self._under_way[attempt.origin, attempt.mark]
        if right and attempt.stored is not None:
            self._keep(attempt)
            return True
        record.wrong.add(attempt.mark, self._clock.now())
        return False


@lru_cache(maxsize=1)
def _decoy() -> str:
    """A hash that no password fits, so that unknown users cost as much time as known ones."""
    return _HASHER.hash(secrets.token_bytes(32))


def _verify(stored: str | None, password: bytes) -> bool:
    try:
        return _HASHER.verify(_decoy() if stored is None else stored, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, Argon2Error) as error:
        raise AuthTrouble(f"a hash cannot be checked: {type(error).__name__}") from error
