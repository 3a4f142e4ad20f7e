"""What AWS is asked about an account, and what is made of the answers, true and strange."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aws_double import KEYS, WHEN, Double, Plan, answer, aws_double, drop, error_xml, http, in_turn
from moto.core.models import DEFAULT_ACCOUNT_ID

from relay.aws.asking import Asker, Means, NotTold
from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoint, ApiEndpoints, Operation, Question
from relay.aws.exchange import Exchange
from relay.aws.identity_of import Caller, identity_of
from relay.aws.quota import Quota, read_quota
from relay.aws.trust import tls_context
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Simulator
from relay.simulator.policy_document import permit
from relay.simulator.world import Account, Principal, Sending, World

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries that moto's server brings
    from moto.server import ThreadedMotoServer

EAST = "us-east-1"
SOURCE = CredentialSource(
    "default", access_key_id=DELEGATE.access_key_id, secret_access_key=DELEGATE.secret_access_key
)  # fmt: skip


async def no_pause(_: float) -> None:
    """Tests that ask twice in a region need not wait a second for it."""


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def asker(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    source: CredentialSource = SOURCE,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Asker]:
    """Somebody who asks a server at this URL, SES and STS alike."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    exchange = Exchange(5, user_agent="ses-relay/test", final_s=0, trust=tls_context)
    made = Asker(Means(CredentialBook({"default": source}), ApiEndpoints(), exchange, _now, pause))
    try:
        yield made
    finally:
        await made.close()


