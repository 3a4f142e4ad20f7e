"""What a long queue may cost, scene by scene: starts, claims, memory, pace, fairness, and looks into it."""

import asyncio
import os
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from campaign_process import Figure
from scale_relay import PATIENCE_S, Process, running
from scale_spool import Backlog, claim_ms, copied, fill
from scale_upstream import Upstream, upstream

from relay.arn import parse_identity_arn
from relay.policy.pacing import START
from relay.simulator import Simulator
from relay.simulator.worlds.delegation import delegate
from relay.spool.opening import Opening
from relay.spool.sqlite import open_spool

DOMAINS = tuple(f"d{number}.example" for number in range(5))
REGION = "us-east-1"
CLAIM = 32
TRIED = 100  # more than are tried in the outage, which come back only a minute later
SHARE = 0.93  # of the rate that is used up at least, on a machine that has other work, too
MOST_PEAK_MIB = 16.0  # how much more memory the long queue may take than the short one


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; `rates` in recipients per second, each measured for so many seconds."""

    few: int = 1_000
    many: int = 100_000
    outage_s: float = 12.0
    drained: int = 15_000
    rates: tuple[tuple[float, float], ...] = ((5, 12), (14, 30), (50, 12), (150, 12))
    settle_s: float = 8.0  # before the quota was known, a slow account may have been asked for too much
    ahead: int = 50_000
    others: int = 20


@dataclass
class Store:
    """Spools that were filled once, for all scenes; scenes get copies."""

    folder: Path
    _made: dict[Backlog, Path] = field(default_factory=dict)

    async def spool(self, backlog: Backlog, scene: str) -> Path:
        """A spool with this backlog for one scene."""
        if backlog not in self._made:
            folder = self.folder / f"filled-{len(self._made)}"
            folder.mkdir()
            await fill(folder / "spool.db", backlog)
            self._made[backlog] = folder / "spool.db"
        return copied(self._made[backlog], self.folder / scene)


@dataclass(frozen=True, slots=True)
class Scene:
    """A name, and the work."""

    name: str
    work: Callable[[Store, Sizes], Coroutine[None, None, list[Figure]]]


def account(rate: float) -> Simulator:
    """A local SES that gives our account so many recipients per second."""
    usual = Simulator()
    arns = [parse_identity_arn(f"arn:aws:ses:{REGION}:123456789012:identity/{domain}") for domain in DOMAINS]
    world = delegate([REGION], arns, usual.keys, usual.logins)
    accounts = {
        name: replace(one, sending=replace(one.sending, max_send_rate=rate)) for name, one in world.accounts.items()
    }
    return Simulator(world=replace(world, accounts=accounts), keep=200_000)


def config(world: Simulator, spool: Path, **changes: Mapping[str, Any]) -> dict[str, Any]:
    """A relay that commits before it answers."""
    made: dict[str, Any] = world.relay_config() | {
        "listeners": [{"bind": "127.0.0.1:0"}],
        "admin": {"bind": f"127.0.0.1:{_free_port()}"},  # a number that `ses-relay status` finds in the file
        "spool": {"path": str(spool), "min_free_bytes": "1MB"},
        "delivery": {"acknowledge": "on_spool"},
    }
    for key, value in changes.items():
        made[key] = made.get(key, {}) | value
    return made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@asynccontextmanager
async def before_upstream(spool: Path, *, down: bool) -> AsyncIterator[tuple[Process, Upstream]]:
    """A relay without a limit, before an SES that costs nothing."""
    with upstream() as ses:
        ses.down(down)
        async with account(1) as world:
            unlimited = {"api_endpoint": ses.url, "max_rate": 100_000}
            async with running(spool.parent, config(world, spool, ses=unlimited), world.relay_environment()) as relay:
                yield relay, ses


async def until(happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
    """Wait; seconds that it took."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > patience_s:
            raise TimeoutError
        await asyncio.sleep(0.01)
    return time.monotonic() - began


# Starts, memory, looks and an unlimited drain


async def _long_queue(store: Store, sizes: Sizes) -> list[Figure]:
    """The same with a short and a long queue: SES is down, people look, SES is back."""
    figures: list[Figure] = []
    peaks = []
    for mails in (sizes.few, sizes.many):
        spool = await store.spool(Backlog(mails, DOMAINS), f"long-{mails}")
        found, peak = await _outage_and_drain(spool, mails, sizes)
        figures += found
        peaks.append(peak)
    name = f"{sizes.many} queued, not {sizes.few}"
    for what, less, more in zip(("outage", "drain"), *peaks, strict=True):
        figures.append(Figure(name, f"more memory, {what}", more - less, MOST_PEAK_MIB, "MiB"))
    return figures


async def _outage_and_drain(spool: Path, mails: int, sizes: Sizes) -> tuple[list[Figure], tuple[float, float]]:
    name, wanted = f"{mails} queued", min(mails - TRIED, sizes.drained)
    async with before_upstream(spool, down=True) as (relay, ses):
        await asyncio.sleep(sizes.outage_s)
        outage = relay.peak
        figures = [
            Figure(name, "process start to ready", relay.ready_s, 5, "s"),
            Figure(name, "memory, peak in an outage", outage, 160, "MiB"),
            *await _looks(name, relay),
        ]
        ses.down(is_down=False)
        back_s = await until(lambda: ses.taken > 0, 90)
        relay.forget_peak()
        cpu, began, taken = relay.cpu_s, time.monotonic(), ses.taken
        await until(lambda: ses.taken >= wanted)
        done, seconds = ses.taken - taken, time.monotonic() - began
        cpu_ms, drain = (relay.cpu_s - cpu) / max(done, 1) * 1e3, relay.peak
    return [
        *figures,
        Figure(name, "SES is back, until the first goes", back_s, 75, "s"),
        Figure(name, "drained per second without a limit", done / seconds, 50, "/s", at_least=True),
        Figure(name, "CPU per message drained", cpu_ms, 5, "ms"),
        Figure(name, "memory, peak while draining", drain, 240, "MiB"),
    ], (outage, drain)


