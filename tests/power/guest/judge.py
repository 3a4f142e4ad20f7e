"""What is in a spool that the power was cut from, as one line of JSON: the spool's part of the evidence.

Runs in the guest before any relay has touched the spool, and works on a copy: reading a log recovers it, and the
relay shall do that itself. Whatever goes wrong is `trouble`: mail that nobody can read is lost.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import witness
from conservation import Evidence

COUNTERS = ("in_flight", "queued", "held", "dead", "bounced", "damaged")


def copied(spool: Path, to: Path) -> Path:
    """The spool's files in another folder: the database, its log, and the large contents."""
    for path in spool.parent.glob(f"{spool.name}*"):
        if path.is_dir():
            shutil.copytree(path, to / path.name)
        else:
            shutil.copy(path, to)
    return to / spool.name


async def judge(spool: Path) -> dict[str, Any]:
    """The counters that the spool fills; leases are attempts that may have been under way."""
    notes = Evidence()
    witness.note_kill(notes, spool, 0)  # how many calls there can be at once, the campaign knows
    await witness.note_spool(notes, spool)
    return {name: dict(found) for name in COUNTERS if (found := getattr(notes, name))}


def main() -> None:
    """Print the line."""
    spool = Path(sys.argv[1])
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        try:
            if spool.exists():
                found = asyncio.run(judge(copied(spool, Path(place))))
        except Exception as error:  # noqa: BLE001 - see above
            found = {"trouble": repr(error)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
