"""A relay whose disk falls ill and gets well again, in all the ways that this machine can make it: `make test-faults`.

Each scene runs the relay as a process with mail in its spool. While the disk is ill no message may hear 250 that is
not stored, none 5yz, and /readyz says 503; when it is well again, so is the relay, without a restart, and everything
acknowledged is delivered. Needs root to mount, strace, and the tools of util-linux and e2fsprogs: where something is
missing the campaign says so and fails. Prints figures; the exit status is 1 when anything is not as it must be.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from disk_course import play
from disk_places import CommandError
from disk_scenes import SCENES, Scene


def told(scene: Scene) -> tuple[list[str], bool]:
    """Play a scene; what to say of it, and whether all is as it must be."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        try:
            finding = asyncio.run(play(scene, Path(folder)))
        except CommandError as error:
            return [f"{scene.name}: NOT PROVEN: {error}"], False
        except Exception as error:  # noqa: BLE001 - the other scenes are played all the same
            return [f"{scene.name}: BROKEN: {error!r}"], False
    return finding.lines(), not finding.broken


def main() -> int:
    """Read the command line, play the scenes, report."""
    parser = argparse.ArgumentParser(description="Let the disk of a relay fall ill.")
    parser.add_argument("scenes", nargs="*", help=f"of: {'; '.join(scene.name for scene in SCENES)}. Default: all")
    chosen = parser.parse_args().scenes
    broken = 0
    for scene in SCENES:
        if not chosen or scene.name in chosen:
            lines, well = told(scene)
            broken += not well
            sys.stdout.write("\n".join([*lines, ""]))
            sys.stdout.flush()
    sys.stdout.write(f"{broken} scenes are not as they must be\n" if broken else "every scene is as it must be\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
