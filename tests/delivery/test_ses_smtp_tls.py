"""A password is said only over verified TLS, and to nobody else than the host it is meant for."""

from __future__ import annotations

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
import smtp_parts
import trustme
from scripted_upstream import listening, parse
from sinks import Message, sink
from smtp_parts import CONTENT, Book, at, authority, client_context, in_short, parcel, server_context, transport

from relay.aws.endpoints import SmtpTls
from relay.delivery.ses_smtp import SesSmtp
from relay.delivery.smtp_wire import Wire
from relay.model import Delivered

if TYPE_CHECKING:
    from collections.abc import Callable

BOTH = pytest.mark.parametrize("tls", ["starttls", "implicit"])


@cache
def stranger() -> trustme.CA:
    """An authority that nobody believes."""
    return trustme.CA()


def old_tls() -> ssl.SSLContext:
    """A server that knows nothing later than TLS 1.1."""
    context = server_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def yesterday() -> datetime:
    """The end of a certificate that is over."""
    return datetime.now(UTC) - timedelta(days=1)


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_delivery_over_tls(tls: SmtpTls, host: str) -> None:
    """Small and large messages arrive as they are, by name and by address, over one session."""
    large = CONTENT + b".\r\n..\r\n" + (b"x" * 76 + b"\r\n") * 20_000
    context = server_context()
    server = sink(starttls=context) if tls == "starttls" else sink(implicit=context)
    async with (
        server as upstream,
        transport(at(upstream.port, tls, host)) as ses,
    ):
        outcomes = [await ses.send(parcel(content)) for content in (CONTENT, large)]

    assert outcomes == [Delivered("id-1"), Delivered("id-2")]
    assert upstream.messages == [Message("app@example.com", ("a@example.org",), each) for each in (CONTENT, large)]
    assert upstream.connections == 1


@BOTH
@pytest.mark.parametrize(
    "server",
    [
        pytest.param(lambda: server_context(stranger().issue_cert("127.0.0.1")), id="unknown authority"),
        pytest.param(lambda: server_context(authority().issue_cert("mail.example")), id="another host"),
        pytest.param(lambda: server_context(authority().issue_cert("127.0.0.1", not_after=yesterday())), id="expired"),
        pytest.param(old_tls, id="TLS 1.1"),
    ],
)
async def test_an_unverified_server_gets_nothing(tls: SmtpTls, server: Callable[[], ssl.SSLContext]) -> None:
    """Deferred with the cause `tls`; neither login nor mail is said, nor anything tried in clear."""
    script = parse("unverified", _STARTTLS if tls == "starttls" else "tls")
    async with listening(script, server()) as upstream, transport(at(upstream.port, tls)) as ses:
        outcome = await ses.send(parcel())
        with pytest.raises(AssertionError) as failed_handshake:
            await upstream.finished()

    assert in_short(outcome) == "Deferred 451 4.4.1 tls"
    assert upstream.played == 1
    assert "the client said" not in str(failed_handshake.value)


_STARTTLS = """\
S: 220 Hello
C: EHLO relay.test
S: 250-mail.example
S: 250 STARTTLS
C: STARTTLS
S: 220 Ready
tls
"""


async def test_plain_smtp_where_tls_is_due() -> None:
    """An endpoint that greets in clear where TLS was to begin is not talked to."""
    script = parse("clear", "S: 220 Hello\nsilence")
    async with listening(script) as upstream, transport(at(upstream.port, "implicit")) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.4.1 tls"


async def test_silence_in_the_handshake() -> None:
    """A server that accepts STARTTLS and then says nothing is given up in time."""
    script = parse("silent", _STARTTLS.replace("tls\n", "silence\n"))
    async with listening(script) as upstream, transport(at(upstream.port, "starttls"), timeout_s=0.1) as ses:
        outcome = await ses.send(parcel())

    assert in_short(outcome) == "Deferred 451 4.4.1 tls"


@pytest.mark.parametrize("spoil", ["check_hostname", "verify_mode", "minimum_version"])
async def test_a_context_that_does_not_verify_is_not_used(spoil: str) -> None:
    """Whoever builds the context, the transport insists on certificate, name and TLS 1.2."""
    context = client_context()
    if spoil == "minimum_version":
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if spoil == "verify_mode" else ssl.CERT_REQUIRED
    async with sink(starttls=server_context()) as upstream:
        ses = SesSmtp(
            Book(),
            lambda _: at(upstream.port, "starttls"),
            timeout_s=10,
            concurrency=1,
            mode="auto",
            helo="relay.test",
            tls=lambda: context,
        )
        outcome = await ses.send(parcel())
        await ses.close()

    assert upstream.connections == 0
    assert in_short(outcome) == "Deferred 451 4.3.0 our_fault"


async def test_without_authorities_there_is_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that cannot be read defers, and is read once it can be."""
    broken = True

    def context() -> ssl.SSLContext:
        if broken:
            raise FileNotFoundError("ca.pem")
        return client_context()

    monkeypatch.setattr(smtp_parts, "client_context", context)
    async with sink(starttls=server_context()) as upstream, transport(at(upstream.port, "starttls")) as ses:
        first = await ses.send(parcel())
        broken = False
        second = await ses.send(parcel())

    assert in_short(first) == "Deferred 451 4.4.1 tls"
    assert isinstance(second, Delivered)


async def test_a_password_does_not_leave_this_machine_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS, AUTH is said to loopback only, whatever the configuration let pass."""
    monkeypatch.setattr(Wire, "peer", "192.0.2.7")
    script = parse("far away", "S: 220 Hello\nC: EHLO relay.test\nS: 250-mail.example\nS: 250 AUTH PLAIN\nC.")
    async with listening(script) as upstream, transport(at(upstream.port)) as ses:
        outcome = await ses.send(parcel())
        await upstream.finished()

    assert in_short(outcome) == "Deferred 451 4.4.1 tls"
