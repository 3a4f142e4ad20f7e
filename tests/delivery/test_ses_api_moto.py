"""Another maker's SES takes what we send, by both APIs, byte for byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import boto3
import pytest
from aws_double import KEYS, parcel, ses_api
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from relay.aws.submission import V1_BYTES
from relay.model import Deferred, Delivered, Failed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries that moto's server brings
    from moto.server import ThreadedMotoServer

HEAD = b"X-SES-SOURCE-ARN: arn:aws:ses:us-west-2:123456789012:identity/example.com\r\nFrom: a@example.com\r\n\r\n"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """A server in which example.com is verified."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.Session().client(
        "ses",
        region_name="us-west-2",
        endpoint_url=url,
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
    )
    client.verify_domain_identity(Domain="example.com")
    client.close()
    yield url
    server.stop()


@pytest.mark.parametrize(
    ("tenant", "body"),
    [
        (None, b"Hello\r\n"),
        (None, "Grüße\r\n.\r\n..\r\n".encode()),
        (None, b"0123456789abcdef" * 20_000),
        ("blue", b"Hello\r\n"),
        (None, b"0123456789abcde\n" * (V1_BYTES // 16)),
    ],
    ids=["v1", "v1 8-bit", "v1 streamed", "v2", "v2 for its size"],
)
async def test_accepted(moto: str, tenant: str | None, body: bytes) -> None:
    """The message that moto has is the message that was sent, under the id that we report."""
    async with ses_api(moto) as api:
        outcome = await api.send(parcel(HEAD, body, tenant=tenant))

    assert isinstance(outcome, Delivered)
    kept = next(
        message
        for message in ses_backends[DEFAULT_ACCOUNT_ID]["us-west-2"].sent_messages
        if message.id == outcome.message_id
    )
    assert kept.raw_data.encode() == HEAD + body
    assert kept.source == "a@example.com"
    assert kept.destinations == ["b@example.net"]


async def test_refused(moto: str) -> None:
    """A refusal by moto is read as a refusal of the identity; a body it crashes on is deferred."""
    async with ses_api(moto) as api:
        refused = await api.send(parcel(sender="a@other.example"))
        crashed = await api.send(parcel(HEAD, b"\xff\xfe"))

    assert isinstance(refused, Failed)
    assert str(refused.reply).startswith("554 5.7.1")
    assert isinstance(crashed, Deferred)
