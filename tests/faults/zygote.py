"""Starts relays quickly: a process that has loaded the relay's code, and forks a child for each life of the relay.

Reads orders from a Unix socket, its standard input: the path of a configuration with the descriptor that the relay is
to write its log to. The child is `ses-relay run` from its first line on. Answers `started PID`, then `ended STATUS`,
negative when it was killed. One relay at a time; nothing here has threads, so forking is safe.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import Final

from relay import service  # noqa: F401 - its imports are what takes time
from relay.aws.regions import known_regions
from relay.cli import main as ses_relay

MOST_BYTES: Final = 4096
_PR_SET_PTRACER: Final = 0x59616D61
_ANYBODY: Final = ctypes.c_ulong(-1)


def may_be_traced() -> None:
    """Let the campaign's tracer attach, though it is no ancestor, where Linux's Yama asks for that (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)


def live(path: str, log: int) -> None:
    """Be a relay."""
    may_be_traced()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    ses_relay(["run", "--config", path])


def main() -> None:
    """Fork a relay for each order, until the other side has gone."""
    may_be_traced()
    known_regions()  # what every life would read anew
    control = socket.socket(fileno=os.dup(0))
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, 1)
        if not order:
            return
        child = os.fork()
        if child == 0:
            control.close()
            live(order.decode(), descriptors[0])
            sys.exit(70)  # `ses_relay` always ends by an exit status of its own
        os.close(descriptors[0])
        control.sendall(f"started {child}\n".encode())
        _, status = os.waitpid(child, 0)
        control.sendall(f"ended {os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
