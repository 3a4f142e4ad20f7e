"""Opens the sockets that listeners stand on: TCP, Unix-domain, and those that systemd hands over.

Owns addresses and socket files. Returns sockets that listen already; who serves them may call `listen` again with a
backlog of its own. Guarantees that the file of a Unix socket has mode 0660 before anybody can connect, and that only
a file of ours is ever removed.

Refuses, in words: a path that is no socket or that a living process listens on; `localhost` when somebody else has
its other half, ::1. Runs at start and blocks, for as long as the resolver takes for a host name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from relay.settings.addresses import Bind, SystemdSocket, TcpAddress, UnixAddress
from relay.smtp.activation import Activation

_UNIX_MODE = 0o660
_NO_SUCH_ADDRESS = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # a host without IPv6
_PORT_TRIES = 8  # for a port that is free at both ends of localhost


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A listening socket, and what logs call it."""

    sock: socket.socket
    name: str
    _file: tuple[Path, os.stat_result] | None = None

    def close(self) -> None:
        """Stop listening, and remove the socket file if it is still ours."""
        self.sock.close()
        self.remove_file()

    def remove_file(self) -> None:
        """Remove the file of a Unix socket, unless another process has put its own there by now."""
        if self._file is None:
            return
        path, ours = self._file
        with suppress(OSError):
            if os.path.samestat(path.lstat(), ours):
                path.unlink()


def open_sockets(bind: Bind, activation: Activation) -> list[OpenSocket]:
    """Open what a listener binds to: one socket or, for a name with several addresses, one for each.

    Raises:
        OSError: Not to be had; its text names the address and is for an operator.
    """
    if isinstance(bind, SystemdSocket):
        return [OpenSocket(sock, f"{bind} {_where(sock)}") for sock in activation.take(bind.name)]
    if isinstance(bind, UnixAddress):
        return [_open_unix(Path(bind.path))]
    return _open_localhost(bind) if len(bind.hosts) > 1 else _open_tcp(bind.host, bind.port)


# TCP


def _open_localhost(bind: TcpAddress) -> list[OpenSocket]:
    """127.0.0.1 and ::1 with the same port; the latter only where the host has IPv6."""
    first, second = bind.hosts
    for _ in range(_PORT_TRIES):
        opened = _open_tcp(first, bind.port)
        try:
            return opened + _open_tcp(second, opened[0].sock.getsockname()[1])
        except OSError as error:
            if error.errno in _NO_SUCH_ADDRESS:
                return opened
            for each in opened:
                each.close()
            if bind.port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"{bind}: no port is free on both {first} and {second}")


def _open_tcp(host: str, port: int) -> list[OpenSocket]:
    with _naming(str(TcpAddress(host, port))):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[OpenSocket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            with _naming(str(TcpAddress(str(address[0]), port))):
                opened.append(_named_by_address(_bound_tcp(family, address)))
    except OSError:
        for each in opened:
            each.close()
        raise
    return opened


def _bound_tcp(family: int, address: tuple[str | int, ...] | tuple[int, bytes]) -> socket.socket:
    # With its protocol named, asyncio knows it for TCP and turns Nagle's algorithm off: 40 ms for each reply else.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        return _listening(sock)
    except OSError:
        sock.close()
        raise


# Unix-domain


def _open_unix(path: Path) -> OpenSocket:
    """Bind a socket file, in place of one that a dead process left behind."""
    name = f"unix:{path}"
    with _naming(name), _alone_in(path.parent):
        _make_way(path)
        return OpenSocket(_bound_unix(path), name, (path, path.lstat()))


def _bound_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(_UNIX_MODE)  # nobody can connect yet: it does not listen
        return _listening(sock)
    except OSError:
        sock.close()
        raise


def _make_way(path: Path) -> None:
    """Remove the file of a socket that nobody listens on; refuse any other file."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "the file is there already and is no socket")
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.setblocking(False)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()
        return
    except BlockingIOError:  # so many wait for it that there is no room for one more
        pass
    raise OSError(errno.EADDRINUSE, "another process listens on it")


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep other relays that start at this moment from taking our new socket for a dead one."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EAGAIN, "another relay is starting in the same directory") from None


# Words


def _listening(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    sock.listen()
    return sock


def _named_by_address(sock: socket.socket) -> OpenSocket:
    return OpenSocket(sock, _where(sock))


def _where(sock: socket.socket) -> str:
    address = sock.getsockname()
    return str(TcpAddress(*address[:2])) if isinstance(address, tuple) else f"unix:{address}"


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Let every OSError begin with the address that it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EINVAL, f"{name}: {error.strerror or error}") from None
