"""The PROXY protocol, versions 1 and 2, without I/O: who a proxy says its client is.

Owns the header that a proxy sends before anything else, and where it ends. Guarantees that any chunking gives the
same answer, that a header holds at most `LONGEST` bytes, and that what cannot begin a header is refused with its
first wrong byte. IPv4 addresses mapped into IPv6 come out as IPv4, so that they match the networks they belong to.

Refuses what the specification does not name: other commands, families and versions, leading zeros, ports over 65535,
a line that ends with LF alone. Whether a peer may send a header at all is decided elsewhere, by its own address.

Source: "The PROXY protocol, Versions 1 & 2", proxy-protocol.txt of HAProxy, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

_V1_LONGEST = 107  # section 2.1, with CRLF
_V1_BEGINS = b"PROXY "
_V1 = re.compile(
    rb"PROXY (?:"
    rb"(?P<unknown>UNKNOWN)(?: [^\r\n]*+)?"
    rb"|TCP(?P<version>[46]) (?P<source>[0-9A-Fa-f:.]++) (?P<target>[0-9A-Fa-f:.]++)"
    rb" (?P<source_port>0|[1-9][0-9]{0,4}) (?P<target_port>0|[1-9][0-9]{0,4}))\r\n"
)

_V2_BEGINS = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16  # signature, version and command, family and protocol, length
_V2_REST = 2048  # addresses, and extensions (TLV) that are skipped; section 2 counts on 536 for both
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_V2_ADDRESSES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}  # bytes

LONGEST = _V2_FIXED + _V2_REST


@dataclass(frozen=True, slots=True)
class Source:
    """The proxy's client: its IP address in text form (IPv4 where it is mapped into IPv6), and its port."""

    address: str
    port: int


class Unnamed(StrEnum):
    """A header without a client's address."""

    LOCAL = "local"  # the proxy speaks for itself, as in a health check: the connection's own address counts
    UNKNOWN = "unknown"  # a client that the proxy cannot name, or that came to it by a Unix socket: no address counts


Origin = Source | Unnamed


class ProxyHeader:
    """Takes chunks until the header is complete; read `origin` once `feed` has returned bytes."""

    __slots__ = ("_held", "origin")

    def __init__(self) -> None:
        self._held = b""
        self.origin: Origin | None = None

    def feed(self, chunk: bytes) -> bytes | None:
        """Take the next bytes; None until the header is complete, then what came after it (perhaps b"").

        Raises:
            ValueError: This is no header, or not one of the specification; with the reason, in words for a log.
        """
        data = self._held + chunk
        size = _size(data)
        if size is None or len(data) < size:
            self._held = data
            return None
        self._held = b""
        self.origin = _of_v2(data[:size]) if data.startswith(_V2_BEGINS) else _of_v1(data[:size])
        return data[size:]


def _size(data: bytes) -> int | None:
    """The length of the whole header, None while it cannot be told; raises ValueError for what is none."""
    if data.startswith(_V1_BEGINS[: len(data)]):
        return _size_of_v1(data)
    if data.startswith(_V2_BEGINS[: len(data)]):
        return _size_of_v2(data)
    raise ValueError("this is no PROXY header")


def _size_of_v1(data: bytes) -> int | None:
    feed = data.find(b"\n", 0, _V1_LONGEST)
    if feed >= 0:
        return feed + 1
    if len(data) >= _V1_LONGEST:
        raise ValueError(f"no end of line within {_V1_LONGEST} bytes")
    return None


def _size_of_v2(data: bytes) -> int | None:
    if len(data) < _V2_FIXED:
        return None
    command, family, rest = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ValueError(f"version and command are 0x{command:02x}")
    if rest > _V2_REST:
        raise ValueError(f"longer than {LONGEST} bytes")
    if command == _V2_PROXY:
        _check_family(family, rest)
    return _V2_FIXED + rest


def _check_family(family: int, rest: int) -> None:
    if family not in _V2_ADDRESSES:
        raise ValueError(f"family and protocol are 0x{family:02x}, which is no stream")
    if rest < _V2_ADDRESSES[family]:
        raise ValueError("too short for its addresses")


def _of_v1(line: bytes) -> Origin:
    match = _V1.fullmatch(line)
    if match is None:
        raise ValueError("the line is not that of version 1")
    if match["unknown"]:
        return Unnamed.UNKNOWN
    parse = IPv4Address if match["version"] == b"4" else IPv6Address
    source, _ = parse(match["source"].decode()), parse(match["target"].decode())
    if max(int(match["source_port"]), int(match["target_port"])) > 65535:
        raise ValueError("a port is over 65535")
    return Source(_text(source), int(match["source_port"]))


def _of_v2(data: bytes) -> Origin:
    command, family = data[12], data[13]
    if command == _V2_LOCAL:
        return Unnamed.LOCAL  # whatever the family says
    if family == _TCP4:
        return Source(str(IPv4Address(data[16:20])), int.from_bytes(data[24:26], "big"))
    if family == _TCP6:
        return Source(_text(IPv6Address(data[16:32])), int.from_bytes(data[48:50], "big"))
    return Unnamed.UNKNOWN


def _text(address: IPv4Address | IPv6Address) -> str:
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
