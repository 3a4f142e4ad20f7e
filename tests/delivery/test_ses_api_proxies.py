"""HTTPS_PROXY and AWS_CA_BUNDLE on real sockets: through a CONNECT proxy, past it, and when it refuses."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aws_double import MESSAGE_ID, Double, aws_double, parcel, ses_api
from http_proxy import proxy

from relay.aws.endpoints import ApiEndpoints
from relay.aws.trust import tls_context
from relay.model import Cause, Deferred, Delivered


@asynccontextmanager
async def ses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Double]:
    """SES with TLS on localhost, believed by AWS_CA_BUNDLE, found by AWS_ENDPOINT_URL_SES."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with aws_double(tls=context) as aws:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_SES", aws.url)
        yield aws


async def test_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is honoured, with the login of its URL, and sees nothing but the host and port."""
    async with ses(tmp_path, monkeypatch) as aws, proxy() as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://us%40er:pa%3Ass@127.0.0.1:{between.port}")
        async with ses_api(ApiEndpoints(), trust=tls_context) as api:
            outcomes = [await api.send(parcel()) for _ in range(2)]

    assert outcomes == [Delivered(MESSAGE_ID)] * 2
    assert between.asked == [f"CONNECT {aws.url.removeprefix('https://')} HTTP/1.1"]
    assert between.authorizations == ["Basic " + b64encode(b"us@er:pa:ss").decode()]
    assert "proxy-authorization" not in aws.heard[0].headers


async def test_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is honoured."""
    async with ses(tmp_path, monkeypatch), proxy() as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        monkeypatch.setenv("NO_PROXY", "localhost")
        async with ses_api(ApiEndpoints(), trust=tls_context) as api:
            outcome = await api.send(parcel())

    assert outcome == Delivered(MESSAGE_ID)
    assert between.asked == []


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_proxy_that_refuses(status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is the proxy's, not SES's: deferred, told apart, and its password is in no log."""
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    async with ses(tmp_path, monkeypatch) as aws, proxy(refusal) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{between.port}")
        async with ses_api(ApiEndpoints(), trust=tls_context) as api:
            outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert (outcome.cause, str(outcome.reply)[:9]) == (Cause.NETWORK, "451 4.4.1")
    assert outcome.detail.startswith("proxy: ")
    assert status in outcome.detail
    assert "pass" not in outcome.detail
    assert aws.connections == 0


async def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead proxy is not a dead SES: the log says which."""
    async with ses(tmp_path, monkeypatch) as aws:
        async with proxy() as gone:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{gone.port}")
        async with ses_api(ApiEndpoints(), trust=tls_context) as api:
            outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert outcome.detail.startswith("proxy: ")
    assert "pass" not in outcome.detail
    assert aws.connections == 0


async def test_a_proxy_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that never answers CONNECT is given up after timeout_s."""
    async with ses(tmp_path, monkeypatch) as aws, proxy(silent=True) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        async with ses_api(ApiEndpoints(), trust=tls_context, timeout_s=0.2) as api:
            outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert outcome.cause is Cause.NETWORK
    assert aws.connections == 0
