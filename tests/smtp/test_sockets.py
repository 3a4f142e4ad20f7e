"""Listening sockets: TCP, Unix-domain, and those of systemd; each is connected to for real."""

import asyncio
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvloop

from relay.settings.addresses import SystemdSocket, TcpAddress, UnixAddress
from relay.smtp.activation import Activation
from relay.smtp.sockets import OpenSocket, open_sockets

NOTHING = Activation({}, os.getpid())


@pytest.fixture
def opened() -> Iterator[list[OpenSocket]]:
    """What a test opens is closed at its end."""
    sockets: list[OpenSocket] = []
    yield sockets
    for each in sockets:
        each.close()


def open_tcp(opened: list[OpenSocket], host: str, port: int = 0) -> list[OpenSocket]:
    mine = open_sockets(TcpAddress(host, port), NOTHING)
    opened += mine
    return mine


def open_unix(opened: list[OpenSocket], path: Path) -> OpenSocket:
    [mine] = open_sockets(UnixAddress(str(path)), NOTHING)
    opened.append(mine)
    return mine


def answers(address: Any) -> bool:
    """Whether a client gets a connection there."""
    family = (
        socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
    )
    with closing(socket.socket(family, socket.SOCK_STREAM)) as client:
        client.settimeout(5)
        return client.connect_ex(address) == 0


# TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_listened_on_and_named(opened: list[OpenSocket], host: str) -> None:
    [one] = open_tcp(opened, host)
    port = one.sock.getsockname()[1]

    assert answers((host, port))
    assert one.name == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    assert one.sock.getblocking() is False
    assert one.sock.get_inheritable() is False


def test_localhost_is_both_loopback_addresses_with_one_port(opened: list[OpenSocket]) -> None:
    """Whatever the resolver says: clients that prefer either family find us."""
    both = open_tcp(opened, "localhost")
    ports = {each.sock.getsockname()[1] for each in both}

    assert [each.sock.getsockname()[0] for each in both] == ["127.0.0.1", "::1"]
    assert len(ports) == 1
    assert answers(("::1", ports.pop()))


def test_localhost_without_ipv6_is_the_other_half(opened: list[OpenSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no ::1 is no reason not to start."""
    real = socket.socket

    def without_ipv6(family: int = -1, *arguments: Any, **names: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *arguments, **names)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    [one] = open_tcp(opened, "localhost")

    assert one.sock.getsockname()[0] == "127.0.0.1"


def test_somebody_else_on_the_other_half_of_localhost_is_no_small_matter(opened: list[OpenSocket]) -> None:
    """Half of the mail would go to that process: refused, and 127.0.0.1 is let go of."""
    [theirs] = open_tcp(opened, "::1")
    port = theirs.sock.getsockname()[1]
    with pytest.raises(OSError, match=rf"\[::1\]:{port}: Address already in use") as error:
        open_tcp(opened, "localhost", port)

    assert error.value.errno == errno.EADDRINUSE
    assert not answers(("127.0.0.1", port))


def test_an_address_that_is_taken_or_foreign_is_named(opened: list[OpenSocket]) -> None:
    [one] = open_tcp(opened, "127.0.0.1")
    port = one.sock.getsockname()[1]
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
        open_tcp(opened, "127.0.0.1", port)
    with pytest.raises(OSError, match=r"192\.0\.2\.1:25: "):
        open_tcp(opened, "192.0.2.1", 25)
    with pytest.raises(OSError, match=r"no-such-host\.invalid:25: "):
        open_tcp(opened, "no-such-host.invalid", 25)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_serve_the_sockets(opened: list[OpenSocket], tmp_path: Path, make_loop: Any) -> None:
    """By `create_server` and `create_unix_server`, with a backlog of the server's own."""
    [tcp], unix = open_tcp(opened, "127.0.0.1"), open_unix(opened, tmp_path / "s")

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220\r\n")
        writer.close()

    async def scene() -> list[bytes]:
        servers = [
            await asyncio.start_server(greet, sock=tcp.sock, backlog=2048),
            await asyncio.start_unix_server(greet, sock=unix.sock, backlog=2048),
        ]
        said = []
        for reader, writer in (
            await asyncio.open_connection(*tcp.sock.getsockname()),
            await asyncio.open_unix_connection(str(tmp_path / "s")),
        ):
            said.append(await reader.read())
            writer.close()
            await writer.wait_closed()
        for server in servers:
            server.close()
        return said

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(scene()) == [b"220\r\n"] * 2


# Unix-domain


def test_a_socket_file_is_for_owner_and_group(opened: list[OpenSocket], tmp_path: Path) -> None:
    """Mode 0660 whatever the umask is."""
    before = os.umask(0)
    try:
        one = open_unix(opened, tmp_path / "smtp")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "smtp").stat().st_mode) == 0o660
    assert one.name == f"unix:{tmp_path}/smtp"
    assert answers(str(tmp_path / "smtp"))


