"""Keys that end while mail is sent: one look for newer ones, one more try, and no more of either."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aws_double import (
    MESSAGE_ID,
    V1_OK,
    V2_OK,
    Double,
    Plan,
    answer,
    aws_double,
    drop,
    error_xml,
    http,
    parcel,
    ses_api,
)

from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints
from relay.delivery.ses_api import IN_MEMORY_BYTES, SesApi
from relay.model import Cause, Deferred, Delivered
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Fault, Simulator
from relay.simulator.policy_document import VERSION, permit, read, trusting
from relay.simulator.world import Account, Identity, Principal, World

CHAIN = CredentialSource("default")
OK = http("200 OK", V1_OK)
EXPIRED = http("403 Forbidden", error_xml("ExpiredToken", "The security token included in the request is expired"))
LATE = "Signature expired: 20261102T100000Z is now earlier than 20261102T100600Z (20261102T101100Z - 5 min.)"


class Rotation:
    """boto3's chain, whose keys are others after each answer, or the same for ever."""

    def __init__(self, environment: pytest.MonkeyPatch, *answers: bytes | Plan, rotates: bool = True) -> None:
        self._environment, self._answers, self._rotates = environment, list(answers), rotates
        self._serial = 0
        self.turn()

    def turn(self) -> None:
        """Other keys from now on."""
        self._environment.setenv("AWS_ACCESS_KEY_ID", f"AKIA{self._serial}")
        self._environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        self._serial += 1

    async def __call__(self, double: Double, writer: asyncio.StreamWriter) -> bool:
        """What SES does: the next answer, the last one for ever."""
        if self._rotates:
            self.turn()
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await (answer(found) if isinstance(found, bytes) else found)(double, writer)


def used(aws: Double) -> list[str]:
    """The keys of the requests."""
    return [heard.headers["authorization"].partition("Credential=")[2].partition("/")[0] for heard in aws.heard]


async def test_newer_keys_deliver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request with another signature, and the application hears nothing of it."""
    async with aws_double(Rotation(monkeypatch, EXPIRED, OK)) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcome = await api.send(parcel())

    assert outcome == Delivered(MESSAGE_ID)
    assert used(aws) == ["AKIA0", "AKIA1"]
    assert aws.heard[0].body == aws.heard[1].body


async def test_by_sesv2_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """SESv2 spells the code with a suffix; a big body, made block by block, is made again."""
    expired = http("403 Forbidden", '{"message":"expired"}', "X-Amzn-ErrorType: ExpiredTokenException")
    ses = Rotation(monkeypatch, expired, http("200 OK", V2_OK))
    big = b"0123456789abcdef" * (IN_MEMORY_BYTES // 16 + 1)
    async with aws_double(ses) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcome = await api.send(parcel(big, tenant="t"))

    assert outcome == Delivered(MESSAGE_ID)
    assert aws.heard[0].body == aws.heard[1].body


async def test_never_a_third_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that end as fast as they come are no reason to go on for ever; the next message looks again."""
    async with aws_double(Rotation(monkeypatch, EXPIRED)) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcomes = [await api.send(parcel()) for _ in range(2)]

    for outcome in outcomes:
        assert isinstance(outcome, Deferred)
        assert (str(outcome.reply)[:9], outcome.cause) == ("451 4.3.5", Cause.CREDENTIALS)
    assert used(aws) == ["AKIA0", "AKIA1", "AKIA2", "AKIA3"]


async def test_the_same_keys_are_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the providers have no others, SES would only say the same."""
    ses = Rotation(monkeypatch, EXPIRED, rotates=False)
    async with aws_double(ses) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert outcome.cause is Cause.CREDENTIALS
    assert used(aws) == ["AKIA0"]


async def test_keys_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason why there are no newer ones is what the log shows."""

    async def take_away(double: Double, writer: asyncio.StreamWriter) -> bool:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        return await answer(EXPIRED)(double, writer)

    ses = Rotation(monkeypatch, take_away, rotates=False)
    async with aws_double(ses) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert "credentials 'default'" in outcome.detail
    assert len(aws.heard) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("RequestExpired", "Request timestamp is too old"),
        ("RequestTimeTooSkewed", "x"),
        ("SignatureDoesNotMatch", LATE),
    ],
)
async def test_a_wrong_clock_is_not_the_keys_fault(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    """Other keys would be as late: none are asked for, now or with the next message."""
    ses = Rotation(monkeypatch, http("403 Forbidden", error_xml(code, message)))
    async with aws_double(ses) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcomes = [await api.send(parcel()) for _ in range(2)]

    assert {outcome.cause for outcome in outcomes if isinstance(outcome, Deferred)} == {Cause.CREDENTIALS}
    assert used(aws) == ["AKIA0", "AKIA0"]


async def test_other_refusals_of_keys_wait_for_the_next_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key may have been replaced, but that is no news that could not wait."""
    ses = Rotation(monkeypatch, http("403 Forbidden", error_xml("InvalidClientTokenId", "x")))
    async with aws_double(ses) as aws, ses_api(aws.url, keys=CHAIN) as api:
        for _ in range(2):
            await api.send(parcel())

    assert used(aws) == ["AKIA0", "AKIA1"]


async def test_an_answer_lost_the_second_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether SES has taken the second request is not known, whatever it said to the first."""
    async with aws_double(Rotation(monkeypatch, EXPIRED, drop)) as aws, ses_api(aws.url, keys=CHAIN) as api:
        outcome = await api.send(parcel())

    assert isinstance(outcome, Deferred)
    assert outcome.cause is Cause.LOST_ANSWER
    assert len(aws.heard) == 2


ROLE = "arn:aws:iam::123456789012:role/send"


def a_world() -> World:
    """A role of the owner's account that may send, and a delegate who may assume it."""
    trust = read("trust", {"Version": VERSION, "Statement": [trusting([DELEGATE.principal], None)]}, "trust")
    everything = (permit("everything", "*", "*"),)
    return World(
        regions=("us-west-2",),
        accounts={one: Account(one) for one in ("123456789012", DELEGATE.account)},
        principals={
            DELEGATE.principal: Principal(DELEGATE.principal, everything),
            ROLE: Principal(ROLE, everything, trust),
        },
        keys=(DELEGATE,),
        identities=(Identity("123456789012", "us-west-2", "example.com"),),
    )


async def test_a_role_is_assumed_once_more_for_all_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages meet the end of the session at once: one more AssumeRole, and every message goes once."""
    sources = {
        "default": CredentialSource("default", assume_role=ROLE, source="base"),
        "base": CredentialSource(
            "base", access_key_id=DELEGATE.access_key_id, secret_access_key=DELEGATE.secret_access_key
        ),
    }
    async with Simulator(world=a_world()) as ses:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", ses.api_url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ses.ca_file))
        api = SesApi(
            CredentialBook(sources), ApiEndpoints(ses.api_url), timeout_s=10, mode="auto",
            clock=lambda: datetime.now(UTC),
        )  # fmt: skip
        try:
            first = await api.send(parcel())
            ses.faults.add(Fault(action="delay", count=10, seconds=None))
            ses.faults.add(Fault(action="refuse", status=403, code="ExpiredToken", count=10))
            sending = [asyncio.create_task(api.send(parcel())) for _ in range(10)]
            await ses.faults.wait_held(10)
            ses.faults.release()
            outcomes = await asyncio.gather(*sending)
        finally:
            await api.close()

    assert all(isinstance(outcome, Delivered) for outcome in [first, *outcomes])
    assert [call.name for call in ses.called] == ["AssumeRole"] * 2
    assert ses.total == 11
