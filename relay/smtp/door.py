"""How one listener lets clients in: TLS, logins without it, and whose PROXY header is believed.

A door stays the same object for the life of its listener; a reload gives it a new certificate.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

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
        return bool(self.proxies) and peer is not None and any(_in(peer, network) for network in self.proxies)

    def takes_logins(self, peer: str | None, *, tls: bool) -> bool:
        """Whether a password may be said on this connection (RFC 4954 section 4)."""
        if tls or self.auth_without_tls == "always":
            return True
        return self.auth_without_tls == "loopback" and (peer is None or _address(peer).is_loopback)


def _address(peer: str) -> IPv4Address | IPv6Address:
    address = ip_address(peer.partition("%")[0])
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _in(peer: str, network: Network) -> bool:
    return _address(peer) in network
