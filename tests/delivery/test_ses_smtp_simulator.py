"""The whole way to an SES: derived password, endpoint, STARTTLS, the simulator's verdicts and its faults."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from smtp_parts import in_short, parcel

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import SmtpEndpoints, SmtpTls
from relay.aws.trust import tls_context
from relay.delivery.ses_smtp import SesSmtp
from relay.model import Delivered, Outcome, Parcel
from relay.settings.addresses import TcpAddress
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Simulator
from relay.simulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EAST, WEST = "us-east-1", "eu-west-1"
KEYS = CredentialSource(
    "default", access_key_id=DELEGATE.access_key_id, secret_access_key=DELEGATE.secret_access_key
)  # the password is derived from them, for each region


def message(region: str = EAST, **changes: Any) -> Parcel:
    """A finished message of the identity that the simulator knows, in the pieces the relay would have."""
    arn = f"arn:aws:ses:{region}:123456789012:identity/example.com"
    block = "".join(f"X-SES-{which}-ARN: {arn}\r\n" for which in ("SOURCE", "FROM", "RETURN-PATH"))
    content = (block.encode(), b"From: app@example.com\r\nTo: a@example.org\r\n", memoryview(b"\r\n.Hello\r\n..\r\n"))
    return parcel(content, **({"region": region} | changes))


@asynccontextmanager
async def relayed(tls: SmtpTls = "starttls", **settings: Any) -> AsyncIterator[tuple[Simulator, SesSmtp]]:
    """The simulator and the transport, put together of the relay's own parts."""
    async with Simulator(**settings) as simulator:
        address = simulator.smtps_address() if tls == "implicit" else simulator.smtp_address()
        ses = SesSmtp(
            CredentialBook({"default": KEYS}),
            SmtpEndpoints(TcpAddress(*address), tls),
            timeout_s=10,
            final_s=10,
            concurrency=4,
            mode="auto",
            helo="relay.test",
            tls=tls_context,
        )
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_CA_BUNDLE", str(simulator.ca_file))
            yield simulator, ses
        await ses.close()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_mail_of_two_regions_arrives_as_it_is(tls: SmtpTls) -> None:
    """Each region with its own login; envelope and content byte for byte; SES's id in the outcome."""
    async with relayed(tls) as (simulator, ses):
        outcomes = [
            await ses.send(message(region, recipients=["a@example.org", "b@example.org"])) for region in (EAST, WEST)
        ]

        assert outcomes == [Delivered(received.message_id) for received in simulator.received]
        assert [(r.region, r.sender, r.recipients) for r in simulator.received] == [
            (region, "app@example.com", ("a@example.org", "b@example.org")) for region in (EAST, WEST)
        ]
        assert [r.raw for r in simulator.received] == [b"".join(message(region).content) for region in (EAST, WEST)]


async def test_a_session_that_timed_out_is_replaced_unseen() -> None:
    """SES's timeout on the first command of a used session costs nothing: one fresh session, one message."""
    async with relayed() as (simulator, ses):
        first = await ses.send(message())
        simulator.faults.add(
            Fault(action="refuse", stage="mail", reply="451 4.4.2 Timeout waiting for data from client.", count=1)
        )
        second = await ses.send(message())

        assert [type(outcome) for outcome in (first, second)] == [Delivered] * 2
        assert simulator.total == 2


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (Fault(action="throttle", count=1), "Deferred 451 4.4.5 throttled"),
        (Fault(action="error", count=1), "Deferred 451 4.3.0 unavailable"),
        (Fault(action="busy", count=1), "Deferred 451 4.4.5 throttled"),
        (Fault(action="drop", count=1), "Deferred 451 4.4.2 network"),
        (Fault(action="drop", stage="rcpt", count=1), "Deferred 451 4.4.2 network"),
        (Fault(action="drop", stage="final", count=1), "Deferred 451 4.4.2 lost_answer"),
        (
            Fault(action="refuse", stage="auth", reply="535 Authentication Credentials Invalid", count=1),
            "Deferred 451 4.3.5 credentials",
        ),
        (
            Fault(action="refuse", stage="rcpt", reply="553 <a@example.org> Invalid", count=1),
            "Failed 553 5.1.3 recipient",
        ),
    ],
    ids=lambda value: f"{value.action} {value.stage}" if isinstance(value, Fault) else "",
)
async def test_troubles_pass(fault: Fault, wanted: str) -> None:
    """A fault has the outcome of the table, and the next parcel is delivered, once."""
    async with relayed() as (simulator, ses):
        simulator.faults.add(fault)
        first, second = await ses.send(message()), await ses.send(message())

        assert in_short(first) == wanted
        assert isinstance(second, Delivered)
        assert simulator.total == 1


async def test_an_answer_that_is_lost_is_told_as_that() -> None:
    """SES has the message, and we must not say that it has not."""
    async with relayed() as (simulator, ses):
        simulator.faults.add(Fault(action="lose_answer", count=1))
        outcome = await ses.send(message())

        assert in_short(outcome) == "Deferred 451 4.4.2 lost_answer"
        assert simulator.total == 1


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"sender": "app@example.net"}, "Failed 554 5.7.1 identity_refused"),
        ({"sender": ""}, "Failed 550 5.1.7 sender"),
        ({"recipients": ["nobody"]}, "Failed 553 5.1.3 recipient"),
    ],
)
async def test_what_ses_refuses_fails(changes: dict[str, Any], wanted: str) -> None:
    """SES's own verdicts, wherever in the dialogue they come, fail the parcel."""
    async with relayed() as (simulator, ses):
        outcome: Outcome = await ses.send(message(**changes))

        assert in_short(outcome) == wanted
        assert simulator.total == 0