def test_the_socket_file_goes_with_the_listener(opened: list[OpenSocket], tmp_path: Path) -> None:
    one = open_unix(opened, tmp_path / "smtp")
    one.close()
    one.close()

    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_dead_relay_is_replaced(opened: list[OpenSocket], tmp_path: Path) -> None:
    """What a SIGKILL leaves behind must not keep the relay from starting again."""
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / "smtp"))
        dead.listen()
    open_unix(opened, tmp_path / "smtp")

    assert answers(str(tmp_path / "smtp"))


def test_a_living_relay_is_not_robbed_of_its_socket(opened: list[OpenSocket], tmp_path: Path) -> None:
    open_unix(opened, tmp_path / "smtp")
    with pytest.raises(OSError, match=r"smtp: another process listens on it"):
        open_unix(opened, tmp_path / "smtp")

    assert answers(str(tmp_path / "smtp"))


def test_a_living_relay_with_a_full_backlog_is_alive(opened: list[OpenSocket], tmp_path: Path) -> None:
    """Connections that wait are refused no more than they are answered; the socket is in use all the same."""
    path = str(tmp_path / "smtp")
    with closing(socket.socket(socket.AF_UNIX)) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(path)
            with pytest.raises(OSError, match="another process"):
                open_unix(opened, tmp_path / "smtp")
        finally:
            for client in waiting:
                client.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "datagram"])
