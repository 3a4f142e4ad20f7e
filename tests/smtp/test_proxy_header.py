"""The PROXY protocol: who the proxy's client is, at any chunking, or a reason why the header is none."""

import itertools
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.smtp.proxy_header import LONGEST, Origin, ProxyHeader, Source, Unnamed

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
REST = b"EHLO client\r\n"


def version_1(family: str, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    """A header line as section 2.1 of the specification shows it."""
    return f"PROXY {family} {source[0]} {target[0]} {source[1]} {target[1]}\r\n".encode()


def version_2(command: int, family: int, addresses: bytes) -> bytes:
    """A binary header by section 2.2, packed by the standard library."""
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses)) + addresses


def inet(source: tuple[str, int], target: tuple[str, int]) -> bytes:
    """The address block of two endpoints, by the C library's own parser."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    hosts = [socket.inet_pton(family, host) for host, _ in (source, target)]
    return b"".join(hosts) + struct.pack("!HH", source[1], target[1])


def read(chunks: Iterable[bytes]) -> tuple[Origin | None, bytes | None]:
    """Feed until the header is complete; what comes after belongs to the leftover."""
    header, leftover = ProxyHeader(), None
    for chunk in chunks:
        leftover = header.feed(chunk) if leftover is None else leftover + chunk
    return header.origin, leftover


def every_chunking(wire: bytes) -> Iterable[list[bytes]]:
    """In one piece, byte by byte, and cut in two at every place."""
    yield [wire]
    yield [wire[at : at + 1] for at in range(len(wire))]
    yield from ([wire[:at], wire[at:]] for at in range(len(wire) + 1))


V4, V4_TARGET = ("192.0.2.7", 51000), ("198.51.100.1", 25)
V6, V6_TARGET = ("2001:db8::7", 51000), ("2001:db8::1", 25)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")
TLV = b"\x02" + struct.pack("!H", 11) + b"example.com"

GOOD: dict[str, tuple[bytes, Origin]] = {
    "v1 tcp4": (version_1("TCP4", V4, V4_TARGET), Source("192.0.2.7", 51000)),
    "v1 tcp6": (version_1("TCP6", V6, V6_TARGET), Source("2001:db8::7", 51000)),
    "v1 tcp6, long form": (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:7 :: 1 2\r\n", Source("2001:db8::7", 1)),
    "v1 ports at their ends": (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Source("0.0.0.0", 0)),
    "v1 longest tcp6": (
        b"PROXY TCP6 " + (b"ffff:" * 8)[:-1] + b" " + (b"ffff:" * 8)[:-1] + b" 65535 65535\r\n",
        Source("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    "v1 mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 9 25\r\n", Source("192.0.2.7", 9)),
    "v1 mapped in hex": (b"PROXY TCP6 ::ffff:c000:207 ::1 9 25\r\n", Source("192.0.2.7", 9)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", Unnamed.UNKNOWN),
    "v1 unknown, and more": (b"PROXY UNKNOWN ffff::1 who knows 65535 0\r\n", Unnamed.UNKNOWN),
    "v1 longest": (b"PROXY UNKNOWN".ljust(105, b" ") + b"\r\n", Unnamed.UNKNOWN),
    "v2 tcp4": (version_2(1, 0x11, inet(V4, V4_TARGET)), Source("192.0.2.7", 51000)),
    "v2 tcp6": (version_2(1, 0x21, inet(V6, V6_TARGET)), Source("2001:db8::7", 51000)),
    "v2 mapped": (version_2(1, 0x21, inet(("::ffff:192.0.2.7", 9), V6_TARGET)), Source("192.0.2.7", 9)),
    "v2 unix": (version_2(1, 0x31, UNIX), Unnamed.UNKNOWN),
    "v2 unspecified": (version_2(1, 0x00, b""), Unnamed.UNKNOWN),
    "v2 unspecified, and more": (version_2(1, 0x00, b"whatever"), Unnamed.UNKNOWN),
    "v2 local": (version_2(0, 0x00, b""), Unnamed.LOCAL),
    "v2 local, with addresses": (version_2(0, 0x11, inet(V4, V4_TARGET)), Unnamed.LOCAL),
    "v2 local, nonsense family": (version_2(0, 0xFF, b""), Unnamed.LOCAL),
    "v2 with extensions": (version_2(1, 0x11, inet(V4, V4_TARGET) + TLV * 5), Source("192.0.2.7", 51000)),
    "v2 longest": (version_2(1, 0x11, inet(V4, V4_TARGET).ljust(2048, b"\4")), Source("192.0.2.7", 51000)),
}  # fmt: skip

BAD: dict[str, bytes] = {
    "nothing like it": b"EHLO client\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00",
    "lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "blank before": b" PROXY UNKNOWN\r\n",
    "v1 no blank": b"PROXYTCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 lf alone": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
    "v1 cr within": b"PROXY UNKNOWN \r \r\n",
    "v1 two blanks": b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 tab": b"PROXY TCP4\t192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 blank at the end": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    "v1 other family": b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 udp": b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 no family": b"PROXY \r\n",
    "v1 unknown runs on": b"PROXY UNKNOWNX\r\n",
    "v1 no ports": b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
    "v1 one port": b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    "v1 three ports": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
    "v1 source port too high": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    "v1 target port too high": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n",
    "v1 port with zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    "v1 port with sign": b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
    "v1 address with zero": b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
    "v1 short address": b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
    "v1 octet too high": b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    "v1 bad target": b"PROXY TCP4 192.0.2.7 nowhere 1 2\r\n",
    "v1 v6 as v4": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    "v1 v4 as v6": b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    "v1 two double colons": b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    "v1 digits of other scripts": "PROXY TCP4 192.0.2.\u0667 198.51.100.1 1 2\r\n".encode(),
    "v1 nul": b"PROXY TCP4 192.0.2.7\0 198.51.100.1 1 2\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"x" * 93,
    "v1 one byte too long": b"PROXY UNKNOWN".ljust(106, b" ") + b"\r\n",
    "v2 version 1": SIGNATURE + b"\x11\x11\0\0",
    "v2 version 3": SIGNATURE + b"\x31\x11\0\0",
    "v2 other command": SIGNATURE + b"\x22\x11\0\0",
    "v2 datagram": version_2(1, 0x12, inet(V4, V4_TARGET)),
    "v2 unspecified protocol": version_2(1, 0x10, inet(V4, V4_TARGET)),
    "v2 other family": version_2(1, 0x41, b"x" * 216),
    "v2 too short for tcp4": version_2(1, 0x11, b"x" * 11),
    "v2 too short for tcp6": version_2(1, 0x21, b"x" * 35),
    "v2 too short for unix": version_2(1, 0x31, b"x" * 215),
    "v2 too long": SIGNATURE + b"\x21\x11" + struct.pack("!H", 2049),
    "v2 longest length": SIGNATURE + b"\x21\x11\xff\xff",
    "v2 broken signature": SIGNATURE[:-1] + b"\r",
}


@pytest.mark.parametrize(("wire", "origin"), GOOD.values(), ids=GOOD.keys())
def test_a_header_tells_the_origin_at_any_chunking(wire: bytes, origin: Origin) -> None:
    """The client, or that there is none, and every byte after the header is left over."""
    for chunks in every_chunking(wire + REST):
        assert read(chunks) == (origin, REST)


@pytest.mark.parametrize("wire", [wire for wire, _ in GOOD.values()], ids=GOOD.keys())
def test_a_header_that_is_cut_short_is_none_yet(wire: bytes) -> None:
    for size in range(len(wire)):
        assert read([wire[:size]]) == (None, None)


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD.keys())
def test_what_is_no_header_is_refused_at_any_chunking(wire: bytes) -> None:
    """With a reason; never by waiting for more."""
    for chunks in every_chunking(wire):
        with pytest.raises(ValueError, match=r"."):
            read(chunks)


def test_bytes_that_cannot_become_a_header_are_refused_at_once() -> None:
    """A client that does not speak the protocol hears so with its first wrong byte."""
    for fixed in (b"\x31\x11\x08\x00", b"\x21\x12\x08\x00", b"\x21\x11\x00\x0b", b"\x20\x00\x08\x01"):
        with pytest.raises(ValueError, match=r"."):
            ProxyHeader().feed(SIGNATURE + fixed)
    for wire, wrong in ((b"P", b"O"), (b"PROX", b"x"), (SIGNATURE[:11], b"\r"), (b"", b"\x16")):
        header = ProxyHeader()
        assert header.feed(wire) is None
        with pytest.raises(ValueError, match="no PROXY header"):
            header.feed(wrong)


ports = st.integers(0, 65535)
v4 = st.tuples(st.integers(0, 2**32 - 1).map(IPv4Address).map(str), ports)
v6 = st.tuples(st.integers(0, 2**128 - 1).map(IPv6Address).map(str), ports)
cuts = st.lists(st.integers(0, 120), max_size=6)


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(wire)) for place in places), len(wire)]
    return [wire[start:end] for start, end in itertools.pairwise(edges)]


@given(st.one_of(st.tuples(v4, v4), st.tuples(v6, v6)), st.booleans(), st.binary(max_size=60), cuts)
@example((("::ffff:1.2.3.4", 1), ("::1", 2)), True, b"", [])
def test_what_a_proxy_writes_comes_back(
    ends: tuple[tuple[str, int], tuple[str, int]], binary: bool, more: bytes, places: list[int]
) -> None:
    """Any address and port by either version, with anything as extensions or leftover."""
    source, target = ends
    six = ":" in source[0]
    if binary:
        wire = version_2(1, 0x21 if six else 0x11, inet(source, target) + more)
    else:
        wire = version_1("TCP6" if six else "TCP4", source, target)
    address = IPv6Address(source[0]).ipv4_mapped or IPv6Address(source[0]) if six else source[0]

    assert read(cut(wire + REST, places)) == (Source(str(address), source[1]), REST)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=40).map(lambda tail: SIGNATURE + tail)), cuts)
def test_any_bytes_have_one_answer(wire: bytes, places: list[int]) -> None:
    """A header, a reason or a wish for more: the same for every chunking, and never another exception."""

    def answer(chunks: list[bytes]) -> object:
        try:
            return read(chunks)
        except ValueError:
            return "refused"

    assert answer([wire]) == answer(cut(wire, places)) == answer([wire[at : at + 1] for at in range(len(wire))])


def test_memory_and_work_are_bounded() -> None:
    """Byte by byte to the longest header, and one chunk of megabytes: neither is dear."""
    began = time.process_time()
    header = ProxyHeader()
    longest = version_2(1, 0x11, inet(V4, V4_TARGET).ljust(2048, b"\4"))
    assert len(longest) == LONGEST
    assert [header.feed(longest[at : at + 1]) for at in range(LONGEST)] == [None] * (LONGEST - 1) + [b""]
    body = b"x" * 10_000_000
    assert ProxyHeader().feed(b"PROXY UNKNOWN\r\n" + body) == body

    assert time.process_time() - began < 2
