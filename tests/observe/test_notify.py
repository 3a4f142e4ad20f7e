"""What systemd hears, over real datagram sockets; and that it may be absent, deaf or gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.observe.notify import Notifier


class Manager:
    """A service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.name = address.replace("\0", "@")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind(address)

    def heard(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0ses-relay-test-{os.getpid()}"
    manager = Manager(address)
    yield manager
    manager.socket.close()


class Over(Exception):
    """Enough beats."""


class Pause:
    """Counts how long the beat rests, and ends it after three."""

    def __init__(self) -> None:
        self.rests: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.rests.append(seconds)
        if len(self.rests) == 3:
            raise Over


def test_each_state_is_one_datagram(manager: Manager) -> None:
    """READY, RELOADING with its time, STOPPING and a line for people arrive as systemd reads them."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.name})

    assert (notifier.ready(), manager.heard()) == (True, "READY=1")
    assert (notifier.stopping(), manager.heard()) == (True, "STOPPING=1")
    assert (notifier.status("12 sessions\nREADY=1"), manager.heard()) == (True, "STATUS=12 sessions READY=1")
    assert notifier.reloading()
    state, _, when = manager.heard().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert int(when) > 0


async def test_the_watchdog_is_fed_at_half_its_time(manager: Manager) -> None:
    """WATCHDOG_USEC is in microseconds."""
    pause, environ = Pause(), {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}
    with pytest.raises(Over):
        await Notifier(environ, pid=7).keep_alive(pause)

    assert pause.rests == [15.0, 15.0, 15.0]
    assert [manager.heard() for _ in pause.rests] == ["WATCHDOG=1"] * 3


async def test_the_process_id_may_be_left_out_and_is_ours_by_default(manager: Manager) -> None:
    """Without WATCHDOG_PID the watchdog is meant for whoever has the variable."""
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "2000000"}

    assert Notifier(environ).watchdog_s == 2.0
    assert Notifier(environ | {"WATCHDOG_PID": str(os.getpid())}).watchdog_s == 2.0


@pytest.mark.parametrize(
    "environ",
    [
        {"NOTIFY_SOCKET": "@x"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "30000000"},
    ],
    ids=["none", "zero", "no number", "another process's", "nobody listens"],
)
async def test_without_a_watchdog_the_beat_ends_at_once(environ: dict[str, str]) -> None:
    """It is not ours to feed."""
    pause = Pause()
    await Notifier(environ, pid=7).keep_alive(pause)

    assert pause.rests == []


@pytest.mark.parametrize("name", ["", "@", "vsock:2:1234", "relative/path", "/nowhere/notify", "/" + "x" * 200])
def test_an_absent_manager_is_no_error(name: str) -> None:
    """The relay runs in shells and containers too."""
    notifier = Notifier({"NOTIFY_SOCKET": name})

    assert not any([notifier.ready(), notifier.stopping(), notifier.reloading(), notifier.status("x")])


def test_a_manager_that_has_gone_is_no_error(tmp_path: Path) -> None:
    """Its socket file may outlive it."""
    manager = Manager(str(tmp_path / "notify"))
    manager.socket.close()

    assert Notifier({"NOTIFY_SOCKET": manager.name}).ready() is False
    assert Notifier({}).ready() is False
