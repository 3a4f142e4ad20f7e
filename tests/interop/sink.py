"""Postfix's smtp-sink as the server behind the relay, and TLS before it, which it has none of.

smtp-sink takes AUTH PLAIN with any password, keeps each message in a file (smtp-sink(1), "DUMP FILE FORMAT"), and
can be told what to refuse. It listens on a Unix socket, so that no port has to be found for it. The TLS end in
front is a tap, hence what the relay says to the server is known to the byte too.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from foreign_tools import running
from wiretap import Tap, tapped

_PAUSE_S = 0.02
_START_S = 20.0
_OWN_HEADERS = re.compile(rb"((?:X-[A-Za-z-]+: .*\n)+)Received: .*\n\t.*\n\t.*\n")


@dataclass(frozen=True, slots=True)
class Dump:
    """One message as smtp-sink wrote it down; arguments of MAIL and RCPT as they came."""

    mail: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Sink:
    """A running smtp-sink and the TLS end before it, on `tap.port`."""

    tap: Tap
    folder: Path

    async def dumps(self) -> list[Dump]:
        """What it has written down, in no order."""
        await _greeting(self.folder / "socket")  # it does one thing after the other: files are complete by then
        return [_read(path.read_bytes()) for path in self.folder.glob("mail.*")]


@asynccontextmanager
async def smtp_sink(folder: Path, authority: trustme.CA, *flags: str) -> AsyncIterator[Sink]:
    """Start smtp-sink with more flags; `authority` issues the certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    socket = folder / "socket"
    command = ["smtp-sink", *_user(), "-d", f"{folder}/mail.", *flags, f"unix:{socket}", "100"]
    async with running(*command) as process, tapped(socket, context) as tap:
        await _started(socket, process)
        yield Sink(tap, folder)


def trusted(authority: trustme.CA, folder: Path) -> dict[str, str]:
    """The environment of a relay that believes this authority and no other."""
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return {"AWS_CA_BUNDLE": str(path)}


def _user() -> list[str]:
    """As root it wants to be told whom to become: nobody else, or it could not write into our folder."""
    return ["-u", pwd.getpwuid(0).pw_name] if os.getuid() == 0 else []


async def _started(socket: Path, process: asyncio.subprocess.Process) -> None:
    """Ask again and again: it says nothing when it is ready."""
    async with asyncio.timeout(_START_S):
        while True:
            try:
                return await _greeting(socket)
            except OSError:
                assert process.returncode is None, "smtp-sink has ended"
                await asyncio.sleep(_PAUSE_S)


async def _greeting(socket: Path) -> None:
    """Connect and wait for the first line, whatever it is."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def _read(dump: bytes) -> Dump:
    own = _OWN_HEADERS.match(dump)
    assert own, dump[:500]
    fields = [line.split(": ", 1) for line in own[1].decode("ascii").splitlines()]
    [mail] = [value for name, value in fields if name == "X-Mail-Args"]
    content = dump[own.end() :].removesuffix(b"\n").replace(b"\n", b"\r\n")  # its lines end with LF alone
    return Dump(mail, tuple(value for name, value in fields if name == "X-Rcpt-Args"), content)
