"""A relay as its own process, as an operator runs it, and a local SES in this one."""

import asyncio
import json
import os
import signal
import smtplib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from relay.simulator import Simulator

IDENTITIES = (
    "arn:aws:ses:us-east-1:123456789012:identity/example.com",
    "arn:aws:ses:eu-west-1:123456789012:identity/example.net",
)
PATIENCE_S = 30.0


class RunningRelay:
    """The process, its log and its ports."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.log: list[dict[str, Any]] = []
        self.raw = ""
        self._news = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.raw += line.decode()
            async with self._news:
                self.log.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def event(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`th event of this name."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.log if event["event"] == name]

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: len(found()) >= count or self._reader.done())
        assert len(found()) >= count, f"no {name} in {self.raw}"
        return found()[count - 1]

    @property
    def port(self) -> int:
        """The port of the first listener."""
        listening = next(event for event in self.log if event["event"] == "listening")
        return int(listening["address"].rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        """The port of the admin server."""
        address = next(e["address"] for e in self.log if e["event"] == "listening" and e["address"].startswith("http"))
        return int(address.rpartition(":")[2])

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def end(self) -> int:
        """Wait for the process to end by itself; its exit status. One that does not is killed: the test fails."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await self.process.wait()
                await self._reader
        except TimeoutError:
            self.process.kill()
            raise
        return status


class Bench:
    """Starts relays that send through `ses`, with `environment` besides the test's own."""

    def __init__(self, ses: Simulator, folder: Path) -> None:
        self.ses = ses
        self.environment = ses.relay_environment()
        self._folder = folder
        self._relays: list[RunningRelay] = []

    def config(self, **changes: Any) -> dict[str, Any]:
        """A configuration: example.com by the API in us-east-1, example.net by SMTP in eu-west-1."""
        config = self.ses.relay_config()
        for rule in config["identities"]:
            if rule["name"] == "example.net":
                rule["transport"] = "smtp"
        config |= {"listeners": [{"bind": "127.0.0.1:0"}], "admin": {"bind": "127.0.0.1:0"}}
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        return config

    def write(self, config: dict[str, Any], name: str = "relay.yaml") -> Path:
        """Write it where only we can read it."""
        path = self._folder / name
        path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        path.chmod(0o600)
        return path

    async def start(self, *, wait: bool = True, **changes: Any) -> RunningRelay:
        """Run `python -m relay run` and wait until it is ready."""
        path = self.write(self.config(**changes))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "run", "--config", str(path),
            env={**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.PIPE, stderr=None,
        )  # fmt: skip
        relay = RunningRelay(process, path)
        self._relays.append(relay)
        if wait:
            await relay.event("ready")
        return relay

    async def close(self) -> None:
        """End what is still running; every relay must have gone down cleanly."""
        for relay in self._relays:
            if relay.process.returncode is None:
                relay.tell(signal.SIGTERM)
            await relay.end()


@asynccontextmanager
async def local_ses(folder: Path, *, keep: int = 1000) -> AsyncIterator[Bench]:
    """A local SES in two regions that keeps that many messages, and relays in front of it."""
    async with Simulator(identities=IDENTITIES, ca_file=folder / "ca.pem", keep=keep) as ses:
        bench = Bench(ses, folder)
        try:
            yield bench
        finally:
            await bench.close()


async def submit(
    relay: RunningRelay, sender: str, content: bytes, *recipients: str, peer: str = "127.0.0.1"
) -> tuple[int, str]:
    """Send one message with smtplib, from this address of loopback; the relay's last answer."""

    def talk() -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=60, source_address=(peer, 0)) as client:
            client.ehlo()
            for code, text in (client.mail(sender), *map(client.rcpt, recipients or ("ann@customer.example",))):
                if code >= 300:
                    return code, text.decode()
            code, text = client.data(content)
            return code, text.decode()

    return await asyncio.to_thread(talk)
