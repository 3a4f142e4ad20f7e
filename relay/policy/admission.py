"""Admission: whose client a session is, and what that client may send.

Owns the meaning of `clients`. The first entry in file order that fits the session decides:

- where it comes from: `networks` admits IP addresses, `unix` admits Unix sockets, either is enough; an entry with
  neither admits every place, and it alone a client of which nobody knows where it comes from;
- who it is: a logged-in session fits only entries whose `users` name its user, and such entries fit no other.

IPv4 addresses mapped into IPv6 (RFC 4291 section 2.5.5.2) compare as IPv4, zone ids (`%eth0`) are ignored.
A sender must match one of `senders`, where the entry has any. A recipient is refused when a `deny` pattern matches,
whatever `allow` says, or when no `allow` pattern does. Refuses whatever it cannot understand.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from relay.model import UNKNOWN_PEER
from relay.policy.patterns import PatternIndex, check_pattern

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Place = Address | Literal["unix", "unknown"]

_MAPPED = IPv6Network("::ffff:0:0/96")
_REMEMBERED_SESSIONS = 4096


@dataclass(frozen=True, slots=True)
class ClientRule:
    """One entry of `clients`, compiled by `of`. None means that the entry does not have the key."""

    name: str
    networks: tuple[Network, ...] | None
    unix: bool
    users: frozenset[str] | None
    senders: PatternIndex[bool] | None
    allow: PatternIndex[bool]
    deny: PatternIndex[bool]

    @classmethod
    def of(
        cls,
        name: str,
        *,
        networks: Iterable[Network] | None = None,
        unix: bool = False,
        users: Iterable[str] | None = None,
        senders: Iterable[str] | None = None,
        allow: Iterable[str] = ("*",),
        deny: Iterable[str] = (),
    ) -> "ClientRule":
        """Compile the fields of an entry.

        Raises:
            ValueError: A pattern is malformed.
        """
        return cls(
            name=name,
            networks=None if networks is None else tuple(map(_unmapped_network, networks)),
            unix=unix,
            users=None if users is None else frozenset(users),
            senders=None if senders is None else _index(senders),
            allow=_index(allow),
            deny=_index(deny),
        )

    def may_send_as(self, address: str) -> bool:
        """Whether the client may use this sender; "" is the null sender, which only `<>` matches."""
        return self.senders is None or self.senders.match(address) is not None

    def may_send_to(self, address: str) -> bool:
        """Whether the client may send to this recipient: not denied, and allowed."""
        return self.deny.match(address) is None and self.allow.match(address) is not None

    def fits(self, place: Place, user: str | None) -> bool:
        """Whether a session from `place`, logged in as `user` or not, is this client's."""
        return self._fits_user(user) and self._fits_place(place)

    def _fits_user(self, user: str | None) -> bool:
        if self.users is None or user is None:
            return self.users is None and user is None
        return user in self.users

    def _fits_place(self, place: Place) -> bool:
        if self.unix and place == "unix":
            return True
        if self.networks is None:
            return not self.unix
        return not isinstance(place, str) and any(place in network for network in self.networks)


class Admission:
    """The entries of `clients` in file order."""

    def __init__(self, entries: Sequence[ClientRule]) -> None:
        self._entries = tuple(entries)
        self._remembered = lru_cache(_REMEMBERED_SESSIONS)(self._identify)

    def named(self, name: str) -> ClientRule | None:
        """The entry of this name, for mail of its client that waits in the spool."""
        return next((entry for entry in self._entries if entry.name == name), None)

    def identify(self, peer_ip: str | None, user: str | None) -> ClientRule | None:
        """Return the entry that a session belongs to, or None: it is nobody's client.

        Args:
            peer_ip: The address of the peer in text form, None for a Unix socket, or UNKNOWN_PEER.
            user: The name it has logged in with, None before that.
        """
        return self._remembered(peer_ip, user)

    def _identify(self, peer_ip: str | None, user: str | None) -> ClientRule | None:
        try:
            place = _place(peer_ip)
        except ValueError:
            return None
        return next((entry for entry in self._entries if entry.fits(place, user)), None)


def _index(patterns: Iterable[str]) -> PatternIndex[bool]:
    """Compile a list in which the same pattern may stand twice: it says the same both times."""
    return PatternIndex((pattern, True) for pattern in dict.fromkeys(map(check_pattern, patterns)))


def _place(peer_ip: str | None) -> Place:
    if peer_ip is None:
        return "unix"
    return "unknown" if peer_ip == UNKNOWN_PEER else _unmapped(ip_address(peer_ip))


def _unmapped(address: Address) -> Address:
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _unmapped_network(network: Network) -> Network:
    """Write a network inside ::ffff:0:0/96 as the IPv4 network it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((network.network_address.packed[-4:], network.prefixlen - _MAPPED.prefixlen))
    return network
