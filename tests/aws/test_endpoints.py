"""Where the relay finds SES: the same URLs, proxies and overrides as boto3, and SMTP hosts per region."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from relay.aws.endpoints import ApiEndpoints, EndpointTrouble, Operation, SmtpEndpoint, SmtpEndpoints, SmtpTls
from relay.settings.addresses import TcpAddress

FIPS, DUAL = {"AWS_USE_FIPS_ENDPOINT": "true"}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
CONFIG = """
[default]
services = here
[services here]
ses =
  endpoint_url = http://localhost:4001/ses
sesv2 =
  endpoint_url = http://localhost:4002/
"""
CASES: list[tuple[str, dict[str, str]]] = [
    ("us-east-1", {}),
    ("eusc-de-east-1", {}),
    ("cn-north-1", {}),
    ("ap-southeast-9", {}),
    ("us-gov-west-1", FIPS),
    ("eu-west-1", DUAL),
    ("us-east-2", FIPS | DUAL),
    ("us-east-1", {"AWS_ENDPOINT_URL": "http://localhost:4000"}),
    ("us-east-1", {"AWS_ENDPOINT_URL": "http://localhost:4000", "AWS_ENDPOINT_URL_SES": "https://ses.localhost:8443"}),
    ("us-east-1", {"AWS_ENDPOINT_URL_SESV2": "http://localhost:4002/below/"} | FIPS),
    ("us-east-1", {"AWS_ENDPOINT_URL": "http://localhost:4000", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
    ("us-east-1", {"AWS_CONFIG_FILE": "config"}),
    ("us-east-1", {"AWS_CONFIG_FILE": "config", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"} | DUAL),
]


def asked_by_boto3(operation: Operation, region: str, override: str | None = None) -> tuple[str, str]:
    """URL and Host header of the request that boto3 makes."""
    seen = []

    def stop(request: Any, **_: object) -> AWSResponse:
        seen.append((request.url, urlsplit(request.url).netloc))
        return AWSResponse(request.url, 200, HTTPHeaders(), None)

    service = "ses" if operation == "SendRawEmail" else "sesv2"
    client: Any = boto3.Session().client(
        service,  # type: ignore[call-overload]  # the stubs want a literal
        region_name=region,
        endpoint_url=override,
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send", stop)
    try:
        if operation == "SendRawEmail":
            client.send_raw_email(RawMessage={"Data": b""})
        else:
            client.send_email(Content={})
    except Exception:  # noqa: BLE001 the empty answer cannot be parsed, and need not be
        assert seen
    client.close()
    return seen[0]


V1 = [("SendRawEmail", *case) for case in CASES]
V2 = [("SendEmail", *CASES[n]) for n in (0, 5, 8, 9, 11, 12)]  # finding them is slow, so not all twice


@pytest.mark.parametrize(("operation", "region", "settings"), [*V1, *V2])
async def test_as_boto3(
    operation: Operation, region: str, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For any region and setting, URL and Host are those of boto3's request."""
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    ours = await ApiEndpoints().find(operation, region)

    url, host = asked_by_boto3(operation, region)
    assert (ours.url.rstrip("/"), ours.host) == (url.rstrip("/"), host)
    assert ours.path == (urlsplit(url).path or "/")
    assert ours.proxy is None


