"""What a parcel takes from the identity, the envelope and the finished message."""

import listener
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.parcels import SES_RECIPIENTS, pack, share_out

CONTENT = (b"X: y\r\n", b"\r\nbody\r\n")


def test_the_parcel_goes_out_as_the_envelope_says() -> None:
    identity = listener.identity(tenant="acme", transport="smtp", credentials="keys")
    parcel = pack("id", identity, "App@Example.com", ("B@x.example", "a@x.example"), CONTENT)

    assert (parcel.sender, parcel.recipients) == ("App@Example.com", ("B@x.example", "a@x.example"))
    assert (parcel.identity, parcel.region, parcel.transport) == ("example.com", "us-west-2", "smtp")
    assert (parcel.credentials, parcel.tenant, parcel.return_path_arn) == (
        "keys",
        "acme",
        str(identity.return_path_arn),
    )
    assert (parcel.content, parcel.size) == (CONTENT, 14)


def test_replace_sender_is_the_envelope_sender_towards_ses() -> None:
    identity = listener.identity("<>", replace_sender="bounces@example.com")
    assert pack("id", identity, "", ("a@x.example",)).sender == "bounces@example.com"


@given(st.integers(1, 400))
def test_groups_keep_every_recipient_in_order_and_ses_takes_each(count: int) -> None:
    recipients = tuple(f"r{number}@x.example" for number in range(count))
    groups = share_out(recipients)

    assert sum(groups, ()) == recipients
    assert all(0 < len(group) <= SES_RECIPIENTS for group in groups)
    assert len(groups) == -(-count // SES_RECIPIENTS)
