"""The doctor against another maker's AWS, which has no GetAccount."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import boto3
import pytest
from doctor_parts import EAST, look, rule, the, verdicts
from moto.core.models import DEFAULT_ACCOUNT_ID

from relay.doctor.findings import Verdict
from relay.settings.model import CredentialSource, Ses, Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries that moto's server brings
    from moto.server import ThreadedMotoServer

KEYS = CredentialSource("mine", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="s")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """A server in which example.com is verified."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.Session().client(
        "sesv2",
        region_name=EAST,
        endpoint_url=url,
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
    )
    client.create_email_identity(EmailIdentity="example.com")
    client.create_configuration_set(ConfigurationSetName="events")
    client.close()
    yield url
    server.stop()


async def test_what_it_has_is_found(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caller, identity and configuration set by the same questions; the quota by the older one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    identity = rule(account=DEFAULT_ACCOUNT_ID, configuration_set="events")
    settings = Settings((identity,), credentials={"mine": KEYS}, ses=Ses(api_endpoint=moto))
    findings = await look(settings)

    assert f"account {DEFAULT_ACCOUNT_ID}, " in the(findings, "caller").what
    assert {check: verdicts(findings)[check] for check in ("configuration set", "quota", "rate")} == {
        "configuration set": "ok", "quota": "ok", "rate": "ok"
    }  # fmt: skip
    assert "our own account" in the(findings, "identity").what
    assert the(findings, "sandbox").verdict is Verdict.WARNING


async def test_what_it_has_not_is_missing(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    identity = rule("gone.example", account=DEFAULT_ACCOUNT_ID, configuration_set="gone")
    settings = Settings((identity,), credentials={"mine": KEYS}, ses=Ses(api_endpoint=moto))
    findings = await look(settings)

    assert (the(findings, "identity").verdict, the(findings, "configuration set").verdict) == (Verdict.BAD,) * 2
