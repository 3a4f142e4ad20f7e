"""What is done to the relay, and what it may cost. Every scene has a relay of its own and is bounded in all it does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from campaign_process import MIB, PATIENCE_S, Client, Figure, Measured, session

HEADER = b"From: app@example.com\r\nSubject: campaign\r\n\r\n"
LINE = b"x" * 998 + b"\r\n"
END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    idle: int = 1000
    churn_per_s: int = 500
    churn_s: int = 8
    slow: int = 200
    endless_mib: int = 200
    recipients: int = 3000
    headers: int = 100_000
    big: int = 20
    big_bytes: int = 39_900_000


@dataclass(frozen=True, slots=True)
class Scene:
    """`limits` of the configuration, and the work."""

    name: str
    limits: dict[str, Any]
    work: Callable[[Measured, Sizes], Awaitable[list[Figure]]]


async def _idle(relay: Measured, sizes: Sizes) -> list[Figure]:
    name = f"{sizes.idle} idle sessions"
    async with AsyncExitStack() as stack:
        for _ in range(sizes.idle):
            await stack.enter_async_context(session(relay.port))
        held, descriptors = relay.grown, relay.descriptors - relay.descriptors_at_rest
    return [
        Figure(name, "memory per session", held * 1024 / sizes.idle, 20, "KiB"),
        Figure(name, "descriptors per session", descriptors / sizes.idle, 1, ""),
        Figure(name, "descriptors left over", await relay.descriptors_settle(), 0, ""),
    ]


async def _churn(relay: Measured, sizes: Sizes) -> list[Figure]:
    name, count = f"{sizes.churn_per_s} connections per second", sizes.churn_per_s * sizes.churn_s
    now = asyncio.get_running_loop().time
    began, failures, open_at_once = now(), 0, asyncio.Semaphore(200)

    async def visit() -> None:
        nonlocal failures
        try:
            async with session(relay.port) as client:
                failures += (await client.say("QUIT"))[0][:3] != "221"
        except (OSError, RuntimeError):
            failures += 1
        finally:
            open_at_once.release()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(began + number / sizes.churn_per_s - now())
            await open_at_once.acquire()
            group.create_task(visit())
    return [
        Figure(name, "connections per second", count / (now() - began), 0.9 * sizes.churn_per_s, "/s", at_least=True),
        Figure(name, "connections that failed", failures, 0, ""),
        Figure(name, "memory, peak", relay.peak, 16, "MiB"),
        Figure(name, "descriptors left over", await relay.descriptors_settle(), 0, ""),
    ]


async def _slow(relay: Measured, sizes: Sizes) -> list[Figure]:
    """With `data_s` of 5 seconds: each sends 4 KiB at once and then a byte now and then, until it is cut off."""
    name, now = f"{sizes.slow} slow senders", asyncio.get_running_loop().time
    endings: list[str] = []

    async def trickle(client: Client) -> None:
        await client.begin()
        await client.send(HEADER + LINE * 4)
        drip = asyncio.ensure_future(_drip(client))
        endings.append(await client.reply())
        drip.cancel()

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(relay.port)) for _ in range(sizes.slow)]
        began = now()
        await asyncio.gather(*map(trickle, clients))
        seconds = now() - began
        async with session(relay.port) as other:
            served = (await other.say("NOOP"))[0][:3] == "250"
    cut = sum(ending.startswith("421 4.4.2") for ending in endings)
    return [
        Figure(name, "cut off with 421 4.4.2", cut, sizes.slow, "", at_least=True),
        Figure(name, "time until the last is cut off", seconds, 8, "s"),
        Figure(name, "others served meanwhile", float(served), 1, "", at_least=True),
        Figure(name, "memory, peak", relay.peak, 8, "MiB"),
        Figure(name, "descriptors left over", await relay.descriptors_settle(), 0, ""),
    ]


async def _drip(client: Client) -> None:
    for _ in range(int(PATIENCE_S / 0.2)):
        await asyncio.sleep(0.2)
        await client.send(b"x")


async def _endless_message(relay: Measured, sizes: Sizes) -> list[Figure]:
    name = f"{sizes.endless_mib} MiB without CRLF, in DATA"
    async with session(relay.port) as client:
        await client.begin()
        await client.send(*[b"x" * MIB] * sizes.endless_mib, END)
        answer = await client.reply()
        alive = await client.say("NOOP")
    return [
        Figure(
            name,
            "refused with 552, session goes on",
            float((answer[:3], alive[0][:3]) == ("552", "250")),
            1,
            "",
            at_least=True,
        ),
        Figure(name, "memory, peak (limit 40 MB)", relay.peak, 64, "MiB"),
    ]


async def _endless_command(relay: Measured, sizes: Sizes) -> list[Figure]:
    name = f"{sizes.endless_mib} MiB without CRLF, as a command"
    async with session(relay.port) as client:
        await client.send(*[b"x" * MIB] * sizes.endless_mib, b"\r\n")
        answer = await client.reply()
        alive = await client.say("NOOP")
    return [
        Figure(
            name,
            "refused with 500, session goes on",
            float((answer[:3], alive[0][:3]) == ("500", "250")),
            1,
            "",
            at_least=True,
        ),
        Figure(name, "memory, peak", relay.peak, 4, "MiB"),
    ]


async def _recipients(relay: Measured, sizes: Sizes) -> list[Figure]:
    name = f"{sizes.recipients} RCPT"
    async with session(relay.port) as client:
        await client.say("MAIL FROM:<app@example.com>")
        said = await client.say(*(f"RCPT TO:<user{number}@customer.example>" for number in range(sizes.recipients)))
        await client.say("DATA")
        await client.send(HEADER + END)
        answer = await client.reply()
    taken, put_off = (sum(each.startswith(code) for each in said) for code in ("250 2.1.5", "452 4.5.3"))
    return [
        Figure(name, "taken, as without a spool", taken, 50, "", at_least=True),
        Figure(name, "put off with 452 4.5.3", put_off, sizes.recipients - 50, "", at_least=True),
        Figure(name, "delivered to those taken", float(answer[:3] == "250"), 1, "", at_least=True),
        Figure(name, "memory, peak", relay.peak, 8, "MiB"),
    ]


async def _headers(relay: Measured, sizes: Sizes) -> list[Figure]:
    """With `header_bytes` raised so far that the message is taken: the work itself must be bounded."""
    name = f"{sizes.headers} header fields"
    content = b"From: app@example.com\r\n" + b"X-A: b\r\n" * sizes.headers + b"\r\nHello"
    now = asyncio.get_running_loop().time
    async with session(relay.port) as client, session(relay.port) as other:
        await client.begin()
        waits: list[float] = []
        pulse = asyncio.ensure_future(_pulse(other, waits))
        began = now()
        await client.send(content + END)
        answer = await client.reply()
        seconds = now() - began
        pulse.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pulse
    return [
        Figure(name, "delivered", float(answer[:3] == "250"), 1, "", at_least=True),
        Figure(name, "time until the answer", seconds, 4, "s"),
        Figure(name, "others wait for a reply", max(waits), 2, "s"),
        Figure(name, "memory, peak", relay.peak, 64, "MiB"),
    ]


async def _too_many_headers(relay: Measured, sizes: Sizes) -> list[Figure]:
    """With the default `header_bytes`: refused before the work begins."""
    name = f"{sizes.headers} header fields, default limits"
    now = asyncio.get_running_loop().time
    async with session(relay.port) as client:
        await client.begin()
        began = now()
        await client.send(b"X-A: b\r\n" * sizes.headers + END)
        answer = await client.reply()
        seconds = now() - began
    return [
        Figure(name, "refused with 554", float(answer[:3] == "554"), 1, "", at_least=True),
        Figure(name, "time until the answer", seconds, 1, "s"),
        Figure(name, "memory, peak", relay.peak, 8, "MiB"),
    ]


async def _big(relay: Measured, sizes: Sizes) -> list[Figure]:
    """With `in_flight_bytes` of 160 MB: what has no room is put off and comes again, one at a time."""
    name = f"{sizes.big} messages of {sizes.big_bytes / 1e6:.0f} MB at once"
    lines = sizes.big_bytes // len(LINE)
    at_once: list[str] = []

    async def deliver(client: Client) -> str:
        await client.begin()
        await client.send(HEADER, *[LINE * 100] * (lines // 100), LINE * (lines % 100), END[2:])
        return await client.reply()

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(relay.port)) for _ in range(sizes.big)]
        at_once += await asyncio.gather(*map(deliver, clients))
        peak = relay.peak
        again = [client for client, answer in zip(clients, at_once, strict=True) if answer[:3] != "250"]
        late = [await deliver(client) for client in again]
    honest = sum(answer.startswith(("250", "452 4.3.1")) for answer in at_once)
    return [
        Figure(name, "taken at once", sizes.big - len(again), 1, "", at_least=True),
        Figure(name, "taken, or put off with 452 4.3.1", honest, sizes.big, "", at_least=True),
        Figure(
            name,
            "taken when they came again",
            sum(answer[:3] == "250" for answer in late),
            len(again),
            "",
            at_least=True,
        ),
        Figure(name, "memory, peak (room 160 MB)", peak, 240, "MiB"),
        Figure(name, "descriptors left over (pooled, to SES)", await relay.descriptors_settle(), 8, ""),
    ]


async def _pulse(client: Client, waits: list[float]) -> None:
    """How long a neighbour waits for a reply, again and again."""
    now = asyncio.get_running_loop().time
    for _ in range(int(PATIENCE_S / 0.01)):
        began = now()
        await client.say("NOOP")
        waits.append(now() - began)
        await asyncio.sleep(0.01)


_MANY = {"connections": 2000, "connections_per_client": 2000}
SCENES = (
    Scene("idle", _MANY, _idle),
    Scene("churn", _MANY, _churn),
    Scene("slow", {**_MANY, "data_s": 5, "data_bytes_per_s": 0}, _slow),
    Scene("endless-message", {}, _endless_message),
    Scene("endless-command", {}, _endless_command),
    Scene("recipients", {}, _recipients),
    Scene("headers", {"header_bytes": "2MB"}, _headers),
    Scene("too-many-headers", {}, _too_many_headers),
    Scene("big", {"in_flight_bytes": "160MB", "data_s": 300}, _big),
)
