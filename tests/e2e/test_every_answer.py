"""Everything that SES is known to say, driven end to end: upstream answer in, client reply out, by API and by SMTP.

The listener, the courier and the transports are the relay's own, SES is the simulator, which is told what to say.
"""

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime

import listener
import pytest
from outcome_samples import Sample, read_samples

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints, SmtpEndpoints
from relay.delivery.courier import Transport
from relay.delivery.ses_api import SesApi
from relay.delivery.ses_smtp import SesSmtp
from relay.model import TransportName
from relay.policy.outcomes import ConfigurationErrors
from relay.settings.addresses import TcpAddress
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Fault, Simulator

MODES: tuple[ConfigurationErrors, ...] = ("auto", "defer", "reject")
STAGES = ("AUTH", "MAIL", "RCPT", "FINAL")  # where the simulator can be told what to say; the others: tests/delivery
ERRORS = [sample for sample in read_samples() if sample.where.isdigit() or not sample.code.startswith("2")]
SAMPLES = [sample for sample in ERRORS if sample.where.isdigit() or sample.where in STAGES]
ARN = "arn:aws:ses:us-west-2:123456789012:identity/example.com"


def test_the_samples_are_all_there() -> None:
    """So that nothing is passed over in silence: by API, by SMTP, and what the simulator cannot say."""
    by_api = [sample for sample in SAMPLES if sample.where.isdigit()]
    others = {sample.where for sample in ERRORS} - {sample.where for sample in SAMPLES}
    assert len(by_api) >= 80
    assert len(SAMPLES) - len(by_api) >= 35
    assert others == {"GREETING", "STARTTLS", "DATA"}


@pytest.mark.parametrize("mode", MODES)
async def test_every_answer_of_ses_reaches_the_client_as_it_should(mode: ConfigurationErrors) -> None:
    """One message for each sample; what is wrong is told for all of them at once."""
    wrong = []
    async with Simulator(regions=("us-west-2",), identities=(ARN,)) as ses, transports(ses, mode) as ways:
        for sample in SAMPLES:
            ses.clear()
            ses.faults.add(fault(sample))
            if sample.where == "AUTH":  # a session in the pool has logged in already
                async with transports(ses, mode) as fresh:
                    said = await send(fresh, sample)
            else:
                said = await send(ways, sample)
            wanted = sample.replies[MODES.index(mode)]
            if f"{said[0]} {said[1].split()[0]}" != wanted:
                wrong.append(
                    f"{sample.where} {sample.code} {sample.words[:40]}: wanted {wanted}, the client heard {said}"
                )
    assert wrong == []


def fault(sample: Sample) -> Fault:
    """The order to the simulator to say so."""
    if sample.where.isdigit():
        return Fault(action="refuse", status=int(sample.where), code=sample.code, text=sample.words or "-")
    return Fault(action="refuse", stage=sample.where.lower(), reply=f"{sample.code} {sample.words}")  # type: ignore[arg-type] # STAGES


class transports:  # noqa: N801 - reads as the function it is
    """Both ways to the simulator, kept over many listeners."""

    def __init__(self, ses: Simulator, mode: ConfigurationErrors) -> None:
        keys = CredentialSource(
            "default", access_key_id=DELEGATE.access_key_id, secret_access_key=DELEGATE.secret_access_key
        )
        book = CredentialBook({"default": keys})
        host, port = ses.smtp_address()
        self._ways: dict[TransportName, Transport] = {
            "api": SesApi(
                book, ApiEndpoints(ses.api_url), timeout_s=10, mode=mode, clock=lambda: datetime.now(UTC)
            ),
            "smtp": SesSmtp(
                book, SmtpEndpoints(TcpAddress(host, port), "starttls"), timeout_s=10, concurrency=4, mode=mode,
                helo="relay.test", tls=lambda: _believing(ses),
            ),
        }  # fmt: skip

    async def __aenter__(self) -> dict[TransportName, Transport]:
        return self._ways

    async def __aexit__(self, *_: object) -> None:
        for way in self._ways.values():
            await way.close()


def _believing(ses: Simulator) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ses.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's own default is less, which the transport refuses
    return context


async def send(ways: dict[TransportName, Transport], sample: Sample) -> tuple[int, str]:
    """What an application hears whose message meets this answer."""
    transport: TransportName = "api" if sample.where.isdigit() else "smtp"
    identity = listener.identity(transport=transport)
    async with listener.running(identities=[identity], transports=ways, hold_s=0.2) as relay:
        return await asyncio.to_thread(_submit, relay.port)


def _submit(port: int) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail("app@example.com")
        client.rcpt("ann@customer.example")
        code, text = client.data(b"From: app@example.com\r\n\r\nhi\r\n")
        return code, text.decode("ascii")
