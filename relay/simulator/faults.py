"""Trouble to order: what the simulator should do wrong, how often and to whom.

| action      | API                                   | SMTP                                               |
|-------------|---------------------------------------|----------------------------------------------------|
| throttle    | Throttling 400, v2 429                | 454 Throttling failure                             |
| refuse      | `code`, `status`, `text`              | `reply`, at `stage` auth, mail, rcpt or final      |
| error       | 500, or 503 by `status`               | 451 Temporary service failure                      |
| html        | a proxy's page, 502 or `status`       | never                                              |
| delay       | `seconds`, or until released          | the same                                           |
| lose_answer | message kept, connection closed       | the same, after the final dot                      |
| drop        | closed before the body is read        | closed before the greeting; or at `stage`          |
| busy        | never                                 | 421 Too many concurrent SMTP connections           |

The first fault that matches strikes; delays that match come before it. At `connect` nothing is known but the
interface, so no other filter is allowed there. The stage `call` is any call but a message, such as AssumeRole or
GetAccount; `call` is its name.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

from relay.simulator.refusals import INTERNAL, THROTTLED, UNAVAILABLE, Refused, Spelling
from relay.simulator.words import Interface

Action = Literal["throttle", "refuse", "error", "html", "delay", "lose_answer", "drop", "busy"]
Stage = Literal["connect", "auth", "mail", "rcpt", "final", "call"]

_PROXY_PAGE = "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1><hr>a proxy</body></html>"
_BUSY = Spelling(503, "ServiceUnavailable", 503, "ServiceUnavailableException", "421 {}")


class HungUp(Exception):
    """Close the connection, answer nothing."""


class ProxyPage(Exception):
    """Answer a page of HTML, as something between the caller and SES would."""

    def __init__(self, status: int, page: str) -> None:
        super().__init__(page)
        self.status = status
        self.page = page


@dataclass(frozen=True, slots=True)
class Occasion:
    """A moment at which a fault may strike, and what is known by then."""

    stage: Stage
    interface: Interface
    region: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    call: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One order. `sender`, `recipient` and `call` are shell patterns; `count` None means for ever."""

    action: Action
    stage: Stage | None = None
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    interface: Interface | None = None
    region: str | None = None
    sender: str | None = None
    recipient: str | None = None
    call: str | None = None
    seconds: float | None = None
    status: int | None = None
    code: str | None = None
    text: str | None = None
    reply: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("action", Action), ("stage", Stage), ("interface", Interface)):
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise ValueError(f"{name} is {value!r}, allowed are {', '.join(get_args(allowed))}")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability is a number from 0 to 1")
        if self.action == "refuse" and not (self.code or self.reply):
            raise ValueError("refuse needs a code (API) or a reply (SMTP), or both")
        if self.when == "connect" and (self.region or self.sender or self.recipient):
            raise ValueError("at connect neither region nor sender nor recipient is known")
        if self.action == "lose_answer" and self.when != "final":
            raise ValueError("lose_answer keeps the message, so it can only be at the final stage")

    @property
    def when(self) -> Stage:
        """The stage, or the action's own."""
        return self.stage or ("connect" if self.action in ("drop", "busy") else "final")

    def matches(self, occasion: Occasion) -> bool:
        """Whether the fault is meant for this occasion, chance and count aside."""
        return (
            self.when == occasion.stage
            and self.interface in (None, occasion.interface)
            and self.region in (None, occasion.region)
            and (self.sender is None or fnmatchcase(occasion.sender, self.sender))
            and (self.recipient is None or any(fnmatchcase(to, self.recipient) for to in occasion.recipients))
            and (self.call is None or fnmatchcase(occasion.call, self.call))
            and self._speaks(occasion.interface)
        )

    def _speaks(self, interface: Interface) -> bool:
        """Whether the action has a form for this interface."""
        if interface == "smtp":
            return self.action != "html" and (self.action != "refuse" or self.reply is not None)
        return self.action != "busy" and (self.action != "refuse" or self.code is not None)


@dataclass(slots=True)
class Standing:
    """A fault in force, and how often it has struck."""

    id: int
    fault: Fault
    hits: int = 0
    chance: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.fault.seed)  # noqa: S311 (dice for tests, repeatable by seed)

    def takes(self, occasion: Occasion) -> bool:
        """Whether it strikes now; counts it if so."""
        spent = self.fault.count is not None and self.hits >= self.fault.count
        if spent or not self.fault.matches(occasion) or self.chance.random() >= self.fault.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The faults in force, in the order they were added."""

    def __init__(self) -> None:
        self._standing: list[Standing] = []
        self._next_id = 1
        self._release = asyncio.Event()
        self._changed = asyncio.Event()
        self._held = 0

    @property
    def standing(self) -> tuple[Standing, ...]:
        """What is in force."""
        return tuple(self._standing)

    def add(self, fault: Fault) -> int:
        """Put a fault in force; its id comes back."""
        self._standing.append(Standing(self._next_id, fault))
        self._next_id += 1
        return self._standing[-1].id

    def clear(self) -> None:
        """Everything works again; whatever a delay held goes on."""
        self._standing.clear()
        self.release()

    def release(self) -> None:
        """Let everything go on that a delay holds now; the delays stay in force."""
        self._release.set()
        self._release = asyncio.Event()

    async def wait_held(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """Return when delays hold at least `count` messages; TimeoutError otherwise."""
        async with asyncio.timeout(timeout_s):
            while self._held < count:
                await self._changed.wait()

    async def strike(self, occasion: Occasion) -> bool:
        """Wait, or raise Refused, HungUp or ProxyPage, as ordered; True when only the answer is to be lost."""
        if not self._standing:
            return False
        for standing in self.standing:
            if standing.fault.action == "delay" and standing.takes(occasion):
                await self._hold(standing.fault.seconds)
        for standing in self.standing:
            if standing.fault.action != "delay" and standing.takes(occasion):
                return _act(standing.fault)
        return False

    async def _hold(self, seconds: float | None) -> None:
        release = self._release
        self._count_held(+1)
        try:
            async with asyncio.timeout(seconds):
                await release.wait()
        except TimeoutError:
            pass
        finally:
            self._count_held(-1)

    def _count_held(self, step: int) -> None:
        self._held += step
        self._changed.set()
        self._changed = asyncio.Event()


def _act(fault: Fault) -> bool:
    match fault.action:
        case "lose_answer":
            return True
        case "drop":
            raise HungUp
        case "html":
            raise ProxyPage(fault.status or 502, fault.text or _PROXY_PAGE)
        case "throttle":
            raise Refused(THROTTLED, fault.text or "Maximum sending rate exceeded.")
        case "busy":
            raise Refused(_BUSY, fault.text or "Too many concurrent SMTP connections")
        case "error":
            spelling = UNAVAILABLE if fault.status == 503 else INTERNAL
            raise Refused(spelling, fault.text or "Service is unable to handle request.")
        case _:
            status, code = fault.status or 400, fault.code or "InvalidParameterValue"
            raise Refused(
                Spelling(status, code, status, code, fault.reply or "554 Transaction failed: {}"), fault.text or ""
            )
