"""What a campaign plays on: a folder with a spool, a local SES that outlives every kill, and relays one by one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import letters
import weather
import witness
import yaml
from conservation import Balance, Evidence, balance
from lives import Life, Nursery, environment, nursery
from senders import send_for_ever

from relay.simulator import Simulator

IDENTITIES: Final = (
    "arn:aws:ses:us-east-1:123456789012:identity/example.com",
    "arn:aws:ses:eu-west-1:123456789012:identity/example.net",
)
DRAIN_S: Final = 180.0
_HURRY_S: Final = 1.0
_MOST_WAITING: Final = 5000  # recipients; beyond, clients wait, so that a long campaign's queue is bounded
_KEEP: Final = 500
_CONCURRENCY: Final = 8
CALLS_AT_ONCE: Final = _CONCURRENCY * len(IDENTITIES)  # each identity is in a region of its own
ACKNOWLEDGE: Final = ("on_delivery", "on_spool")


class Stage:
    """One campaign's place; `notes` is what has been seen so far."""

    def __init__(self, folder: Path, ses: Simulator, seed: int) -> None:
        self.folder = folder
        self.ses = ses
        self.chance = random.Random(seed)
        self.notes = Evidence()
        self.record = witness.Record(ses, self.notes)
        self.spool = folder / "spool.db"
        self.complaints: list[str] = []
        self._life: Life | None = None
        self._entered = asyncio.Event()

    @property
    def environment(self) -> dict[str, str]:
        """Of a relay that uses this SES."""
        return environment(self.ses.relay_environment())

    def config(self, acknowledge: str) -> Path:
        """Write a configuration in which everything happens soon."""
        config = self.ses.relay_config()
        for rule in config["identities"]:
            rule["transport"] = "smtp" if rule["name"] == "example.net" else "api"
        config["ses"]["concurrency"] = _CONCURRENCY
        config |= {
            "listeners": [{"bind": "127.0.0.1:0"}],
            "admin": "off",
            "spool": {"path": str(self.spool), "min_free_bytes": "1MB"},
            "delivery": {"acknowledge": acknowledge, "hold_s": 0.3, "retry": ["0.5s"]},
            "bounces": {"from": letters.BOUNCES},
        }
        path = self.folder / f"{acknowledge}.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        path.chmod(0o600)
        return path

    def blow(self, *, well: bool = False) -> None:
        """Change the weather; what a delay held goes on."""
        self.ses.faults.clear()
        for fault in (*weather.refusals(), *(() if well else weather.sky(self.chance))):
            self.ses.faults.add(fault)

    def enter(self, life: Life) -> None:
        """This is the relay that clients find from now on, once it accepts mail."""
        self._life = life
        self._entered.set()

    async def leave(self, number: signal.Signals) -> int:
        """Send it a signal that ends it, and wait for that; its exit status. No client looks for it any more."""
        life, self._life = self._life, None
        self._entered.clear()
        if life is None:
            raise RuntimeError("there is no relay")
        status = await life.end(number)
        self.complaints += life.complaints
        return status

    async def port(self) -> int:
        """The port of a relay that accepts mail, once there is one."""
        while True:
            await self._entered.wait()
            life = self._life
            if life is not None and await life.accepts():
                return life.port
            if life is self._life:  # it has ended, and nobody has said so yet
                self._entered.clear()

    async def turn(self) -> None:
        """Return when another message may be sent: not too much waits."""
        await self.record.until_few_wait(_MOST_WAITING)

    async def drain(self, lives: Nursery) -> None:
        """SES is well: deliver all that waits. RuntimeError when something waits for longer than it should."""
        self.blow(well=True)
        life = await lives.begin(self.config("on_spool"))
        self.enter(life)
        await life.ready()
        try:
            async with asyncio.timeout(DRAIN_S):
                while await witness.hurry(self.spool):
                    await life.outlives(0)
                    await self.record.news(_HURRY_S)
        except TimeoutError:
            raise RuntimeError(await witness.remains(self.spool)) from None
        status = await self.leave(signal.SIGTERM)
        if status:
            raise RuntimeError(f"the relay that drained the queue ended with {status}")

    async def account(self) -> Balance:
        """The balance, now that the relay has ended."""
        self.record.catch_up()
        await witness.note_spool(self.notes, self.spool)
        return balance(self.notes)


@asynccontextmanager
async def staged(seed: int) -> AsyncIterator[tuple[Stage, Nursery]]:
    """A stage in a folder of its own, and a nursery for it."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        async with Simulator(identities=IDENTITIES, ca_file=Path(folder) / "ca.pem", keep=_KEEP) as ses:
            stage = Stage(Path(folder), ses, seed)
            watch = asyncio.ensure_future(stage.record.watch())
            try:
                async with nursery(stage.environment) as made:
                    yield stage, made
            finally:
                await ended(watch)


@asynccontextmanager
async def sending(stage: Stage, clients: int) -> AsyncIterator[None]:
    """Clients that send all the time."""
    dice = [random.Random(stage.chance.getrandbits(32)) for _ in range(clients)]
    tasks = [
        asyncio.ensure_future(send_for_ever(f"c{number}", stage, stage.notes, one)) for number, one in enumerate(dice)
    ]
    try:
        yield
    finally:
        for task in tasks:
            await ended(task)


async def ended(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end; what it failed of is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
