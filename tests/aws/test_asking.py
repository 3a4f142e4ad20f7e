"""Signed questions: what they are about, who signs them for which region, and what is known when there is no answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from canned_http import answering
from role_world import BASE, OWNER, a_world, role

from relay.aws import asking
from relay.aws.asking import Asker, Means, NotTold
from relay.aws.clock import seconds_ahead
from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoint, ApiEndpoints, Operation, Question
from relay.aws.exchange import Exchange
from relay.aws.identity_of import account_of, identity_of
from relay.aws.resources import EmailIdentity, read_identity, set_may_send
from relay.aws.trust import tls_context
from relay.policy.outcomes import Trouble
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Fault, Simulator

EAST = "us-east-1"


class At(ApiEndpoints):
    """Everything at one URL, without asking botocore; `host` is what requests say that they are for."""

    def __init__(self, url: str, host: str | None = None) -> None:
        super().__init__(url)
        self._url, self._host = url, host or url.partition("//")[2]

    async def find(self, operation: Operation | Question, region: str) -> ApiEndpoint:
        path = {"GetEmailIdentity": "/v2/email/identities", "GetConfigurationSet": "/v2/email/configuration-sets"}
        return ApiEndpoint(self._url + path.get(operation, "/"), self._host, path.get(operation, "/"))


async def no_pause(_: float) -> None:
    """Whoever answers here permits any pace."""


@asynccontextmanager
async def asker(
    endpoints: ApiEndpoints, source: CredentialSource = BASE, pause: Callable[[float], Awaitable[None]] = no_pause
) -> AsyncIterator[Asker]:
    exchange = Exchange(5, user_agent="ses-relay/test", final_s=0, trust=tls_context)
    book = CredentialBook({"base": source, "owner": role()})
    made = Asker(Means(book, endpoints, exchange, lambda: datetime.now(UTC), pause))
    try:
        yield made
    finally:
        await made.close()


async def test_the_global_sts_is_signed_for_its_own_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_STS_REGIONAL_ENDPOINTS=legacy leads there from anywhere, and it knows no other region."""
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    found = await ApiEndpoints().find("GetCallerIdentity", "us-west-2")
    async with Simulator(world=a_world()) as ses:
        for endpoints, region in ((At(ses.api_url, found.host), "us-west-2"), (At(ses.api_url), "eu-west-1")):
            async with asker(endpoints) as asks:
                await identity_of(asks, "base", region)

    assert found.host == "sts.amazonaws.com"
    assert [call.region for call in ses.called] == ["us-east-1", "eu-west-1"]


async def test_the_account_of_a_role_stands_in_its_arn() -> None:
    """Nobody is asked for it, also where STS may not be; of other keys only STS knows."""
    async with Simulator(world=a_world()) as ses, asker(At(ses.api_url)) as asks:
        known = [await account_of(asks, name, EAST, ask=ask) for name in ("owner", "base") for ask in (True, False)]

    assert known == [OWNER, OWNER, DELEGATE.account, None]
    assert [call.name for call in ses.called] == ["GetCallerIdentity"]


async def test_each_call_and_each_account_has_a_pace_of_its_own() -> None:
    """A second between two of the same, by whomever, unless they are known to be of different accounts."""
    pauses: list[tuple[str, float]] = []
    asking_now = ""

    async def pause(seconds: float) -> None:
        pauses.append((asking_now, round(seconds)))

    async with Simulator(world=a_world()) as ses, asker(At(ses.api_url), pause=pause) as asks:
        for asking_now in ("a", "b"):
            await read_identity_or_not(asks, "base", asking_now)
        await set_or_not(asks, "base", "c")
        asks.belongs("base", DELEGATE.account)
        for asking_now in ("d", "e"):
            await read_identity_or_not(asks, "base", asking_now)
        for _ in range(3):
            await identity_of(asks, "base", EAST)

    assert pauses == [("b", 1), ("e", 1)]


async def read_identity_or_not(asks: Asker, credentials: str, name: str) -> None:
    with pytest.raises(NotTold):
        await read_identity(asks, credentials, EAST, name)


async def set_or_not(asks: Asker, credentials: str, name: str) -> None:
    with pytest.raises(NotTold):
        await set_may_send(asks, credentials, EAST, name)


@pytest.mark.parametrize(
    ("fault", "code", "trouble"),
    [
        (Fault(action="refuse", stage="call", status=403, code="AccessDeniedException"), "AccessDeniedException", None),
        (Fault(action="html", stage="call"), "", Trouble.NOT_AWS),
        (Fault(action="drop", stage="call"), "", Trouble.STALE),
    ],
)
async def test_why_there_is_no_answer(fault: Fault, code: str, trouble: Trouble | None) -> None:
    """What AWS said, or what kept it from saying."""
    async with Simulator(world=a_world()) as ses, asker(ApiEndpoints(ses.api_url)) as asks:
        ses.faults.add(fault)
        with pytest.raises(NotTold) as caught:
            await asks.ask("GetAccount", "base", EAST)

    assert caught.value.trouble is trouble
    assert (caught.value.refusal.code if caught.value.refusal else "") == code


