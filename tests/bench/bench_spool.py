"""What the spool costs: mails per second, time to a durable yes, claims and starts with many mails waiting.

    python tests/bench/bench_spool.py [MAILS] [FOLDER]

Everything is synced, so that the disk decides; its bare syncs are timed first. The claim must cost the same whether a
thousand or a hundred thousand parcels wait. The last table is where the border between rows and files comes from.
"""

import asyncio
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from relay.model import Client, Envelope
from relay.spool.bodies import BORDER_BYTES
from relay.spool.interface import Mail, Part, Posting
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool

MAILS = 100_000
SESSIONS = 100
BYTES = 8_000
CLAIMED = 50
LANES = 10
CLIENT = Client("s", "192.0.2.1", "app")


def posting(number: int, content: bytes, lane: str) -> Posting:
    """One mail to one recipient."""
    envelope = Envelope("app@example.com", (f"user{number}@customer.example",))
    return Posting(
        Mail(f"m{number}", 0.0, CLIENT, envelope, content), (Part(envelope.recipients, number * 1e-3, lane),)
    )


async def fill(spool: SqliteSpool, first: int, count: int, size: int = BYTES) -> list[float]:
    """Put mails from many sessions at once; seconds to each yes."""
    numbers = iter(range(first, first + count))
    waits: list[float] = []

    async def session() -> None:
        for number in numbers:
            start = time.perf_counter()
            await spool.put(posting(number, os.urandom(size), f"lane{number % LANES}"))
            waits.append(time.perf_counter() - start)

    await asyncio.gather(*(session() for _ in range(min(SESSIONS, count))))
    return waits


async def claim_cost(spool: SqliteSpool, rounds: int = 20) -> float:
    """Milliseconds of a claim of some parcels of one lane, its sync included; the median."""
    samples = []
    for number in range(rounds):
        start = time.perf_counter()
        await spool.claim(f"lane{number % LANES}", 1e6, 2e6, CLAIMED)
        samples.append((time.perf_counter() - start) * 1e3)
    return statistics.median(samples)


async def scale(folder: Path, mails: int) -> None:
    """Fill in steps; at each, what a claim, the agenda and a start cost."""
    spool, size = open_spool(Opening(folder / "spool.db"), 0.0), 0
    for step in (mails // 100, mails // 10, mails):
        start = time.perf_counter()
        waits = sorted(await fill(spool, size, step - size))
        rate = (step - size) / (time.perf_counter() - start)
        size = step
        claim = await claim_cost(spool)
        start = time.perf_counter()
        await spool.agenda()
        agenda = (time.perf_counter() - start) * 1e3
        start = time.perf_counter()
        await spool.totals()
        totals = (time.perf_counter() - start) * 1e3
        await spool.close()
        start = time.perf_counter()
        spool = open_spool(Opening(folder / "spool.db"), 0.0)
        opening = time.perf_counter() - start
        show(f"{size} waiting: mails put per second", rate)
        show(f"{size} waiting: ms to a yes, median", waits[len(waits) // 2] * 1e3)
        show(f"{size} waiting: ms to a yes, 99 %", waits[len(waits) * 99 // 100] * 1e3)
        show(f"{size} waiting: ms for a claim of {CLAIMED}", claim)
        show(f"{size} waiting: ms for the agenda of {LANES} lanes", agenda)
        show(f"{size} waiting: ms for the totals", totals)
        show(f"{size} waiting: s to start", opening)
        show(f"{size} waiting: MB resident at most", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    show("parcels claimed and settled per second", await drain(spool, min(size, 20_000)))
    show("MB of the log at the end", log_size(folder) / 1e6)
    await spool.close()


def log_size(folder: Path) -> int:
    """Bytes of SQLite's log."""
    return sum(path.stat().st_size for path in folder.glob("*-wal"))


async def drain(spool: SqliteSpool, count: int) -> float:
    """Claim batches of a lane each, settle all parcels of some batches at once."""
    start, done = time.perf_counter(), 0
    while done < count:
        batches = await asyncio.gather(*(spool.claim(f"lane{n}", 1e6, 2e6, CLAIMED) for n in range(LANES)))
        parcels = [parcel for batch in batches for parcel in batch]
        if not parcels:
            break
        await asyncio.gather(*(spool.content(parcel.mail) for parcel in parcels))
        await asyncio.gather(*map(spool.settle, parcels))
        done += len(parcels)
    return done / (time.perf_counter() - start)


async def border(folder: Path) -> None:
    """Rows against files, for contents of several sizes: mails put and settled per second, 16 at once."""
    for size in (16_000, 64_000, 128_000, 256_000, 1_000_000, 4_000_000):
        rates = [await through(folder, size, limit) for limit in (1 << 40, 0)]
        show(f"{size} bytes: mails per second through rows", rates[0])
        show(f"{size} bytes: mails per second through files", rates[1])


async def through(folder: Path, size: int, limit: int) -> float:
    """Mails per second that are put, read and settled."""
    count = max(32, min(512, 50_000_000 // size))
    path = folder / f"border{size}-{limit}.db"
    spool = open_spool(Opening(path, border_bytes=limit), 0.0)
    start = time.perf_counter()
    for first in range(0, count, 16):
        await fill(spool, first, 16, size)
    await drain(spool, count)
    rate = count / (time.perf_counter() - start)
    await spool.close()
    return rate


def bare_sync(folder: Path) -> float:
    """Milliseconds to append 4 KiB to a file and sync it; the median."""
    samples = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for _ in range(100):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            samples.append((time.perf_counter() - start) * 1e3)
    return statistics.median(samples)


def show(name: str, value: float) -> None:
    """Print one line."""
    sys.stdout.write(f"{name:<60} {value:10.2f}\n")
    sys.stdout.flush()


def main(mails: int, place: str | None) -> None:
    """Print everything."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        show("ms for a bare write of 4 KiB and its sync", bare_sync(folder))
        asyncio.run(scale(folder, mails))
        show("bytes of a content from which on it gets a file", BORDER_BYTES)
        asyncio.run(border(folder))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MAILS, sys.argv[2] if len(sys.argv) > 2 else None)
