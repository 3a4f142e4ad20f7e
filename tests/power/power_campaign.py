"""Power cuts: what was acknowledged is in the spool or at SES when the power comes back. `make test-power`.

A whole machine under qemu runs the relay with its spool on an ext4 file system, on a disk that forgets what was not
flushed. Clients outside send and write down every 250; SES, outside as well, answers late and fails at times. At a
random moment the power is cut. After the next boot the guest says what is in the spool, before any relay has touched
it, and the account is drawn up; then its relay goes on with that spool until the next cut. In the end all is delivered.

The same with the syncs taken out of a copy of the relay, and with a disk that lies, has to lose mail: if it did not,
the campaign would prove nothing. Prints figures; the exit status is 1 when anything is not as it must be.
"""

import argparse
import asyncio
import logging
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from power_account import Account, Plan
from power_course import Course
from power_guest import WITHOUT_SYNC, WITHOUT_SYNC_OF_CONTENTS, make_archive
from power_machine import Parts
from stage import IDENTITIES, ended
from witness import Record

from relay.simulator import Simulator

_KEEP: Final = 10_000


async def run(plan: Plan, base: Path, seed: int, tell: Callable[[str], None]) -> Account:
    """One campaign, in a folder of its own."""
    account = Account(plan)
    with tempfile.TemporaryDirectory(prefix="power-") as folder:
        async with Simulator(identities=IDENTITIES, keep=_KEEP) as ses:
            parts = Parts(base, Path(folder))
            make_archive(parts.archive, ses, plan.sabotage)
            record = Record(ses, account.notes)
            watch = asyncio.ensure_future(record.watch())
            try:
                await Course(parts, ses, random.Random(seed), account, record, tell).run()
            finally:
                await ended(watch)
    return account


def plans(cuts: int, sabotaged: int) -> tuple[Plan, ...]:
    """The relay as it is, and what has to lose mail."""
    return (
        Plan("the relay", cuts),
        Plan("a relay without syncs", sabotaged, WITHOUT_SYNC),
        Plan("a relay without syncs of large contents", sabotaged, WITHOUT_SYNC_OF_CONTENTS),
        Plan("the relay on a disk that lies", sabotaged, lies=True),
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read the command line, run the campaigns, report."""
    parser = argparse.ArgumentParser(description="Cut the power of a machine with a relay, again and again.")
    parser.add_argument("base", type=Path, help="the folder that setup.sh has made")
    parser.add_argument("--cuts", type=int, default=25, help="of the relay as it is (%(default)s)")
    parser.add_argument("--sabotaged", type=int, default=3, help="of each relay that has to lose mail (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all chance but that of time")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends this must not leave a machine running
        signal.signal(number, signal.default_int_handler)
    logging.getLogger("aiohttp.server").disabled = True  # calls that break off when a caller dies are no news
    _say(f"seed {options.seed}")
    broken = 0
    for plan in plans(options.cuts, options.sabotaged):
        if plan.cuts:
            _say(f"-- {plan.name}")
            account = asyncio.run(run(plan, options.base, options.seed, _say))
            _say("\n".join(account.lines()))
            broken += not account.holds
    _say("not as it must be" if broken else "everything is as it must be")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
