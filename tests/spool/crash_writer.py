"""A process that works with a spool until it is killed, telling of everything before or after it is done.

Reads one folder per line from standard input; for each it forks a worker, which prints its process id and then, each in
one write: `put ID DIGEST` when a mail has been acknowledged, `ending ID.N` before a parcel is settled.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path

from relay.model import Client, Envelope
from relay.spool.interface import Mail, Part, Posting
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool

CLIENT = Client("s", "192.0.2.1", "app")
RECIPIENTS = tuple(f"r{number}@customer.example" for number in range(4))
SIZES = (0, 300, 3000, 9000, 200_000)


def tell(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


async def submit(spool: SqliteSpool, name: str, chance: random.Random) -> None:
    """Put mails, some in several parts, some large."""
    for number in range(10_000):
        content = chance.randbytes(chance.choice(SIZES))
        mail = Mail(f"{name}x{number}", 1.0, CLIENT, Envelope("a@example.com", RECIPIENTS), content)
        cut = chance.randrange(1, 5)
        parts = [Part(part, 1.0) for part in (RECIPIENTS[:cut], RECIPIENTS[cut:]) if part]
        await spool.put(Posting(mail, tuple(parts)))
        tell("put", mail.id, hashlib.sha256(content).hexdigest())


async def deliver(spool: SqliteSpool, chance: random.Random) -> None:
    """Claim parcels: some are delivered, some split, some given back."""
    for _ in range(10_000):
        for parcel in await spool.claim("", 10.0, 20.0, 5):
            recipients = parcel.envelope.recipients
            fate = chance.randrange(4)
            if fate == 0:
                tell("ending", parcel.id, *recipients)
                await spool.settle(parcel)
            elif fate == 1:
                await spool.reschedule(parcel, [Part((one,), 5.0) for one in recipients])
            else:
                await spool.reschedule(parcel, [Part(recipients, 5.0)])


async def work(folder: str) -> None:
    chance = random.Random(folder)
    spool = open_spool(Opening(Path(folder) / "spool.db", border_bytes=4096), 10.0)
    await spool.make_room()  # so that each kill leaves a log with zeros behind its end
    await asyncio.gather(*(submit(spool, f"m{task}", chance) for task in range(6)), deliver(spool, chance))


def main() -> None:
    """Fork a worker for each line; nothing here has threads, so forking is safe."""
    for line in sys.stdin:
        worker = os.fork()
        if worker == 0:
            tell("worker", str(os.getpid()))
            asyncio.run(work(line.strip()))
            os._exit(0)
        os.waitpid(worker, 0)
        tell("ended")


if __name__ == "__main__":
    main()
