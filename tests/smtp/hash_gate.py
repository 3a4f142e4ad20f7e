"""The check of a password that takes as long as the test says, so that who waits for whom is no matter of luck."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from relay.smtp import auth

PATIENCE_S = 20.0
_PLENTY = 10_000


class HashGate:
    """The real check behind a gate that `let` opens for some; in order, with how many of them there were at once."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []  # the passwords
        self.at_once = self.most_at_once = 0
        self._real = auth._verify
        self._places = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, stored: str | None, password: bytes) -> bool:
        with self._lock:
            self.begun.append(password)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self._loop.call_soon_threadsafe(self._news.set)
        try:
            assert self._places.acquire(timeout=PATIENCE_S), "nobody has opened the gate"
            return self._real(stored, password)
        finally:
            with self._lock:
                self.at_once -= 1

    def let(self, checks: int = _PLENTY) -> None:
        """Let this many checks come to their end, those to come included."""
        self._places.release(checks)

    async def has_begun(self, checks: int) -> None:
        """Wait until this many checks have been begun in all."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.begun) < checks:
                self._news.clear()
                await self._news.wait()


@contextmanager
def hash_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[HashGate]:
    """Put every check of a password behind a gate, which is open at the end."""
    gate = HashGate()
    monkeypatch.setattr(auth, "_verify", gate)
    try:
        yield gate
    finally:
        gate.let()
