"""A whole computer for a power cut: its own kernel, its own file system, and a plug that can be pulled.

Emulated by qemu, without hardware help, so that it runs wherever qemu does. What it is made of stands in a folder that
`setup.sh` has made: `vmlinuz`, `initrd`, and `base.img`, a Debian that it only reads. Besides, it gets its disk (see
`power_disk`) and an archive whose program `start` is run.
"""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 180.0
_POLL_S: Final = 0.02
_MACHINE: Final = (
    *("-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768"),
    *("-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
)
_KERNEL: Final = "root=/dev/vda ro init=/sbin/campaign net.ifnames=0 console=ttyS0 panic=-1 quiet"


class MachineError(Exception):
    """The machine did not do what every machine can; the campaign proves nothing."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a machine is made of: the folder that `setup.sh` has made, and a folder of its own for everything else."""

    base: Path
    work: Path

    @property
    def archive(self) -> Path:
        """What the guest is given."""
        return self.work / "guest.tar"

    @property
    def platter(self) -> Path:
        """Where the disk keeps what has been flushed."""
        return self.work / "disk.img"

    @property
    def disk(self) -> Path:
        """The socket at which the disk is served."""
        return self.work / "disk"

    def written(self, name: str) -> Path:
        """What the machine writes: its `console`, the guest's `report`, the relay's `log`, qemu's own `words`."""
        return self.work / name


class Machine:
    """One that runs. `port` on this host's loopback leads to the guest's port 2525."""

    def __init__(self, process: asyncio.subprocess.Process, parts: Parts, port: int) -> None:
        self.port = port
        self._process = process
        self._parts = parts
        self._report = parts.written("report")

    @property
    def reported(self) -> dict[str, Any] | None:
        """What the guest has said of its spool, before it started its relay; None when it has not come so far."""
        text = self._report.read_text("utf-8")
        return dict(json.loads(text)) if text.endswith("\n") else None

    async def report(self) -> dict[str, Any]:
        """The same, when it is there. Raises MachineError."""
        await self.until("there is no report", lambda: self.reported is not None)
        return self.reported or {}

    async def answers(self) -> None:
        """Return when a relay greets at the port. Raises MachineError."""
        greeting = asyncio.ensure_future(self._greeted())
        try:
            await self.until("no relay answers", greeting.done)
        finally:
            greeting.cancel()

    async def until(self, trouble: str, done: Callable[[], bool]) -> None:
        """Look again and again, until it is done. Raises MachineError when that takes too long, or qemu ends."""
        for _ in range(int(PATIENCE_S / _POLL_S)):
            if done():
                return
            await asyncio.sleep(_POLL_S)
            if self._process.returncode is not None:
                raise MachineError(f"qemu has ended ({self._process.returncode}):\n{self.told()}")
        raise MachineError(f"{trouble}:\n{self.told()}")

    async def _greeted(self) -> None:
        """A connection is taken by qemu itself, which lets go of it when nobody in the guest takes it."""
        greeting = b""
        while not greeting.startswith(b"220"):
            await asyncio.sleep(_POLL_S)
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    greeting = await reader.readline()
                finally:
                    writer.close()

    def told(self) -> str:
        """The ends of its console and of the relay's log, for whoever looks for what went wrong."""
        files = [self._parts.written(name) for name in ("words", "console", "log")]
        return "\n".join(f"-- {file.name}\n{_end_of(file)}" for file in files)

    async def cut(self) -> None:
        """Pull the plug: nothing in the guest is told."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def machine(parts: Parts) -> AsyncIterator[Machine]:
    """Switch one on; it is off at the end, whatever happens."""
    port = _free_port()
    for name in ("report", "console", "log"):
        parts.written(name).write_bytes(b"")
    with parts.written("words").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*_command(parts, port), stdout=log, stderr=log)
    running = Machine(process, parts, port)
    try:
        yield running
    finally:
        await running.cut()


def _command(parts: Parts, port: int) -> Iterable[str]:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise MachineError("there is no qemu-system-x86_64 on this machine")
    yield qemu
    yield from _MACHINE
    yield from ("-kernel", f"{parts.base}/vmlinuz", "-initrd", f"{parts.base}/initrd", "-append", _KERNEL)
    yield from ("-drive", f"if=virtio,format=raw,readonly=on,file={parts.base}/base.img")
    yield from ("-drive", f"if=virtio,format=raw,cache=writeback,file.driver=nbd,file.path={parts.disk}")
    yield from ("-drive", f"if=virtio,format=raw,readonly=on,file={parts.archive}")
    yield from ("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:2525", "-device", "virtio-net-pci,netdev=net")
    yield from (
        "-serial",
        f"file:{parts.written('console')}",
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-serial-pci",
    )
    for name in ("report", "log"):
        yield from ("-chardev", f"file,id={name},path={parts.written(name)}", "-device", f"virtconsole,chardev={name}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_of(file: Path, size: int = 2000) -> str:
    return file.read_text("utf-8", "replace")[-size:] if file.exists() else ""
