"""How fast mail is taken into the spool: messages per second, server CPU and syncs per message, while SES is down.

    python tests/bench/bench_acceptance.py [SECONDS] [FOLDER]

`on_spool` commits at once; `on_delivery` sees that SES is down, and commits then (`hold_s: 0`). Clients speak raw bytes
on loopback from a process of their own, one message after the other in each of 1, 16 and 100 sessions at once. Group
commit shows in the syncs: they are counted by strace, where there is one, in a run of its own. The disk decides what
one session may have at most: its bare syncs are timed first.
"""

import asyncio
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "scale"))

from scale_relay import Process, running
from scale_upstream import upstream

from relay.simulator import Simulator

SESSIONS = (1, 16, 100)
BYTES = 2_000
ENVELOPE = (b"MAIL FROM:<app@example.com>", b"RCPT TO:<user@customer.example>", b"DATA")
HEAD = b"From: app@example.com\r\nTo: user@customer.example\r\nSubject: x\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
HEAD += b"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
MESSAGE = HEAD + (b"x" * 76 + b"\r\n") * ((BYTES - len(HEAD)) // 78) + b".\r\n"


@dataclass(frozen=True, slots=True)
class Sent:
    """What all sessions together were acknowledged, and how long each waited for it."""

    waits: tuple[float, ...]
    seconds: float


async def session(port: int, ends: float, waits: list[float]) -> None:
    """Send until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()

    async def say(data: bytes, expected: bytes) -> None:
        writer.write(data + b"\r\n")
        while (line := await reader.readline())[3:4] == b"-":
            pass
        if line[:3] != expected:
            raise RuntimeError(line)

    await say(b"EHLO bench", b"250")
    while time.monotonic() < ends:
        for command, expected in zip(ENVELOPE, (b"250", b"250", b"354"), strict=True):
            await say(command, expected)
        began = time.perf_counter()
        await say(MESSAGE[:-2], b"250")
        waits.append(time.perf_counter() - began)
    writer.close()


def send(port: int, sessions: int, seconds: float, answer: Connection) -> None:
    """The clients' process."""

    async def all_of_them() -> Sent:
        waits: list[float] = []
        began = time.monotonic()
        await asyncio.gather(*(session(port, began + seconds, waits) for _ in range(sessions)))
        return Sent(tuple(sorted(waits)), time.monotonic() - began)

    answer.send(asyncio.run(all_of_them()))


async def measured(relay: Process, sessions: int, seconds: float) -> tuple[Sent, float]:
    """What came of it, and the CPU seconds that the relay took."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    cpu = relay.cpu_s
    client = context.Process(target=send, args=(relay.port, sessions, seconds, theirs))
    client.start()
    sent: Sent = await asyncio.to_thread(ours.recv)
    client.join()
    return sent, relay.cpu_s - cpu


def config(ses: Simulator, url: str, folder: Path, acknowledge: str) -> dict[str, Any]:
    """A relay in front of an SES that is down."""
    made = ses.relay_config() | {
        "listeners": [{"bind": "127.0.0.1:0"}],
        "admin": {"bind": "127.0.0.1:0"},
        "spool": {"path": str(folder / "spool.db"), "min_free_bytes": "1MB"},
        "delivery": {"acknowledge": acknowledge, "hold_s": 0},
        "limits": {"connections_per_client": 1000},
    }
    made["ses"] |= {"api_endpoint": url, "max_rate": 100_000}
    return made


async def table(acknowledge: str, seconds: float, place: str | None) -> None:
    """All numbers of sessions, each with a spool of its own."""
    for sessions in SESSIONS:
        with tempfile.TemporaryDirectory(dir=place) as name, upstream() as down:
            down.down(True)
            folder = Path(name)
            async with Simulator(ca_file=folder / "ca.pem") as ses:
                settings = config(ses, down.url, folder, acknowledge)
                async with running(folder, settings, ses.relay_environment()) as relay:
                    await measured(relay, sessions, 1)
                    sent, cpu = await measured(relay, sessions, seconds)
                syncs = await counted(folder, settings, ses, sessions)
        count = len(sent.waits)
        usual, long = (sent.waits[count * percent // 100] * 1e3 for percent in (50, 99))
        rate, cost = count / sent.seconds, cpu / count * 1e3
        print(
            f"{acknowledge:12}{sessions:4} sessions: {rate:7.0f} msg/s, {cost:6.2f} ms CPU, "
            f"wait {usual:6.1f} ms (99 %: {long:6.1f}), {syncs}"
        )


async def counted(folder: Path, settings: dict[str, Any], ses: Simulator, sessions: int) -> str:
    """Syncs per message, by strace."""
    if not (tracer := shutil.which("strace")):
        return "syncs not counted: there is no strace"
    calls = folder / "syncs"
    options = [
        tracer,
        "-D",
        "--seccomp-bpf",
        "-f",
        "-qq",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "signal=none",
        "-o",
        calls,
    ]
    async with running(folder, settings, ses.relay_environment(), before=list(map(str, options))) as relay:
        before = syncs(calls)
        sent, _ = await measured(relay, sessions, 2)
        return f"{(syncs(calls) - before) / len(sent.waits):5.2f} syncs per message"


def syncs(calls: Path) -> int:
    """How many there are in strace's notes."""
    return sum("sync(" in line for line in calls.read_text("ascii").splitlines())


def bare_sync(place: str | None) -> float:
    """Milliseconds to append 4 KiB to a file and sync it; the median."""
    samples = []
    with tempfile.NamedTemporaryFile(dir=place, buffering=0) as file:
        for _ in range(100):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            samples.append((time.perf_counter() - start) * 1e3)
    return sorted(samples)[len(samples) // 2]


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    seconds = float(arguments[0]) if arguments else 5.0
    place = arguments[1] if len(arguments) > 1 else None
    print(f"a bare write of 4 KiB and its sync: {bare_sync(place):.2f} ms")
    for acknowledge in ("on_spool", "on_delivery"):
        asyncio.run(table(acknowledge, seconds, place))


if __name__ == "__main__":
    main(sys.argv[1:])
