"""Memory and descriptors under abuse, measured: `make campaigns`.

Each scene starts the relay as a process in front of a local SES, on loopback, does its worst, and reads the figures
from /proc. Prints a table of figures and bounds; the exit status is 1 when a bound is broken. Needs Linux.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from campaign_process import Figure, Measured, session
from campaign_scenes import END, HEADER, SCENES, Scene, Sizes
from relay_process import local_ses


async def run(scene: Scene, sizes: Sizes) -> list[Figure]:
    """One scene with a relay of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with local_ses(Path(folder), keep=1) as bench:
            relay = await bench.start(limits=scene.limits, delivery={"hold_s": 60})
            async with session(relay.port) as first:  # what the first delivery loads is not the scene's
                await first.begin()
                await first.send(HEADER + END)
                if (await first.reply())[:3] != "250":
                    raise RuntimeError("the relay does not deliver")
            await relay.event("quota_read")  # which it asks for beside the delivery, by a connection of its own
            return await scene.work(Measured(relay), sizes)


def table(figures: Sequence[Figure]) -> list[str]:
    """The figures in columns."""
    rows = [
        (each.campaign, each.what, _number(each.value), f"{'>=' if each.at_least else '<='} {_number(each.bound)}",
         each.unit, "" if each.holds else "BROKEN")
        for each in figures
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"


def main() -> int:
    """Read the command line, run the scenes, report."""
    parser = argparse.ArgumentParser(description="Measure memory and descriptors under abuse.")
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(scene.name for scene in SCENES)}; default: all")
    for size in fields(Sizes):
        parser.add_argument(f"--{size.name.replace('_', '-')}", type=int, default=size.default)
    options = vars(parser.parse_args())
    chosen = options.pop("scenes")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    broken = 0
    for scene in SCENES:
        if not chosen or scene.name in chosen:
            figures = asyncio.run(run(scene, Sizes(**options)))
            broken += sum(not each.holds for each in figures)
            sys.stdout.write("\n".join([*table(figures), ""]))
            sys.stdout.flush()
    sys.stdout.write(f"{broken} bounds broken\n" if broken else "every bound holds\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
