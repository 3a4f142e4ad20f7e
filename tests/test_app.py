"""What the composition root decides by itself."""

from relay.app import book_of, limits_of
from relay.settings.model import Limits, Settings


def test_no_more_is_offered_than_there_is_room_for() -> None:
    """SIZE never promises a message that could only ever hear 452."""
    huge = Settings(identities=(), limits=Limits(message_bytes=10**12))
    assert book_of(huge, "relay.test").message_bytes == limits_of(huge).in_flight_bytes
    usual = Settings(identities=(), limits=Limits(message_bytes=1_000_000))
    assert book_of(usual, "relay.test").message_bytes == 1_000_000
