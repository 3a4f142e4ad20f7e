"""What tests of the pace are made of: parcels, an SES with a latency, and a log to read; all in exact time."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import selectors
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay.delivery.conditions import Conditions
from relay.delivery.pace import Arrival, Clock, Gate
from relay.model import Cause, Deferred, Delivered, Outcome, Parcel, Reply
from relay.observe.log import Journal
from relay.observe.log_output import open_log
from relay.observe.metrics import Metrics

T = TypeVar("T")

DELIVERED = Delivered("0100-ses-id")
THROTTLED = Deferred(Reply(451, "4.4.5", "Slow down"), Cause.THROTTLED, "Maximum sending rate exceeded.")
QUOTA = Deferred(Reply(451, "4.3.2", "The daily quota is used up"), Cause.QUOTA, "Daily message quota exceeded.")
UNREACHABLE = Deferred(Reply(451, "4.4.1", "Amazon SES cannot be reached"), Cause.NETWORK, "connection refused")
UNAVAILABLE = Deferred(Reply(451, "4.3.0", "Amazon SES has a temporary failure"), Cause.UNAVAILABLE, "HTTP 500")
LOST = Deferred(Reply(451, "4.4.2", "The answer was lost"), Cause.LOST_ANSWER, "read timeout")

_names = (f"m{number}" for number in itertools.count())


class _NoWaiting(selectors.DefaultSelector):
    """Moves on to the next timer at once; without one, nothing would ever happen."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nobody for a time")
        self.now += 0 if ready else timeout or 0
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is exact: it passes in timers and nowhere else."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        return self._no_waiting.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, which has no sockets, in fake time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def parcel(recipients: int = 1, name: str | None = None, **changes: Any) -> Parcel:
    """A parcel of a message of its own."""
    fields: dict[str, Any] = {
        "id": name or next(_names), "identity": "i", "region": "us-west-2", "transport": "api",
        "credentials": "default", "sender": "a@b.example",
        "recipients": tuple(f"r{n}@d.example" for n in range(recipients)), "content": (b"x",), "return_path_arn": "arn",
    }  # fmt: skip
    return Parcel(**(fields | changes))


def clock(*, pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep) -> Clock:
    """The loop's own clock, and chance that is always in the middle."""
    return Clock(asyncio.get_running_loop().time, pause, lambda: 0.5)


@dataclass
class Log:
    """A journal, and what it says."""

    output: io.StringIO = field(default_factory=io.StringIO)
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))

    def __post_init__(self) -> None:
        self.journal = Journal(open_log("json", "debug", self.output), self.metrics)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    @property
    def names(self) -> list[str]:
        """What happened."""
        return [event["event"] for event in self.events]


@dataclass
class Upstream:
    """An SES that takes `latency` seconds; `says` tells its answer to each parcel, at the time it arrives."""

    says: Callable[[Parcel, float], Outcome] = lambda _, __: DELIVERED
    latency: float = 0.1
    began: list[tuple[float, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    closed: bool = False
    _zero: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    async def send(self, parcel: Parcel) -> Outcome:
        """One attempt."""
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.began.append((self.now, parcel.id))
        try:
            outcome = self.says(parcel, self.now)
            await asyncio.sleep(self.latency)
        finally:
            self.at_once -= 1
        return outcome

    async def close(self) -> None:
        """Nothing to let go of."""
        self.closed = True

    @property
    def now(self) -> float:
        """Seconds since the scene began."""
        return asyncio.get_running_loop().time() - self._zero

    @property
    def times(self) -> list[float]:
        """When the attempts began, in hundredths of a second."""
        return [round(when, 2) for when, _ in self.began]

    @property
    def names(self) -> list[str]:
        """Whose attempts they were."""
        return [name for _, name in self.began]


@dataclass
class Scene:
    """One gate before one upstream."""

    rate: float | None = 10.0
    concurrency: int = 32
    says: Callable[[Parcel, float], Outcome] = lambda _, __: DELIVERED
    latency: float = 0.1
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.log, self.upstream = Log(), Upstream(self.says, self.latency)
        now = clock().now
        conditions = Conditions("default", "us-west-2", self.log.journal, lambda: 0.5, now(), self.rate)
        self.gate = Gate(conditions, clock(), self.concurrency)
        self._now = now

    def arrive(self, hold_s: float = 5.0) -> Arrival:
        """A place in the order."""
        return Arrival(next(self._serial), self._now() + hold_s)

    async def deliver(self, parcel: Parcel, hold_s: float = 5.0) -> Outcome:
        """One attempt, when its turn comes."""
        refusal = await self.gate.enter(parcel, self.arrive(hold_s))
        return refusal if refusal is not None else await self.gate.attempt(parcel, self.upstream.send)

    def start(self, parcel: Parcel, hold_s: float = 5.0) -> asyncio.Task[Outcome]:
        """Deliver meanwhile."""
        return asyncio.ensure_future(self.deliver(parcel, hold_s))

    async def deliver_all(self, *parcels: Parcel, hold_s: float = 5.0) -> list[Outcome]:
        """All at once, in order of arrival."""
        return await asyncio.gather(*(self.start(parcel, hold_s) for parcel in parcels))