async def test_override_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ses.api_endpoint` is as an endpoint_url given to boto3: stronger than the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4000")

    ours = await ApiEndpoints("https://[::1]:8443").find("SendEmail", "eu-west-1")

    url, host = asked_by_boto3("SendEmail", "eu-west-1", "https://[::1]:8443")
    assert (ours.url.rstrip("/"), ours.host) == (url.rstrip("/"), host)


async def test_default_ports_are_not_in_host() -> None:
    """The Host header, which is signed, has a port only where it is not the scheme's own."""
    found = [await ApiEndpoints(url).find("SendRawEmail", "eu-west-1") for url in ("http://h:80", "https://h:443")]

    assert [endpoint.host for endpoint in found] == ["h", "h"]


async def test_settings_that_contradict() -> None:
    """What boto3 refuses is trouble with a reason, not an exception of botocore's."""
    with pytest.raises(EndpointTrouble, match="no endpoint"):
        await ApiEndpoints("no endpoint").find("SendRawEmail", "eu-west-1")


async def test_botocore_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that was found stays, whatever becomes of the environment."""
    endpoints = ApiEndpoints()
    first = await endpoints.find("SendRawEmail", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4000")

    assert await endpoints.find("SendRawEmail", "eu-west-1") is first
    assert (await endpoints.find("SendRawEmail", "eu-west-2")).url == "http://localhost:4000"


@pytest.mark.parametrize(
    ("settings", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://user:pass@proxy:3128"}, "http://user:pass@proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".amazonaws.com"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com,us-east-1.amazonaws.com"}, "http://proxy:3128"),
    ],
)
async def test_proxies(settings: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies are taken from the environment as botocore takes them, and their passwords are in no repr."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    endpoint = await ApiEndpoints().find("SendRawEmail", "eu-west-1")

    assert endpoint.proxy == proxy
    assert "pass" not in repr(endpoint)


STS_MOVED = """
[default]
services = here
[services here]
sts =
  endpoint_url = http://localhost:4003
[profile partner]
endpoint_url = http://localhost:4004
[profile plain]
region = eu-west-1
"""


@pytest.mark.parametrize(
    ("override", "settings", "belongs"),
    [
        (None, {}, True),
        (None, {"AWS_ENDPOINT_URL_STS": "http://localhost:4003"}, True),
        ("http://localhost:4000", {}, False),
        ("http://localhost:4000", {"AWS_ENDPOINT_URL_STS": "http://localhost:4000"}, True),
        ("http://localhost:4000", {"AWS_ENDPOINT_URL": "http://localhost:4000"}, True),
        ("http://localhost:4000", {"AWS_ENDPOINT_URL_SES": "http://localhost:4000"}, False),
        ("http://localhost:4000", {"AWS_CONFIG_FILE": "config"}, True),
        ("http://localhost:4000", {"AWS_CONFIG_FILE": "config", "AWS_PROFILE": "partner"}, True),
        ("http://localhost:4000", {"AWS_CONFIG_FILE": "config", "AWS_PROFILE": "plain"}, False),
        ("http://localhost:4000", {"AWS_CONFIG_FILE": "config", "AWS_PROFILE": "nobody"}, False),
        (
            "http://localhost:4000",
            {"AWS_ENDPOINT_URL_STS": "http://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            False,
        ),
        ("http://localhost:4000", FIPS | DUAL, False),
    ],
)
def test_which_sts_may_be_asked_about_credentials(
    override: str | None, settings: dict[str, str], belongs: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AWS's own about those of AWS's SES; where SES is elsewhere, only one that is elsewhere, too, by any setting."""
    (tmp_path / "config").write_text(STS_MOVED)
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert ApiEndpoints(override).sts_belongs is belongs


@pytest.mark.parametrize(
    ("region", "tls", "settings", "expected"),
    [
        ("us-east-1", "starttls", {}, ("email-smtp.us-east-1.amazonaws.com", 587)),
        ("us-east-1", "implicit", {}, ("email-smtp.us-east-1.amazonaws.com", 465)),
        ("us-gov-west-1", "starttls", FIPS, ("email-smtp-fips.us-gov-west-1.amazonaws.com", 587)),
        ("eusc-de-east-1", "starttls", {}, ("email-smtp.eusc-de-east-1.amazonaws.eu", 587)),
        ("cn-north-1", "starttls", {}, ("email-smtp.cn-north-1.amazonaws.com.cn", 587)),
        ("mars", "starttls", {}, ("email-smtp.mars.amazonaws.com", 587)),
    ],
)
def test_smtp_endpoints(
    region: str, tls: SmtpTls, settings: dict[str, str], expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names follow partition and FIPS setting, ports the way TLS begins."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert SmtpEndpoints(None, tls)(region) == SmtpEndpoint(*expected, tls)


def test_smtp_override() -> None:
    """`ses.smtp_endpoint` is for every region."""
    endpoints = SmtpEndpoints(TcpAddress("127.0.0.1", 2587), "none")

    assert endpoints("us-east-1") == endpoints("cn-north-1") == SmtpEndpoint("127.0.0.1", 2587, "none")
