"""Wrong logins, by where they come from: what has been tried, and how much of it was different.

Owns the record of each origin. An origin is an IPv4 address, an IPv6 network of 64 bits, which is what one customer
gets at least (RFC 6177 section 2), or a word such as `unix`. Guarantees that the same wrong login counts once within
`FAILURES_S`, however often an application with an old password repeats it: that tells a guesser nothing new. Keeps
marks that only `relay.smtp.auth` can make, never a password. Decides nothing, and looks at no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

FAILURES_S = 600.0
_ORIGINS_MOST = 4096
_IPV6_PREFIX = 64


def origin_of(address: str) -> str:
    """Where guesses from `address` are counted; what is no IP address is its own origin."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    ip = (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip
    return str(ip) if isinstance(ip, IPv4Address) else str(IPv6Network((ip, _IPV6_PREFIX), strict=False))


class Tries:
    """Different logins of the last FAILURES_S seconds, each with the time when it was tried first."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[bytes, float] = {}  # oldest first

    def add(self, mark: bytes, now: float) -> None:
        """Note a login; again only when its time is over."""
        if not self.has(mark, now):
            self._times[mark] = now

    def has(self, mark: bytes, now: float) -> bool:
        """Whether this login has been tried."""
        self._forget(now)
        return mark in self._times

    def count(self, now: float) -> int:
        """How many different logins have been tried."""
        self._forget(now)
        return len(self._times)

    def _forget(self, now: float) -> None:
        while self._times:
            oldest = next(iter(self._times))
            if self._times[oldest] > now - FAILURES_S:
                return
            del self._times[oldest]


@dataclass(slots=True)
class Record:
    """What has been tried from one origin."""

    wrong: Tries = field(default_factory=Tries)  # checked
    looks: Tries = field(default_factory=Tries)  # not checked, but compared to what is remembered
    under_way: int = 0  # checks that wait or are being made


class Guesses:
    """The records of all origins that have tried to log in lately."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()

    def of(self, origin: str) -> Record:
        """The record of this origin, a new one if there is none; the one not asked for longest is forgotten."""
        record = self._records.setdefault(origin, Record())
        self._records.move_to_end(origin)
        while len(self._records) > _ORIGINS_MOST:
            self._records.popitem(last=False)
        return record

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
