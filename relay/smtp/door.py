"""How one listener lets clients in: where they come from, TLS, logins without it, whose PROXY header is believed.

A door stays the same object for the life of its listener; a reload gives it a new certificate.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from relay.model import UNKNOWN_PEER

Network = IPv4Network | IPv6Network


@dataclass(slots=True)
class Door:
    """One listener; `context` is None exactly when `tls` is "none"."""

    tls: Literal["none", "starttls", "implicit"] = "none"
    context: ssl.SSLContext | None = field(default=None, repr=False)
    require_tls: bool = False
    auth_without_tls: Literal["loopback", "never", "always"] = "loopback"
    proxies: tuple[Network, ...] = ()

    def trusts(self, peer: str | None) -> bool:
        """Whether this peer is a proxy that tells for whom it speaks (None: a Unix socket)."""
        address = _address(peer)
        return address is not None and any(address in network for network in self.proxies)

    def takes_logins(self, peer: str | None, *, tls: bool) -> bool:
        """Whether a password may be said on this connection (RFC 4954 section 4): where TLS is due, over TLS alone."""
        if tls or self.require_tls:
            return tls
        if self.auth_without_tls == "always":
            return True
        address = _address(peer)
        return self.auth_without_tls == "loopback" and (peer is None or (address is not None and address.is_loopback))


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """Where a connection comes from: an IP address, None for a Unix socket, or UNKNOWN_PEER.

    That is a client that has reset its connection before anybody looked: what it had sent can still be read, but
    the system does not tell its address any more. It must not pass for the trusted end of a Unix socket.
    """
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None and raw.family == getattr(socket, "AF_UNIX", None):
        return None
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else UNKNOWN_PEER


def _address(peer: str | None) -> IPv4Address | IPv6Address | None:
    """None for a Unix socket, and for a peer of which nobody knows where it comes from."""
    if peer is None or peer == UNKNOWN_PEER:
        return None
    address = ip_address(peer.partition("%")[0])
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
