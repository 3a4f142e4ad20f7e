"""The whole way to an SES that verifies signatures and judges mail: keys, regions, verdicts and faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aws_double import parcel

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints
from relay.aws.exchange import Exchange
from relay.aws.trust import tls_context
from relay.delivery.ses_api import SesApi
from relay.model import Delivered, Outcome, Parcel
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Simulator
from relay.simulator.faults import Fault

EAST, WEST = "us-east-1", "eu-west-1"


def mail(region: str = EAST, tenant: str | None = None, sender: str = "app@example.com") -> Parcel:
    """A finished message of the identity that the simulator knows."""
    arn = f"arn:aws:ses:{region}:123456789012:identity/example.com"
    block = "".join(f"X-SES-{which}-ARN: {arn}\r\n" for which in ("SOURCE", "FROM", "RETURN-PATH"))
    content = (block.encode(), b"From: app@example.com\r\nTo: a@example.org\r\n", memoryview(b"\r\n\xe9\xff.\r\n"))
    return parcel(content=content, region=region, tenant=tenant, sender=sender, return_path_arn=arn)


@asynccontextmanager
async def relayed(secret: str | None = None, late: timedelta = timedelta(0)) -> AsyncIterator[tuple[Simulator, SesApi]]:
    """The simulator and the transport, put together of the relay's own parts."""
    keys = CredentialSource(
        "default",
        access_key_id=DELEGATE.access_key_id,
        secret_access_key=secret or DELEGATE.secret_access_key,
        session_token=DELEGATE.session_token,
    )
    async with Simulator() as simulator:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_CA_BUNDLE", str(simulator.ca_file))
            trust = tls_context()
        api = SesApi(
            CredentialBook({"default": keys}),
            ApiEndpoints(simulator.api_url),
            timeout_s=10,
            mode="auto",
            clock=lambda: datetime.now(UTC) - late,
            exchange=Exchange(10, user_agent="ses-relay/test", trust=lambda: trust),
        )
        yield simulator, api
        await api.close()


def in_short(outcome: Outcome) -> str:
    """Kind, codes and cause."""
    if isinstance(outcome, Delivered):
        return "Delivered"
    return f"{type(outcome).__name__} {outcome.reply.code} {outcome.reply.enhanced} {outcome.cause}"


async def test_mail_of_two_regions_arrives_as_it_is() -> None:
    """Envelope and content byte for byte, in the region of the identity; SES's id in the outcome."""
    async with relayed() as (simulator, api):
        outcomes = [await api.send(mail(region)) for region in (EAST, WEST)]

        assert outcomes == [Delivered(received.message_id) for received in simulator.received]
        assert [(r.region, r.sender, r.recipients) for r in simulator.received] == [
            (region, "app@example.com", ("b@example.net",)) for region in (EAST, WEST)
        ]
        assert [r.raw for r in simulator.received] == [b"".join(mail(region).content) for region in (EAST, WEST)]


@pytest.mark.parametrize(
    ("fault", "wanted", "kept"),
    [
        (Fault(action="throttle", count=1), "Deferred 451 4.4.5 throttled", 1),
        (Fault(action="error", count=1), "Deferred 451 4.3.0 unavailable", 1),
        (Fault(action="error", status=503, count=1), "Deferred 451 4.3.0 unavailable", 1),
        (Fault(action="html", count=1), "Deferred 451 4.4.2 not_ses", 1),
        (Fault(action="lose_answer", count=1), "Deferred 451 4.4.2 lost_answer", 2),
        (
            Fault(action="refuse", code="MailFromDomainNotVerifiedException", status=400, text="MX", count=1),
            "Deferred 451 4.3.5 identity_refused",
            1,
        ),
    ],
    ids=lambda value: f"{value.action} {value.status}" if isinstance(value, Fault) else "",
)
async def test_troubles_pass(fault: Fault, wanted: str, kept: int) -> None:
    """A fault has the outcome of the table after one attempt, and the next parcel is delivered."""
    async with relayed() as (simulator, api):
        simulator.faults.add(fault)
        first, second = await api.send(mail()), await api.send(mail())

        assert in_short(first) == wanted
        assert isinstance(second, Delivered)
        assert simulator.total == kept


async def test_wrong_keys_are_our_trouble() -> None:
    """A secret that does not fit is no fault of the message."""
    async with relayed(secret="wrong") as (simulator, api):
        assert in_short(await api.send(mail())) == "Deferred 451 4.3.5 credentials"
        assert simulator.total == 0


async def test_a_wrong_clock_is_our_trouble() -> None:
    """SES refuses signatures that are more than 5 minutes off."""
    async with relayed(late=timedelta(minutes=6)) as (simulator, api):
        assert in_short(await api.send(mail())) == "Deferred 451 4.3.5 credentials"
        assert simulator.total == 0


async def test_a_sender_that_is_not_verified_is_refused() -> None:
    """SES's own verdict fails the parcel."""
    async with relayed() as (simulator, api):
        assert in_short(await api.send(mail(sender="app@example.net"))) == "Failed 554 5.7.1 identity_refused"
        assert simulator.total == 0
