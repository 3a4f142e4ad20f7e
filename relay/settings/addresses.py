"""Network places: where listeners bind, which networks clients come from, where endpoints are.

`localhost` means 127.0.0.1 and ::1 by definition, whatever the resolver says, so that the default listener is
reachable from this machine by both families and from no other. Any other host name is left to the resolver at
start, and never counts as loopback.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_interface

from relay.settings.scalars import text_of

Network = IPv4Network | IPv6Network

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_SYSTEMD = re.compile(r"systemd:(?P<name>[!-9;-~]{1,255})")
_MAPPED = IPv6Network("::ffff:0:0/96")  # how IPv4 peers look on a dual-stack socket
EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
# Where no stranger comes from: this host, private and shared networks, documentation and benchmarks, multicast and what
# is reserved (IANA IPv4 and IPv6 special-purpose address registries, RFC 6890). IPv6 has 2000::/3 for all others.
_NO_STRANGERS: tuple[Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12")),
    *map(IPv4Network, ("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24")),
    *map(IPv4Network, ("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")),
    *map(IPv6Network, ("::/3", "2001:db8::/32", "3fff::/20", "4000::/2", "8000::/1")),
)


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name, IPv4 or IPv6 without brackets) and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What to bind or connect to: both loopback addresses for `localhost`, else the host."""
        return ("127.0.0.1", "::1") if self.host.lower() == "localhost" else (self.host,)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return all(ip_address(host).is_loopback for host in self.hosts)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix-domain socket at an absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class SystemdSocket:
    """A socket that systemd hands over, by its FileDescriptorName= (systemd.socket(5))."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Bind = TcpAddress | UnixAddress | SystemdSocket


def parse_tcp(value: object) -> TcpAddress:
    """Parse `host:port` or `[v6]:port`."""
    if isinstance(value, TcpAddress):
        return value
    match = _HOST_PORT.fullmatch(text_of(value))
    if not match or int(match["port"]) > 65535 or not _is_host(match["v6"], match["host"]):
        raise ValueError("host:port or [v6]:port, with a port up to 65535")
    return TcpAddress(match["v6"] or match["host"], int(match["port"]))


def _is_host(v6: str | None, host: str | None) -> bool:
    """Whether what looks like an IP address is one."""
    try:
        if v6 is not None:
            return ip_address(v6).version == 6
        return not re.fullmatch(r"[0-9.]+", host or "") or ip_address(host or "").version == 4
    except ValueError:
        return False


def parse_bind(value: object) -> Bind:
    """Parse `host:port`, `[v6]:port`, `unix:/path` or `systemd:NAME`."""
    if isinstance(value, UnixAddress | SystemdSocket):
        return value
    text = text_of(value)
    if text.startswith("unix:/") and text.isprintable():
        return UnixAddress(text.removeprefix("unix:"))
    if match := _SYSTEMD.fullmatch(text):
        return SystemdSocket(match["name"])
    try:
        return parse_tcp(value)
    except ValueError:
        raise ValueError("host:port, [v6]:port, unix:/path or systemd:NAME, with a port up to 65535") from None


def overlap(one: Bind, other: Bind) -> bool:
    """Whether both cannot be bound at once, as far as that can be told: port 0 is another one each time."""
    if not (isinstance(one, TcpAddress) and isinstance(other, TcpAddress)):
        return one == other
    if one.port != other.port or not one.port:
        return False
    return any(_same_host(here, there) for here in one.hosts for there in other.hosts)


def _same_host(one: str, other: str) -> bool:
    """Whether two hosts are one, or one of them is every address of the other's family."""
    try:
        here, there = ip_address(one), ip_address(other)
    except ValueError:
        return one.lower() == other.lower()
    return here.version == there.version and (here == there or here.is_unspecified or there.is_unspecified)


def parse_network(value: object) -> Network:
    """Parse a network, or an address as the network of itself; bits of the host part are refused."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        interface = ip_interface(text_of(value))
    except ValueError:
        raise ValueError("a network: 10.0.0.0/8, 2001:db8::/32 or a single address") from None
    if interface.ip != interface.network.network_address:
        raise ValueError(f"a network whose host bits are zero: {interface.network}")
    return _unmapped(interface.network)


def _unmapped(network: Network) -> Network:
    """Write a network inside ::ffff:0:0/96 as the IPv4 network that it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((network.network_address.packed[-4:], network.prefixlen - _MAPPED.prefixlen))
    return network


def cover_everything(networks: tuple[Network, ...]) -> bool:
    """Whether these networks together hold every IPv4 or every IPv6 address that a stranger may come from."""
    plain = [*map(_unmapped, networks), *_NO_STRANGERS]
    v4 = collapse_addresses(network for network in plain if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in plain if isinstance(network, IPv6Network))
    return any(network.prefixlen == 0 for network in v4) or any(network.prefixlen == 0 for network in v6)
