"""A listener whose SES answers at once, for bench_listener.py: prints its port and runs until it is ended."""

import asyncio
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import listener  # noqa: E402 - found by the line above
import uvloop  # noqa: E402

from relay.model import Outcome, Parcel  # noqa: E402


class Instant(listener.ScriptedSes):
    """Takes every parcel and keeps none."""

    async def send(self, parcel: Parcel) -> Outcome:
        """Say yes."""
        return listener.DELIVERED


async def main() -> None:
    """Serve; what is logged is written over again and again."""
    async with listener.running(Instant(), message_bytes=60_000_000) as running:
        print(running.port, flush=True)
        while True:
            await asyncio.sleep(1)
            running.output.seek(0)


if __name__ == "__main__":
    uvloop.run(main())