def test_what_is_no_socket_of_a_dead_relay_stays(opened: list[OpenSocket], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "smtp"
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        datagram.bind(str(path))
    with closing(datagram), pytest.raises(OSError, match=rf"unix:{path}: "):
        open_unix(opened, path)

    assert os.path.lexists(path)


def test_a_file_that_is_no_longer_ours_stays(opened: list[OpenSocket], tmp_path: Path) -> None:
    """A new relay has started while the old one drains: the old one must not remove the new one's file."""
    path = tmp_path / "smtp"
    old = open_unix(opened, path)
    path.unlink()
    open_unix(opened, path)
    old.close()

    assert answers(str(path))


def test_relays_that_start_at_once_do_not_take_each_other_for_dead(opened: list[OpenSocket], tmp_path: Path) -> None:
    import fcntl  # noqa: PLC0415 - what another relay does at this moment

    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another relay is starting"):
            open_unix(opened, tmp_path / "smtp")
    finally:
        os.close(other)
    open_unix(opened, tmp_path / "smtp")

    assert answers(str(tmp_path / "smtp"))


def test_a_path_that_cannot_be_is_named(opened: list[OpenSocket], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere/smtp: No such file or directory"):
        open_unix(opened, tmp_path / "nowhere" / "smtp")
    with pytest.raises(OSError, match="path too long"):
        open_unix(opened, tmp_path / ("x" * 120))


# Socket activation: a child is started with descriptors 3 and up, as systemd does it

CHILD = """
import json, os, socket, sys
from relay.settings.addresses import SystemdSocket
from relay.smtp.activation import Activation
from relay.smtp.sockets import open_sockets

activation = Activation(os.environ, os.getpid())
said = {"left": sorted(name for name in os.environ if name.startswith("LISTEN_"))}
for name in sys.argv[1:]:
    try:
        taken = open_sockets(SystemdSocket(name), activation)
    except OSError as error:
        said[name] = str(error)
    else:
        said[name] = [each.name for each in taken]
        said["inheritable"] = [each.sock.get_inheritable() for each in taken]
        for each in taken:
            each.sock.setblocking(True)
            each.sock.accept()[0].sendall(b"hello from the child")
said["unclaimed"] = activation.names
print(json.dumps(said))
"""


class Service:
    """A process to which sockets are handed over."""

    def __init__(self, sockets: list[Any], *asks: str, names: str | None = "", pid: str = "$$", fds: str = "") -> None:
        # The shell puts each descriptor where systemd would, and becomes the child, so that $$ is its process id.
        count = len(sockets)
        high = [os.dup2(each.fileno(), 100 + index) for index, each in enumerate(sockets)]
        moves = " ".join(f"{3 + index}<&{descriptor} {descriptor}<&-" for index, descriptor in enumerate(high))
        named = "" if names is None else f'LISTEN_FDNAMES="{names}"'
        command = f'LISTEN_PID={pid} LISTEN_FDS={fds or count} {named} exec {sys.executable} -c "$0" "$@" {moves}'
        try:
            self.process = subprocess.Popen(
                ["bash", "-c", command, CHILD, *asks], pass_fds=high, stdout=subprocess.PIPE, text=True
            )
        finally:
            for descriptor in high:
                os.close(descriptor)

    def says(self) -> dict[str, Any]:
        """What the child reports at its end."""
        out, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        said: dict[str, Any] = json.loads(out)
        return said


def heard(sock: socket.socket) -> bytes:
    """What the process behind a listening socket tells a client."""
    with closing(socket.socket(sock.family)) as client:
        client.settimeout(30)
        client.connect(sock.getsockname())
        return client.recv(100)


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """What a .socket unit has opened: IPv4, IPv6 and a Unix-domain socket."""
    sockets = [socket.socket(family) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)]
    addresses: list[Any] = [("127.0.0.1", 0), ("::1", 0), str(tmp_path / "s")]
    for each, address in zip(sockets, addresses, strict=True):
        each.bind(address)
        each.listen()
    yield sockets
    for each in sockets:
        each.close()


def test_sockets_of_systemd_are_taken_by_name(listening: list[socket.socket], tmp_path: Path) -> None:
    """All of one name, whatever their family; neither the variables nor the descriptors go on to children."""
    v4, v6, _ = listening
    service = Service(listening, "smtp", "local", names="smtp:smtp:local")
    greetings = [heard(each) for each in listening]
    said = service.says()

    assert greetings == [b"hello from the child"] * 3
    assert said["smtp"] == [
        f"systemd:smtp 127.0.0.1:{v4.getsockname()[1]}",
        f"systemd:smtp [::1]:{v6.getsockname()[1]}",
    ]
    assert said["local"] == [f"systemd:local unix:{tmp_path}/s"]
    assert said["left"] == said["unclaimed"] == []
    assert said["inheritable"] == [False]


def test_a_socket_that_no_listener_takes_is_told(listening: list[socket.socket]) -> None:
    """Clients would connect there and wait for ever."""
    service = Service(listening[:2], "smtp", names="smtp:submission")
    heard(listening[0])

    assert service.says()["unclaimed"] == ["submission"]


def test_names_that_are_missing_are_unknown(listening: list[socket.socket]) -> None:
    """Systemd before version 227, and other tools, give none (sd_listen_fds(3))."""
    service = Service(listening[:1], "unknown", names=None)
    heard(listening[0])

    assert service.says()["unknown"] == [f"systemd:unknown 127.0.0.1:{listening[0].getsockname()[1]}"]


def test_sockets_that_cannot_be_taken_are_told_in_words(listening: list[socket.socket]) -> None:
    other = Service(listening[:1], "smtp", names="submission").says()["smtp"]
    none = Service([], "smtp").says()["smtp"]
    pid = Service(listening[:1], "smtp", names="smtp", pid="1").says()["smtp"]
    nonsense = Service(listening[:1], "smtp", names="smtp", fds="many").says()["smtp"]
    closed = Service([], "smtp", names="smtp", fds="1").says()["smtp"]

    assert other.endswith("systemd:smtp: systemd has handed over submission and no socket of this name")
    for words in (none, nonsense, closed):
        assert words.endswith("start the relay by its .socket unit")
    assert "systemd has handed its sockets to process 1, not to this one" in pid


@pytest.mark.parametrize("kind", ["file", "datagram", "connected", "not listening"])
def test_what_is_no_listening_stream_socket_is_refused(tmp_path: Path, kind: str) -> None:
    """`Accept=yes` hands over connections, `ListenDatagram=` packets: neither is a listener."""
    left, right = socket.socketpair()
    with (
        (tmp_path / "file").open("w") as file,
        closing(socket.socket(type=socket.SOCK_DGRAM)) as datagram,
        closing(socket.socket()) as quiet,
        closing(left),
        closing(right),
    ):
        datagram.bind(("127.0.0.1", 0))
        quiet.bind(("127.0.0.1", 0))
        handed: dict[str, Any] = {"file": file, "datagram": datagram, "connected": left, "not listening": quiet}
        said = Service([handed[kind]], "smtp", names="smtp").says()["smtp"]

    assert ("is no socket" if kind == "file" else "is no listening stream socket") in said


def test_without_systemd_the_words_say_what_to_do() -> None:
    with pytest.raises(OSError, match=r"systemd:smtp: systemd has handed over no sockets: start .* \.socket unit"):
        open_sockets(SystemdSocket("smtp"), NOTHING)
