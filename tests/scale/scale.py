"""A hundred thousand queued messages, measured: starts, claims, memory, pace and fairness of a relay as a process.

Each scene has a spool of its own, filled by the spool's engine, and a relay in front of a local SES, on loopback.
Prints a table of figures and bounds; the exit status is 1 when a bound is broken. Needs Linux and 2 GB of disk.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from campaigns import table
from scale_scenes import SCENES, Sizes, Store


def main() -> int:
    """Read the command line, play the scenes, report."""
    parser = argparse.ArgumentParser(description="Measure a relay with a long queue.")
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(scene.name for scene in SCENES)}; default: all")
    parser.add_argument("--many", type=int, default=Sizes().many, help="messages of the long queue")
    parser.add_argument("--folder", help="where the spools are; default: a temporary folder")
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(Path(folder))
        for scene in SCENES:
            if not options.scenes or scene.name in options.scenes:
                figures = asyncio.run(scene.work(store, Sizes(many=options.many)))
                broken += sum(not each.holds for each in figures)
                sys.stdout.write("\n".join([*table(figures), ""]))
                sys.stdout.flush()
    sys.stdout.write(f"{broken} bounds broken\n" if broken else "every bound holds\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
