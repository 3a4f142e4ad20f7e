"""Socket activation: the sockets that systemd opens, and hands to the relay when it starts.

Owns the protocol of sd_listen_fds(3) and systemd.socket(5). Guarantees that no child of ours inherits the variables
or the descriptors. Refuses, in words for an operator, what is no listening stream socket.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping

_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class Activation:
    """What systemd handed over to this process; taken from the environment, so that no child believes it is meant.

    Args:
        environ: The environment; its LISTEN_ variables go.
        pid: Of this process.
    """

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        given = {name: environ.pop(name, "") for name in _VARIABLES}
        self._handed: list[tuple[str, int]] = []
        self._why_none = "systemd has handed over no sockets: start the relay by its .socket unit"
        if given["LISTEN_FDS"] and given["LISTEN_PID"] != str(pid):
            self._why_none = (
                f"systemd has handed its sockets to process {given['LISTEN_PID'] or 'nobody'}, not to this one, {pid}: "
                "is there a wrapper in ExecStart= that does not exec the relay?"
            )
        elif given["LISTEN_FDS"]:
            self._handed = list(_named(given["LISTEN_FDS"], given["LISTEN_FDNAMES"]))
            if self._handed:
                self._why_none = f"systemd has handed over {', '.join(self.names)} and no socket of this name"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sockets that have not been taken: nobody will answer there."""
        return tuple(dict.fromkeys(name for name, _ in self._handed))

    def take(self, name: str) -> list[socket.socket]:
        """All sockets of that FileDescriptorName=, which by default is the name of the .socket unit.

        Raises:
            OSError: There is none, or one that is no listening stream socket.
        """
        mine = [descriptor for each, descriptor in self._handed if each == name]
        if not mine:
            raise OSError(errno.ENOENT, f"systemd:{name}: {self._why_none}")
        self._handed = [(each, descriptor) for each, descriptor in self._handed if each != name]
        return [_adopted(name, descriptor) for descriptor in mine]


def _named(count: str, names: str) -> Iterator[tuple[str, int]]:
    """The descriptors and what they are called; systemd before version 227 gives no names."""
    words = names.split(":") if names else []
    for index in range(int(count) if count.isdecimal() else 0):
        try:
            os.set_inheritable(_FIRST_DESCRIPTOR + index, False)
        except OSError:  # there is no such descriptor, whatever the variable says
            return
        yield (words[index] if index < len(words) else "unknown"), _FIRST_DESCRIPTOR + index


def _adopted(name: str, descriptor: int) -> socket.socket:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOTSOCK, f"systemd:{name}: descriptor {descriptor} is no socket")
    sock = socket.socket(fileno=descriptor)
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        words = "is no listening stream socket; the unit needs ListenStream= and Accept=no"
        raise OSError(errno.EINVAL, f"systemd:{name}: descriptor {descriptor} {words}")
    sock.setblocking(False)
    return sock
