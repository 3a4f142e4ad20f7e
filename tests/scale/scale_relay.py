"""A relay as a process, measured by what Linux says about it; its log, a line per message, goes to a file."""

import asyncio
import json
import os
import signal
import smtplib
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

PATIENCE_S = 60.0


class Process:
    """One relay; `ready_s` is how long it took from the start of its process."""

    def __init__(
        self, process: asyncio.subprocess.Process, config: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self.config, self.environment = config, environment
        self.ready_s = 0.0
        self.process = process
        self._log = log
        self._proc = Path(f"/proc/{process.pid}")
        self.addresses: list[str] = []

    async def wait_until_ready(self, began: float) -> None:
        """Look into the log until it says so."""
        while not self.events("ready"):
            if self.process.returncode is not None or time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"the relay does not start: {self._log.read_text('utf-8')[-2000:]}")
            await asyncio.sleep(0.01)
        self.ready_s = time.monotonic() - began
        self.addresses = [event["address"] for event in self.events() if event["event"] == "listening"]

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """All events so far, or those of a name."""
        lines = self._log.read_text("utf-8").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if name in (None, event["event"])]

    @property
    def port(self) -> int:
        """Of its first listener."""
        return int(self.addresses[0].rpartition(":")[2])

    @property
    def admin(self) -> str:
        """The address of its admin endpoint."""
        return next(address for address in self.addresses if address.startswith("http"))

    @property
    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = (self._proc / "stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> float:
        """MiB resident at most since the last `forget_peak`; see proc(5)."""
        for line in (self._proc / "status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise LookupError

    def forget_peak(self) -> None:
        """Begin anew to look for the peak."""
        (self._proc / "clear_refs").write_text("5", "ascii")

    def submit(self, sender: str) -> None:
        """Bring one message; raises SMTPException when it is not taken."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE_S) as client:
            client.sendmail(sender, ["ann@customer.example"], f"From: {sender}\r\nSubject: x\r\n\r\nhello\r\n")

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def end(self) -> int:
        """Have it end, and wait for that; its exit status."""
        self.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            raise


@asynccontextmanager
async def running(
    folder: Path, config: Mapping[str, Any], environment: Mapping[str, str], before: Sequence[str] = ()
) -> AsyncIterator[Process]:
    """A relay that is ready; `before` is what its command line begins with."""
    path, log = folder / "relay.yaml", folder / f"relay-{time.monotonic_ns()}.log"
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False), "utf-8")
    path.chmod(0o600)
    began = time.monotonic()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *before, sys.executable, "-m", "relay", "run", "--config", str(path),
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"}, stdout=output, stderr=None,
        )  # fmt: skip
    relay = Process(process, path, environment, log)
    try:
        await relay.wait_until_ready(began)
        yield relay
    finally:
        await relay.end()
