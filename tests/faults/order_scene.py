"""A relay under strace that answers `queued as` in both ways, and what the trace proves."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from pathlib import Path
from typing import Final

import letters
from lives import environment, run
from order import Proof, Queued, prove
from senders import session
from stage import ACKNOWLEDGE, Stage, staged
from tracer import CHANGES, REPLIES, read, watching

from relay.simulator import Fault

CLIENTS: Final = 4
_SIZES: Final = (1_000, 20_000, 200_000)
_ROOT: Final = Path(__file__).parent.parent.parent


async def prove_order(messages: int, seed: int, code: Path = _ROOT) -> Proof:
    """Send that many messages by each way of acknowledging to a relay of this code, and prove the order of each."""
    proofs = []
    for acknowledge in ACKNOWLEDGE:
        async with staged(seed) as (stage, _):
            stage.ses.faults.add(Fault(action="error"))  # with on_delivery, what SES does not take is queued
            output = stage.folder / "trace"
            queued = await _work(stage, acknowledge, output, messages, code)
            calls = read(output.read_text("utf-8", "replace").splitlines())
            proofs.append(prove(calls, str(stage.spool), queued))
    rows, files = (sum(getattr(proof, name) for proof in proofs) for name in ("rows", "files"))
    return Proof(rows, files, tuple(fault for proof in proofs for fault in proof.faults))


async def _work(stage: Stage, acknowledge: str, output: Path, messages: int, code: Path) -> list[Queued]:
    """Several clients at once, so that a sync serves several messages."""
    env = environment(stage.ses.relay_environment(), code)
    words = watching(output, *sorted({*CHANGES, *REPLIES}))
    async with run(stage.config(acknowledge), env, *words, cwd=code) as life:
        await life.ready()
        shares = [range(number, messages, CLIENTS) for number in range(CLIENTS)]
        heard = await asyncio.gather(*(_send(life.port, stage, share) for share in shares))
        await life.end(signal.SIGTERM)
    return [queued for share in heard for queued in share]


async def _send(port: int, stage: Stage, numbers: range) -> list[Queued]:
    queued = []
    async with session(port) as client:
        for number in numbers:
            size = _SIZES[number % len(_SIZES)]
            letter = letters.write(f"o{number}o", "app@example.com", 1, size, random.Random(number))
            answer = await client.submit(letter, stage.notes)
            if not answer.startswith("250 2.0.0 Ok queued as "):
                raise RuntimeError(f"the relay did not queue a message: {answer}")
            queued.append(Queued(answer.rpartition(" ")[2], letter.token))
    return queued


def without_sync(folder: Path) -> Path:
    """A copy of the relay's code whose commits do not wait for the disk; what the proof must find."""
    shutil.copytree(_ROOT / "relay", folder / "relay", ignore=shutil.ignore_patterns("__pycache__"))
    schema = folder / "relay" / "spool" / "schema.py"
    text = schema.read_text("utf-8")
    broken = text.replace('connection.pragma("synchronous", "full")', 'connection.pragma("synchronous", "off")')
    if broken == text:
        raise RuntimeError("the relay does not set `synchronous` where it did: nothing was broken")
    schema.write_text(broken, "utf-8")
    return folder
