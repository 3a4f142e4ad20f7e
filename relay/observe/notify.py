"""Tells systemd how the service is: sd_notify(3), without its library.

Owns the datagrams to `NOTIFY_SOCKET` (a path, or "@name" for an abstract socket) and the watchdog's beat.
Guarantees that a service manager that is absent, deaf or gone never stops the relay: nothing here raises.
Refuses socket kinds that systemd has only for virtual machines (vsock).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

_SEND_S = 1.0


class Notifier:
    """The service manager of this process, if it has one that listens."""

    def __init__(self, environ: Mapping[str, str], *, pid: int | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)); `pid` is this process's."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog(environ, os.getpid() if pid is None else pid) if self._address else None

    def ready(self) -> bool:
        """Say that the relay is up, or that a reload is done. True when it was heard."""
        return self._send("READY=1")

    def reloading(self) -> bool:
        """Say that a reload has begun; `ready` ends it."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """Say that the drain has begun."""
        return self._send("STOPPING=1")

    def status(self, text: str) -> bool:
        """Show one line of text in `systemctl status`."""
        return self._send("STATUS=" + " ".join(text.split()))

    async def keep_alive(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Beat at half of WatchdogSec= until cancelled, so that a stuck loop is restarted; ends if none is set."""
        while self.watchdog_s is not None:
            self._send("WATCHDOG=1")
            await pause(self.watchdog_s / 2)

    def _send(self, state: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_SEND_S)
                out.connect(self._address)
                out.sendall(state.encode())
        except OSError:
            return False
        return True


def _address(text: str) -> str | None:
    if text.startswith("/"):
        return text
    return "\0" + text[1:] if text.startswith("@") and len(text) > 1 else None


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds within which a beat is expected, unless it is another process's."""
    micros, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not micros.isdecimal() or int(micros) == 0 or whose != str(pid):
        return None
    return int(micros) / 1e6
