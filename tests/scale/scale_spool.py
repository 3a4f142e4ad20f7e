"""A spool with many messages in it, made by the spool's own engine before any relay starts."""

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from relay.model import Client, Envelope
from relay.spool.interface import Mail, Part, Posting
from relay.spool.opening import Opening, folder
from relay.spool.sqlite import SqliteSpool, open_spool

LOCAL = Client("scale", "127.0.0.1", "local")
SMALL_BYTES = 2_000
LARGE_BYTES = 200_000  # above the border: files of their own
LARGE_EVERY = 100
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Backlog:
    """So many messages, each due since `age_s`, of senders at these domains; a domain may stand there many times."""

    mails: int
    domains: Sequence[str]
    age_s: float = 60.0
    large_every: int = LARGE_EVERY


def content(domain: str, number: int, size: int) -> bytes:
    """A message of about that size."""
    head = (
        f"From: app@{domain}\r\nTo: user@customer.example\r\nSubject: {number}\r\nMessage-ID: <{number}@{domain}>\r\n"
    )
    head += "Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    line = b"The quick brown fox jumps over the lazy dog.\r\n"
    return head.encode() + line * max(1, (size - len(head)) // len(line))


def posting(backlog: Backlog, number: int, now: float) -> Posting:
    """One message to one recipient; its id tells its number."""
    domain = backlog.domains[number % len(backlog.domains)]
    large = number % backlog.large_every == backlog.large_every - 1
    envelope = Envelope(f"app@{domain}", (f"user{number}@customer.example",))
    body = content(domain, number, LARGE_BYTES if large else SMALL_BYTES)
    arrived = now - backlog.age_s + number * 1e-6
    return Posting(
        Mail(f"{number:016x}", arrived, LOCAL, envelope, body), (Part(envelope.recipients, arrived, domain),)
    )


async def fill(path: Path, backlog: Backlog) -> None:
    """Put all of it."""
    spool = open_spool(Opening(path), time.time())
    try:
        for first in range(0, backlog.mails, _AT_ONCE):
            last, now = min(first + _AT_ONCE, backlog.mails), time.time()
            await asyncio.gather(*(spool.put(posting(backlog, number, now)) for number in range(first, last)))
    finally:
        await spool.close()


def copied(path: Path, to: Path) -> Path:
    """The same spool once more, for a scene that empties it; `path` must be closed.

    It is synced, so that the disk is not busy with it while the scene is measured.
    """
    to.mkdir()
    for source in (path, folder(path)):
        copy = to / source.name
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy2(source, copy)
    os.sync()
    return to / path.name


async def claim_ms(spool: SqliteSpool, lane: str, rounds: int, limit: int) -> list[float]:
    """Milliseconds of each claim of so many parcels, its sync included."""
    samples = []
    for _ in range(rounds):
        now = time.time()
        began = time.perf_counter()
        claimed = await spool.claim(lane, now, now + 900, limit)
        samples.append((time.perf_counter() - began) * 1e3)
        if len(claimed) != limit:
            raise RuntimeError(f"{len(claimed)} claimed, not {limit}")
    return samples
