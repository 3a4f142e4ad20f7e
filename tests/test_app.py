"""What the composition root decides by itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.app import book_of, limits_of, until_restart
from relay.settings.model import Admin, Limits, Listener, Settings, Spool, TcpAddress

SPOOL = Spool(path=Path("/one/spool.db"), keep_dead=5.0)
OLD = Settings(identities=(), spool=SPOOL)


def test_no_more_is_offered_than_there_is_room_for() -> None:
    """SIZE never promises a message that could only ever hear 452."""
    huge = Settings(identities=(), limits=Limits(message_bytes=10**12))
    assert book_of(huge, "relay.test").message_bytes == limits_of(huge).in_flight_bytes
    usual = Settings(identities=(), limits=Limits(message_bytes=1_000_000))
    assert book_of(usual, "relay.test").message_bytes == 1_000_000


@pytest.mark.parametrize(
    ("changes", "waiting", "kept"),
    [
        ({"limits": Limits(errors=1)}, [], {}),
        ({"spool": replace(SPOOL, keep_dead=9.0)}, [], {}),
        ({"spool": Spool(path=Path("/two/spool.db"), keep_dead=9.0, min_free_bytes=7)}, ["spool.path"],
         {"spool": replace(SPOOL, keep_dead=9.0, min_free_bytes=7)}),
        ({"spool": None}, ["spool"], {"spool": SPOOL}),
        ({"admin": None, "limits": Limits(errors=1)}, ["admin"], {"admin": OLD.admin}),
        ({"admin": Admin(TcpAddress("127.0.0.1", 9))}, ["admin"], {"admin": OLD.admin}),
        ({"listeners": (Listener(TcpAddress("127.0.0.1", 9)),)}, ["listeners"], {"listeners": OLD.listeners}),
    ],
    ids=["nothing", "spool", "spool.path", "no spool", "no admin", "admin", "listeners"],
)  # fmt: skip
def test_only_what_cannot_change_waits_for_a_restart(
    changes: dict[str, Any], waiting: list[str], kept: dict[str, Any]
) -> None:
    """Of a spool on another path the other keys hold at once; all that is new besides does, too."""
    assert until_restart(replace(OLD, **changes), OLD) == (replace(OLD, **(changes | kept)), waiting)


def test_a_spool_that_is_new_waits_for_a_restart() -> None:
    """None is opened while the relay runs."""
    without = replace(OLD, spool=None)
    assert until_restart(OLD, without) == (without, ["spool"])
