"""Who can reach the relay: refuses to be an open relay, and listeners and clients that contradict themselves.

An open relay is a listener beyond loopback, together with client entries of which anybody in the world matches one
without logging in. A socket that systemd hands over counts as beyond loopback, since nobody knows where it listens,
and so does a listener that proxies are trusted at: they are there to bring clients from elsewhere. On a reload the
listeners that stay open count as well.
"""

from collections.abc import Iterable
from pathlib import Path

from relay.settings.addresses import EVERYWHERE, Bind, Network, TcpAddress, UnixAddress, cover_everything, overlap
from relay.settings.certificates import Profile, Unfit, check_pair
from relay.settings.credentials import check_private
from relay.settings.identities import check_unique
from relay.settings.model import Admin, ClientEntry, Listener
from relay.settings.problems import Keys
from relay.settings.reading import Unreadable, mode_of
from relay.settings.source import Source

Listeners = list[tuple[Keys, Listener]]
Clients = list[tuple[Keys, ClientEntry]]


def check_exposure(
    source: Source, listeners: Iterable[Listener], clients: Clients, standing: Iterable[Listener] = ()
) -> None:
    """Refuse an open relay, also one that several entries open together.

    `standing` are the listeners of a relay that runs: a reload leaves them open, whatever `listeners` says.
    """
    beyond = _reachable(listeners) or _reachable(standing, ", open until a restart,")
    together: tuple[Network, ...] = ()
    for keys, client in clients if beyond else ():
        networks = _open_to(client)
        if not cover_everything((*together, *networks)):
            together = (*together, *networks)
            continue
        which = "narrower than everything" if cover_everything(networks) else "that leave somebody out with those above"
        allowed = f"networks {which}, or users, since {beyond} is reachable from elsewhere"
        source.error((*keys, "networks"), allowed, source.found((*keys, "networks")) + ": an open relay")


def _reachable(listeners: Iterable[Listener], remark: str = "") -> str | None:
    """The first listener that others than this machine reach."""
    return next((f"{listener.bind}{remark}" for listener in listeners if _beyond_loopback(listener)), None)


def _beyond_loopback(listener: Listener) -> bool:
    bind = listener.bind
    near = isinstance(bind, TcpAddress) and bind.loopback and not listener.proxy_protocol_from
    return not (near or isinstance(bind, UnixAddress))


def _open_to(client: ClientEntry) -> tuple[Network, ...]:
    """The networks from which a client needs no login."""
    if client.users:
        return ()
    return client.networks or (() if client.unix else EVERYWHERE)


def check_listeners(source: Source, listeners: Listeners, admin: Admin | None) -> None:
    """Refuse TLS without files that make a pair, keys that would be ignored, and an address that is bound twice."""
    for keys, listener in listeners:
        if listener.tls == "none":
            _check_plain(source, keys, listener)
        else:
            _check_tls(source, keys, listener)
        if listener.proxy_protocol_from and isinstance(listener.bind, UnixAddress):
            source.error((*keys, "proxy_protocol_from"), "this key only with host:port; a Unix socket is in no network")
    binds: list[tuple[Keys, Bind]] = [((*keys, "bind"), listener.bind) for keys, listener in listeners]
    binds += [(("admin", "bind"), admin.bind)] if admin else []
    _check_places(source, binds)


def check_admin(source: Source, admin: Admin | None) -> None:
    """Warn of an admin endpoint that others than this machine can reach: it knows no logins."""
    if admin and not admin.bind.loopback:
        source.warn(("admin", "bind"), "loopback, or an address that only those reach who may see status and metrics")


def _check_places(source: Source, binds: list[tuple[Keys, Bind]]) -> None:
    """Refuse a bind that cannot be had beside an earlier one."""
    for number, (keys, bind) in enumerate(binds):
        for earlier, other in binds[:number]:
            if overlap(bind, other):
                shown = str(bind) if source.at(keys) is None else source.found(keys)
                taken = f"{shown}, which {other} on line {source.line(earlier)} takes already"
                source.error(keys, "each address once", taken)


def _check_tls(source: Source, keys: Keys, listener: Listener) -> None:
    for key in ("certificate", "private_key"):
        path: Path | None = getattr(listener, key)
        if path is None:
            source.error((*keys, key), f"a PEM file, since tls is {listener.tls}", "nothing")
        else:
            _check_file(source, (*keys, key), path)
    if listener.certificate and listener.private_key and not source.broken_below(keys):
        _check_pair(source, keys, listener.certificate, listener.private_key, listener.tls_profile)


def _check_pair(source: Source, keys: Keys, certificate: Path, private_key: Path, profile: Profile) -> None:
    try:
        check_pair(certificate, private_key, profile)
    except Unfit as error:
        place = (*keys, error.key)
        source.error(place, error.allowed, f"{source.found(place)} ({error.found})")
    except OSError as error:
        source.error((*keys, "certificate"), "files that can be read", str(error))


def _check_file(source: Source, keys: Keys, path: Path) -> None:
    source.files.add(path)
    try:
        mode = mode_of(path)
    except Unreadable as error:
        source.error(keys, error.allowed, f"{source.found(keys)} ({error.found})")
        return
    if keys[-1] == "private_key":
        check_private(source, keys, mode)


def _check_plain(source: Source, keys: Keys, listener: Listener) -> None:
    """Refuse keys that would be ignored, in the belief that there is TLS."""
    for key in ("certificate", "private_key", "require_tls"):
        if getattr(listener, key):
            source.error((*keys, key), "this key only with tls: starttls or implicit")


def check_clients(source: Source, clients: Clients, users: Iterable[str]) -> None:
    """Refuse names that stand twice, and users that are nobody's login."""
    check_unique(source, (((*keys, "name"), client.name) for keys, client in clients), "a name of its own")
    known = frozenset(users)
    if source.unsound("users", "users_file"):
        return
    for keys, client in clients:
        for index, user in enumerate(client.users or ()):
            if user not in known:
                source.error((*keys, "users", index), "a name of users or users_file")
