"""Killed at any moment, the spool has every mail that it acknowledged: all recipients, every byte."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_writer import RECIPIENTS
from spool_parts import contents, everything, opened

from relay.spool.bodies import KEPT_S
from relay.spool.opening import Before

KILLS = 60
LONGEST_S = 0.12  # from the first acknowledged mail to the kill


@pytest.fixture(scope="module")
def zygote() -> Iterator[subprocess.Popen[str]]:
    """Forks a worker for each folder it is told."""
    script = Path(__file__).with_name("crash_writer.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(script.parent.parent.parent)},
    ) as process:  # fmt: skip
        yield process
        assert process.stdin
        process.stdin.close()
        process.wait(30)


def killed(zygote: subprocess.Popen[str], folder: Path, after_s: float) -> list[list[str]]:
    """What a worker told until it was killed, some time after its first acknowledged mail."""
    assert zygote.stdin
    assert zygote.stdout
    zygote.stdin.write(f"{folder}\n")
    zygote.stdin.flush()
    worker = int(zygote.stdout.readline().split()[1])
    told = [zygote.stdout.readline().split()]
    timer = threading.Timer(after_s, os.kill, (worker, signal.SIGKILL))
    timer.start()
    for line in zygote.stdout:
        if line == "ended\n":
            break
        told.append(line.split())
    timer.join()
    return told


@pytest.mark.parametrize("number", range(KILLS))
async def test_nothing_acknowledged_is_lost(zygote: subprocess.Popen[str], tmp_path: Path, number: int) -> None:
    """Each (mail, recipient) that was acknowledged is in the spool, unless its settlement had begun."""
    told = killed(zygote, tmp_path, random.Random(number).uniform(0, LONGEST_S))
    put = {words[1]: words[2] for words in told if words[0] == "put"}
    ending: dict[str, set[str]] = defaultdict(set)
    for words in told:
        if words[0] == "ending":
            ending[words[1].partition(".")[0]] |= set(words[2:])

    async with opened(tmp_path, now=time.time() + KEPT_S + 60) as spool:
        left: dict[str, list[str]] = defaultdict(list)
        for parcel in (await everything(spool)).values():
            left[parcel.mail] += parcel.envelope.recipients
        kept = {mail: bytes(await spool.content(mail) or b"") for mail in left}
        files = contents(tmp_path)

    assert put, "the worker had begun"
    for mail, digest in put.items():
        assert set(left[mail]) | ending[mail] == set(RECIPIENTS), f"{mail} lost a recipient"
        if left[mail]:
            assert hashlib.sha256(kept[mail]).hexdigest() == digest, f"{mail} is damaged"
    assert all(len(recipients) == len(set(recipients)) for recipients in left.values()), "a recipient stands twice"
    assert spool.found.missing == ()
    assert (spool.found.before, spool.found.mended) == (Before(), None), "a kill is no damage"
    assert len(files) == sum(len(content) > 4096 for content in kept.values()), "a file that nothing needs"