class Near(ApiEndpoints):
    """A server of the test, without asking botocore, which takes longer than all the rest."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url

    async def find(self, operation: Operation | Question, region: str) -> ApiEndpoint:
        path = "/v2/email/account" if operation == "GetAccount" else "/"
        return ApiEndpoint(self._url + path, self._url.partition("//")[2], path)


@asynccontextmanager
async def canned(
    on_request: Plan, *, source: CredentialSource = KEYS, pause: Callable[[float], Awaitable[None]] = no_pause
) -> AsyncIterator[tuple[Asker, Double]]:
    """A server that answers so, and somebody who asks it."""
    async with aws_double(on_request) as aws:
        exchange = Exchange(5, user_agent="t", final_s=0, trust=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        asks = Asker(Means(CredentialBook({"default": source}), Near(aws.url), exchange, lambda: WHEN, pause))
        try:
            yield asks, aws
        finally:
            await asks.close()


def a_world(*actions: str) -> World:
    """The delegate may do this much, and send 50,000 a day and 14 a second."""
    sending = Sending(production=True, max_24_hour_send=50_000, max_send_rate=14)
    return World(
        regions=(EAST,),
        accounts={DELEGATE.account: Account(DELEGATE.account, sending=sending)},
        principals={DELEGATE.principal: Principal(DELEGATE.principal, (permit("p", list(actions), "*"),))},
        keys=(DELEGATE,),
    )


class TestAnSesThatVerifiesSignaturesAndPermissions:
    @pytest.mark.parametrize(
        ("permitted", "quota"),
        [
            ("ses:GetAccount", Quota(14, 50_000, 0, production=True, enabled=True, enforcement="HEALTHY")),
            ("ses:GetSendQuota", Quota(14, 50_000, 0)),
        ],
    )
    async def test_either_permission_gives_the_quota(
        self, permitted: str, quota: Quota, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """GetAccount tells more; where only GetSendQuota is permitted, the numbers are the same."""
        async with (
            Simulator(world=a_world(permitted)) as ses,
            asker(ses.api_url, monkeypatch, pause=no_pause) as asks,
        ):
            assert await read_quota(asks, "default", EAST) == quota

    async def test_without_permission_nothing_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both were asked and both are named; asking again soon is pointless."""
        async with (
            Simulator(world=a_world("ses:SendRawEmail")) as ses,
            asker(ses.api_url, monkeypatch, pause=no_pause) as asks,
        ):
            with pytest.raises(NotTold, match=r"GetAccount: HTTP 403 .*; GetSendQuota: HTTP 403 ") as caught:
                await read_quota(asks, "default", EAST)
        assert caught.value.lasting

    async def test_the_caller_is_known_without_permission(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with Simulator(world=a_world("ses:SendRawEmail")) as ses, asker(ses.api_url, monkeypatch) as asks:
            assert await identity_of(asks, "default", EAST) == Caller(DELEGATE.account, DELEGATE.principal)

    async def test_a_wrong_key_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The signature is looked at, so that the answers above were ours by right."""
        wrong = replace(SOURCE, secret_access_key="wrong")
        async with (
            Simulator(world=a_world("*")) as ses,
            asker(ses.api_url, monkeypatch, source=wrong, pause=no_pause) as asks,
        ):
            for question in (read_quota, identity_of):
                with pytest.raises(NotTold, match="SignatureDoesNotMatch"):
                    await question(asks, "default", EAST)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Another maker's AWS, which has GetSendQuota and STS, and no GetAccount."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class TestMoto:
    async def test_the_quota_by_the_older_call(self, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Moto answers GetAccount with a 404: the older call is asked."""
        async with asker(moto, monkeypatch, pause=no_pause) as asks:
            assert await read_quota(asks, "default", EAST) == Quota(1, 200, 0)

    async def test_the_caller(self, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async with asker(moto, monkeypatch) as asks:
            caller = await identity_of(asks, "default", EAST)

        assert caller.account == DEFAULT_ACCOUNT_ID
        assert caller.arn.startswith(f"arn:aws:sts::{DEFAULT_ACCOUNT_ID}:")


def account(**quota: object) -> bytes:
    """GetAccount's answer."""
    return http("200 OK", json.dumps({"ProductionAccessEnabled": False, "SendQuota": quota}))


def send_quota(**quota: object) -> bytes:
    """GetSendQuota's answer."""
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in quota.items())
    return http(
        "200 OK", f"<GetSendQuotaResponse><GetSendQuotaResult>{fields}</GetSendQuotaResult></GetSendQuotaResponse>"
    )


DENIED = http("403 Forbidden", '{"message":"no"}', "X-Amzn-ErrorType: AccessDeniedException")


async def read(*answers: bytes) -> tuple[Quota, Double]:
    """The quota that a server with these answers tells, and what the server heard."""
    async with canned(in_turn(*answers)) as (asks, aws):
        return await read_quota(asks, "default", "us-west-2"), aws


class TestAnswers:
    async def test_an_unlimited_day(self) -> None:
        quota, _ = await read(account(Max24HourSend=-1.0, MaxSendRate=500.0, SentLast24Hours=7.0))

        assert quota == Quota(500, math.inf, 7, production=False)

    async def test_the_same_in_xml(self) -> None:
        quota, _ = await read(DENIED, send_quota(SentLast24Hours="7.0", Max24HourSend="-1.0", MaxSendRate=" 500.0 "))

        assert quota == Quota(500, math.inf, 7)

    async def test_what_is_asked(self) -> None:
        """A GET without a body, then a form; both for this region and with nothing else in them."""
        _, aws = await read(DENIED, send_quota(Max24HourSend="200.0", MaxSendRate="1.0"))
        first, second = aws.heard

        assert (first.method, first.target, first.body) == ("GET", "/v2/email/account", b"")
        assert (second.method, second.target) == ("POST", "/")
        assert second.fields == {"Action": "GetSendQuota", "Version": "2010-12-01"}
        for heard in aws.heard:
            assert "/us-west-2/ses/aws4_request, SignedHeaders=" in heard.headers["authorization"]

    @pytest.mark.parametrize(
        "strange",
        [
            account(),
            account(Max24HourSend=200.0, MaxSendRate=0),
            account(Max24HourSend=200.0, MaxSendRate=-1),
            account(Max24HourSend=200.0, MaxSendRate="nan"),
            account(Max24HourSend=200.0, MaxSendRate="1e999"),
            account(Max24HourSend=200.0, MaxSendRate=True),
            account(Max24HourSend=[200], MaxSendRate=14),
            http("200 OK", '{"SendQuota": 14}'),
            http("200 OK", "[]"),
            http("200 OK", "<html>Welcome to the hotel's network</html>"),
        ],
    )  # fmt: skip
    async def test_no_number_is_made_up(self, strange: bytes) -> None:
        """An answer without a rate that makes sense is none; the other call is asked, here in vain."""
        with pytest.raises(NotTold):
            await read(strange, http("200 OK", "<html></html>"))

    @pytest.mark.parametrize(
        "passing",
        [
            http("429 Too Many Requests", '{"message":"slow"}', "X-Amzn-ErrorType: TooManyRequestsException"),
            http("400 Bad Request", '{"message":"Rate exceeded"}', "X-Amzn-ErrorType: ThrottlingException"),
            http("500 Internal Server Error", '{"message":"x"}', "X-Amzn-ErrorType: InternalServiceErrorException"),
            http("502 Bad Gateway", "<html>proxy</html>"),
        ],
    )
    async def test_what_passes_is_no_reason_to_ask_the_other_call(self, passing: bytes) -> None:
        with pytest.raises(NotTold) as caught:
            await read(passing, send_quota(Max24HourSend="200.0", MaxSendRate="1.0"))
        assert not caught.value.lasting

    async def test_throttling_of_the_other_call_passes_too(self) -> None:
        with pytest.raises(NotTold, match="Throttling") as caught:
            await read(DENIED, http("400 Bad Request", error_xml("Throttling", "Rate exceeded")))
        assert not caught.value.lasting

    async def test_an_sts_that_names_no_account(self) -> None:
        body = "<GetCallerIdentityResult><Account>me</Account></GetCallerIdentityResult>"
        async with canned(answer(http("200 OK", body))) as (asks, _):
            with pytest.raises(NotTold, match="names no account"):
                await identity_of(asks, "default", EAST)

    async def test_a_server_that_hangs_up(self) -> None:
        async with canned(drop) as (asks, _):
            with pytest.raises(NotTold, match="GetAccount") as caught:
                await read_quota(asks, "default", EAST)
        assert not caught.value.lasting

    async def test_no_keys_to_ask_with(self) -> None:
        """An SMTP user may not ask anything; nobody hears from us."""
        source = CredentialSource("default", smtp_username="AKIA", smtp_password="secret")
        async with canned(answer(DENIED), source=source) as (asks, aws):
            with pytest.raises(NotTold, match="for SMTP only"):
                await read_quota(asks, "default", EAST)
        assert not aws.heard


async def test_calls_of_a_region_begin_a_second_apart() -> None:
    """SES permits one a second; other regions and STS do not wait for it."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with canned(answer(http("200 OK", "{}")), pause=pause) as (asks, _):
        for region in (EAST, EAST, EAST, "eu-west-1"):
            await asks.ask("GetAccount", "default", region)
        await asks.ask("GetCallerIdentity", "default", EAST)

    assert [round(seconds) for seconds in pauses] == [1, 2]


async def test_an_endpoint_of_ses_alone_is_not_that_of_sts() -> None:
    """`ses.api_endpoint` says where SES is; STS stays where boto3 finds it."""
    endpoints = ApiEndpoints("http://127.0.0.1:8025")

    assert endpoints.elsewhere
    assert (await endpoints.find("GetAccount", EAST)).url == "http://127.0.0.1:8025/v2/email/account"
    assert (await endpoints.find("GetCallerIdentity", EAST)).url == "https://sts.us-east-1.amazonaws.com"
    assert not ApiEndpoints().elsewhere