async def _looks(name: str, relay: Process) -> list[Figure]:
    figures = []
    for words in (("queue", "list"), ("queue", "list", "--limit", "0", "--json"), ("status",)):
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", *words, "--config", str(relay.config),
            env={**os.environ, **relay.environment}, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if await process.wait():
            raise RuntimeError(f"ses-relay {words} fails")
        bound = 60.0 if "--json" in words else 10.0
        figures.append(Figure(name, f"ses-relay {' '.join(words)}", time.monotonic() - began, bound, "s"))
    for path in ("/metrics", "/"):
        began = time.monotonic()
        await asyncio.to_thread(_fetch, relay.admin + path)
        figures.append(Figure(name, f"GET {path}", (time.monotonic() - began) * 1e3, 500, "ms"))
    return figures


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own, on loopback
        content: bytes = answer.read()
    return content


# Claims


async def _claims(store: Store, sizes: Sizes) -> list[Figure]:
    """Claims of one batch, with more and more that wait, before and in the middle of a drain."""
    medians, figures = [], []
    for mails in (sizes.few, sizes.many // 10, sizes.many):
        path = await store.spool(Backlog(mails, DOMAINS), f"claims-{mails}")
        began = time.perf_counter()
        spool = open_spool(Opening(path), time.time())
        opened = time.perf_counter() - began
        rounds = min(20, mails // len(DOMAINS) // CLAIM)
        before = statistics.median(await claim_ms(spool, DOMAINS[0], rounds, CLAIM))
        for _ in range(min(mails // 2, 5_000) // CLAIM):
            claimed = await spool.claim(DOMAINS[1], time.time(), time.time() + 900, CLAIM)
            await asyncio.gather(*map(spool.settle, claimed))
        during = statistics.median(await claim_ms(spool, DOMAINS[2], rounds, CLAIM))
        began = time.perf_counter()
        await spool.agenda()
        agenda = (time.perf_counter() - began) * 1e3
        await spool.close()
        medians += [before, during]
        bound = max(2 * medians[0], medians[0] + 10)
        name = f"{mails} queued"
        figures += [
            Figure(name, "the spool is open after", opened, 2, "s"),
            Figure(name, f"claim of {CLAIM}, before the drain", before, bound, "ms"),
            Figure(name, f"claim of {CLAIM}, in the drain", during, bound, "ms"),
            Figure(name, f"agenda of {len(DOMAINS)} identities", agenda, 20, "ms"),
        ]
    return figures


# Pace and fairness


async def _pace(store: Store, sizes: Sizes) -> list[Figure]:
    """The backlog is drained at the account's rate, and SES has nothing to complain of."""
    figures: list[Figure] = []
    for rate, seconds in sizes.rates:
        mails = int(rate * (seconds + sizes.settle_s + 5)) + 20
        spool = await store.spool(Backlog(mails, DOMAINS), f"pace-{rate:g}")
        async with account(rate) as ses, running(spool.parent, config(ses, spool), ses.relay_environment()) as relay:
            await until(lambda: bool(relay.events("quota_read")))
            await asyncio.sleep(sizes.settle_s)
            began, before = time.monotonic(), ses.total
            refused = len(ses.turned_away) if rate < START else 0  # all it begins with, while it knows no quota
            await asyncio.sleep(seconds)
            measured = (ses.total - before) / (time.monotonic() - began)
            throttled = len(ses.turned_away) - refused
        name = f"quota of {rate:g} recipients per second"
        figures += [
            Figure(name, f"delivered per second, in {seconds:g} s", measured, SHARE * rate, "/s", at_least=True),
            Figure(name, "throttled by SES", throttled, 0, ""),
        ]
    return figures


async def _fairness(store: Store, sizes: Sizes) -> list[Figure]:
    """One identity has a long backlog; what other identities bring is not behind it."""
    backlog = Backlog(sizes.ahead, DOMAINS[:1], large_every=sizes.ahead + 1)
    spool, rate = await store.spool(backlog, "fairness"), 14.0
    waits = []
    async with account(rate) as ses, running(spool.parent, config(ses, spool), ses.relay_environment()) as relay:
        await until(lambda: ses.total > 40)
        for number in range(sizes.others):
            sender = f"app@{DOMAINS[1 + number % 4]}"
            began = time.monotonic()
            await asyncio.to_thread(relay.submit, sender)
            await until(lambda: _of_others(ses) > number)  # noqa: B023 - waits here
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.3)
    name = f"{sizes.ahead} queued by another identity, {rate:g} per second"
    return [
        Figure(name, "one message of mine is delivered after, median", statistics.median(waits), 1.5, "s"),
        Figure(name, "one message of mine is delivered after, at worst", max(waits), 3, "s"),
    ]


def _of_others(ses: Simulator) -> int:
    return sum(one.sender != f"app@{DOMAINS[0]}" for one in ses.received)


SCENES = (
    Scene("long-queue", _long_queue),
    Scene("claims", _claims),
    Scene("pace", _pace),
    Scene("fairness", _fairness),
)
