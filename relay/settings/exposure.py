"""Who can reach the relay: refuses to be an open relay, and listeners and clients that contradict themselves.

An open relay is a listener beyond loopback, together with a client entry that anybody in the world matches
without logging in. A socket that systemd hands over counts as beyond loopback, since nobody knows where it listens.
"""

from collections.abc import Iterable
from pathlib import Path

from relay.settings.addresses import Bind, TcpAddress, UnixAddress, cover_everything
from relay.settings.credentials import check_private
from relay.settings.identities import check_unique
from relay.settings.model import Admin, ClientEntry, Listener
from relay.settings.problems import Keys
from relay.settings.source import Source

Listeners = list[tuple[Keys, Listener]]
Clients = list[tuple[Keys, ClientEntry]]


def check_exposure(source: Source, listeners: Iterable[Listener], clients: Clients) -> None:
    """Refuse an open relay."""
    beyond = [str(listener.bind) for listener in listeners if _beyond_loopback(listener.bind)]
    for keys, client in clients:
        if beyond and _matches_everybody(client):
            allowed = f"networks narrower than everything, or users, since {beyond[0]} is reachable from elsewhere"
            source.error((*keys, "networks"), allowed, source.found((*keys, "networks")) + ": an open relay")


def _beyond_loopback(bind: Bind) -> bool:
    return not isinstance(bind, UnixAddress) and not (isinstance(bind, TcpAddress) and bind.loopback)


def _matches_everybody(client: ClientEntry) -> bool:
    if client.users:
        return False
    return cover_everything(client.networks) if client.networks else not client.unix


def check_listeners(source: Source, listeners: Listeners, admin: Admin | None) -> None:
    """Refuse TLS without its files, files without TLS, and an address that is bound twice."""
    for keys, listener in listeners:
        if listener.tls == "none":
            _check_plain(source, keys, listener)
        else:
            _check_tls(source, keys, listener)
    binds = [(keys, "bind", listener.bind) for keys, listener in listeners]
    binds += [(("admin",), "bind", admin.bind)] if admin else []
    places = (((*keys, key), text) for keys, key, bind in binds for text in _places(bind))
    check_unique(source, places, "each address once")


def _places(bind: Bind) -> Iterable[str]:
    """What a bind takes for itself; port 0 is another one each time."""
    if not isinstance(bind, TcpAddress):
        return (str(bind),)
    return [str(TcpAddress(host, bind.port)) for host in bind.hosts] if bind.port else ()


def _check_tls(source: Source, keys: Keys, listener: Listener) -> None:
    for key in ("certificate", "private_key"):
        path: Path | None = getattr(listener, key)
        if path is None:
            source.error((*keys, key), f"a PEM file, since tls is {listener.tls}", "nothing")
        else:
            _check_file(source, (*keys, key), path)


def _check_file(source: Source, keys: Keys, path: Path) -> None:
    try:
        with path.open("rb"):
            mode = path.stat().st_mode
    except OSError as error:
        source.error(keys, "a file that can be read", f"{source.found(keys)} ({(error.strerror or 'error').lower()})")
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
