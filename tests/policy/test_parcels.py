"""What a parcel takes from the identity, the envelope and the finished message."""

import listener

from relay.model import Envelope
from relay.policy.headers import Message
from relay.policy.parcels import pack

MESSAGE = Message((b"X: y\r\n", b"\r\nbody\r\n"), "from", "source", "return", ("a@example.com",), None)


def test_the_parcel_goes_out_as_the_envelope_says() -> None:
    identity = listener.identity(tenant="acme", transport="smtp", credentials="keys")
    parcel = pack("id", identity, Envelope("App@Example.com", ("B@x.example", "a@x.example")), MESSAGE)

    assert (parcel.sender, parcel.recipients) == ("App@Example.com", ("B@x.example", "a@x.example"))
    assert (parcel.identity, parcel.region, parcel.transport) == ("example.com", "us-west-2", "smtp")
    assert (parcel.credentials, parcel.tenant, parcel.return_path_arn) == ("keys", "acme", "return")
    assert (parcel.content, parcel.size) == (MESSAGE.content, 14)


def test_replace_sender_is_the_envelope_sender_towards_ses() -> None:
    identity = listener.identity("<>", replace_sender="bounces@example.com")
    assert pack("id", identity, Envelope("", ("a@x.example",)), MESSAGE).sender == "bounces@example.com"
