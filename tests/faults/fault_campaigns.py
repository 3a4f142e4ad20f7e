"""Nothing acknowledged is lost, measured: `make test-faults`.

Four campaigns with a relay as a process in front of a local SES that fails at random, on loopback. Each draws up the
account from outside the relay (see `conservation`) and prints its figures; the exit status is 1 when a promise is
broken. Needs Linux, the last two also strace(1).
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import endings
import order_scene
import syscalls
from tracer import strace


def say(line: str) -> None:
    """Print it at once: a campaign takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def kills(options: argparse.Namespace) -> bool:
    """SIGKILL at random times."""
    return _told(await endings.kill(options.kills, options.seed, say))


async def terms(options: argparse.Namespace) -> bool:
    """SIGTERM with mail in flight."""
    return _told(await endings.terminate(options.terms, options.seed, say))


async def calls(options: argparse.Namespace) -> bool:
    """SIGKILL at every system call of the spool."""
    return _told(await syscalls.campaign(say))


async def order(options: argparse.Namespace) -> bool:
    """The sync returns before 250 is written; on a build without syncs the proof fails."""
    proof = await order_scene.prove_order(options.messages, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        broken = await order_scene.prove_order(options.messages, options.seed, order_scene.without_sync(Path(folder)))
    say(f"replies whose sync had returned: {proof.rows} for messages in rows, {proof.files} in files of their own")
    say(f"without syncs, unproven: {len(broken.faults)}")
    for fault in proof.faults[:5]:
        say(f"  BROKEN: {fault}")
    if proof_fails_when_it_should := bool(broken.faults) and not broken.rows + broken.files:
        return not proof.faults and proof.rows > 0 and proof.files > 0
    say("  BROKEN: a build without syncs was not found out")
    return proof_fails_when_it_should


CAMPAIGNS: dict[str, Callable[[argparse.Namespace], Awaitable[bool]]] = {
    "kills": kills, "terms": terms, "calls": calls, "order": order,
}  # fmt: skip
TRACED = ("calls", "order")


def _told(result: endings.Result) -> bool:
    for line in result.lines():
        say(line)
    return result.holds


def main() -> int:
    """Read the command line, run the campaigns, report."""
    parser = argparse.ArgumentParser(description="Kill relays and see that nothing acknowledged is lost.")
    parser.add_argument("campaigns", nargs="*", help=f"of {', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--terms", type=int, default=50)
    parser.add_argument("--messages", type=int, default=24, help="for the order, by each way to acknowledge")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that are killed are what this is about
    chosen = [name for name in CAMPAIGNS if not options.campaigns or name in options.campaigns]
    if strace() is None and any(name in TRACED for name in chosen):
        parser.error("strace is missing: tests/faults/setup.sh brings it")
    held = True
    for name in chosen:
        began = time.monotonic()
        held &= asyncio.run(_run(CAMPAIGNS[name], options))
        say(f"{name}: {time.monotonic() - began:.0f} s\n")
    say("every promise holds" if held else "PROMISES BROKEN")
    return 0 if held else 1


async def _run(campaign: Callable[[argparse.Namespace], Awaitable[bool]], options: argparse.Namespace) -> bool:
    return await campaign(options)


if __name__ == "__main__":
    sys.exit(main())