async def test_no_keys_is_a_trouble_of_its_own() -> None:
    async with asker(At("http://127.0.0.1:9"), CredentialSource("base", smtp_username="A", smtp_password="p")) as asks:
        with pytest.raises(NotTold, match="for SMTP only") as caught:
            await asks.ask("GetAccount", "base", EAST)

    assert caught.value.trouble is Trouble.NO_CREDENTIALS


async def test_no_question_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server does with its time."""
    monkeypatch.setattr(asking, "LIMIT_S", 0.05)
    async with answering(silent=True) as url, asker(At(url)) as asks:
        with pytest.raises(NotTold, match=r"no answer within 0\.05 s") as caught:
            await asks.ask("GetAccount", "base", EAST)

    assert caught.value.trouble is Trouble.TIMEOUT_BEFORE_SENT


def verified(**mail_from: str) -> str:
    """GetEmailIdentity's answer."""
    return json.dumps(
        {"VerifiedForSendingStatus": True, "VerificationStatus": "SUCCESS", "MailFromAttributes": mail_from}
    )


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (verified(), EmailIdentity(True, "SUCCESS")),
        ('{"VerifiedForSendingStatus": false}', EmailIdentity(False, "")),
        (verified(MailFromDomain="m.example", MailFromDomainStatus="FAILED", BehaviorOnMxFailure="REJECT_MESSAGE"),
         EmailIdentity(True, "SUCCESS", "m.example")),
        (verified(MailFromDomain="m.example", MailFromDomainStatus="FAILED", BehaviorOnMxFailure="USE_DEFAULT_VALUE"),
         EmailIdentity(True, "SUCCESS")),
        (verified(MailFromDomain="m.example", MailFromDomainStatus="SUCCESS", BehaviorOnMxFailure="REJECT_MESSAGE"),
         EmailIdentity(True, "SUCCESS")),
    ],
)  # fmt: skip
async def test_identities(body: str, found: EmailIdentity) -> None:
    """A MAIL FROM domain matters where SES refuses mail for it."""
    async with answering(body=body) as url, asker(At(url)) as asks:
        assert await read_identity(asks, "base", EAST, "example.com") == found


@pytest.mark.parametrize("body", ["{}", "[]", "<html>", '{"VerifiedForSendingStatus": "yes"}'])
async def test_no_verification_is_made_up(body: str) -> None:
    async with answering(body=body) as url, asker(At(url)) as asks:
        with pytest.raises(NotTold, match="does not say"):
            await read_identity(asks, "base", EAST, "example.com")


@pytest.mark.parametrize(
    ("body", "may_send"),
    [
        ('{"ConfigurationSetName": "events", "SendingOptions": {"SendingEnabled": true}}', True),
        ('{"ConfigurationSetName": "events", "SendingOptions": {"SendingEnabled": false}}', False),
        ('{"ConfigurationSetName": "events"}', True),
    ],
)
async def test_configuration_sets(body: str, may_send: bool) -> None:
    async with answering(body=body) as url, asker(At(url)) as asks:
        assert await set_may_send(asks, "base", EAST, "events") is may_send


async def test_an_answer_about_something_else() -> None:
    """A page with status 200 is not a configuration set that exists."""
    async with answering(body="<html>Welcome</html>") as url, asker(At(url)) as asks:
        with pytest.raises(NotTold, match="something else"):
            await set_may_send(asks, "base", EAST, "events")


@pytest.mark.parametrize(
    ("date", "ahead_s"),
    [
        ("Mon, 02 Nov 2026 10:07:00 GMT", 420.5),
        ("Mon, 02 Nov 2026 09:59:59 GMT", -0.5),
        ("Mon, 02 Nov 2026 11:00:00 +0100", 0.5),
        ("yesterday", None),
        ("", None),
    ],
)
async def test_the_clock_there(date: str, ahead_s: float | None) -> None:
    """By the date of an answer, which is cut to whole seconds, against the middle of the exchange."""
    times = [datetime(2026, 11, 2, 10, 0, tzinfo=UTC) + timedelta(seconds=shift) for shift in (-1, 1)]
    exchange = Exchange(5, user_agent="t", final_s=0, trust=tls_context)
    try:
        async with answering(*([f"Date: {date}"] if date else []), status="403 Forbidden") as url:
            found = await seconds_ahead(exchange, ApiEndpoint(f"{url}/", "x", "/"), lambda: times.pop(0))
    finally:
        await exchange.close()

    assert found == ahead_s
