"""A reload leaves the listeners open that are open: the new clients have to suit these too."""

from pathlib import Path

import pytest
from settings_samples import IDENTITY, USERS, Write

from relay.settings.addresses import SystemdSocket, TcpAddress, UnixAddress
from relay.settings.load import load
from relay.settings.model import Listener
from relay.settings.problems import ConfigurationError

ANYBODY = f"{IDENTITY}listeners: [{{bind: 'localhost:25'}}]\nclients: [{{name: anybody}}]\n"
NARROW = f"{IDENTITY}listeners: [{{bind: '0.0.0.0:25'}}]\nclients: [{{name: near, networks: [10.0.0.0/8]}}]\n"
LOGINS = f"{IDENTITY}{USERS}clients: [{{name: billing, users: [billing]}}]\n"

PUBLIC = Listener(TcpAddress("0.0.0.0", 2525))
NEAR = Listener(TcpAddress("localhost", 2525))


def refusals(path: Path, *standing: Listener) -> list[str]:
    """What is wrong with the file for a relay that has these listeners."""
    try:
        load(path, {}, standing=standing)
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("listener", "shown"),
    [
        (PUBLIC, "0.0.0.0:2525"),
        (Listener(SystemdSocket("smtp")), "systemd:smtp"),
        (Listener(NEAR.bind, proxy_protocol_from=("127.0.0.1",)), "localhost:2525"),  # type: ignore[arg-type] # as text
    ],
)
def test_clients_that_make_a_standing_listener_an_open_relay_are_refused(
    write: Write, listener: Listener, shown: str
) -> None:
    path = write(ANYBODY)

    assert refusals(path, NEAR, listener) == [
        (
            "relay.yaml:5: error: clients[0].networks: found nothing: an open relay; allowed networks narrower than "
            f"everything, or users, since {shown}, open until a restart, is reachable from elsewhere"
        )
    ]
    assert refusals(path) == []


@pytest.mark.parametrize("text", [NARROW, LOGINS, IDENTITY])
def test_clients_that_suit_it_are_taken(write: Write, text: str) -> None:
    assert refusals(write(text), PUBLIC) == []


@pytest.mark.parametrize("listener", [NEAR, Listener(UnixAddress("/run/smtp.sock"))])
def test_a_standing_listener_that_nobody_else_reaches_opens_nothing(write: Write, listener: Listener) -> None:
    assert refusals(write(ANYBODY), listener) == []


def test_the_listeners_of_the_file_count_too(write: Write) -> None:
    """They will be there after a restart."""
    path = write(ANYBODY.replace("localhost:25", "0.0.0.0:25"))

    assert len(refusals(path, NEAR)) == 1
