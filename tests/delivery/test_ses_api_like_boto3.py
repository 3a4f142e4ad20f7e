"""For the same message our request and stock boto3's say the same, and both signatures are right.

Both are captured at one server. The judge of signatures is botocore, which computes each anew from what arrived.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from typing import Any

import boto3
import pytest
from aws_double import V1_OK, V2_OK, Heard, answer, aws_double, http, in_turn, parcel, ses_api
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from relay.aws.submission import BLOCK
from relay.delivery.ses_api import IN_MEMORY_BYTES
from relay.model import Parcel
from relay.settings.model import CredentialSource

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
STATIC = CredentialSource("default", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=SECRET)
SESSION = CredentialSource(
    "default", access_key_id="ASIAIOSFODNN7EXAMPLE", secret_access_key=SECRET, session_token="FwoGZXIvYXdzEB0a/+=="
)
ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})

MAILS = {
    "plain": parcel(),
    "no body": parcel(content=()),
    "every byte": parcel(bytes(range(256)) * 20),
    "odd addresses": parcel(
        sender="o'brien+tag&x=1;y~z%25@example.com",
        recipients=('"quoted local"@example.net', "a/b?c#d@example.net", "{!$*-_=`|^}@example.net", "p%q@[192.0.2.1]"),
    ),
    "50 recipients": parcel(recipients=tuple(f"user{n}@example.net" for n in range(50))),
    "in blocks": parcel(b"From: a@example.com\r\n", b"\r\n", bytes(range(256)) * (2 * BLOCK // 256)),
    "streamed": parcel(b"From: a@example.com\r\n\r\n", bytes(range(256)) * (IN_MEMORY_BYTES // 256 + 1)),
}


def call_boto3(url: str, mail: Parcel, keys: CredentialSource) -> None:
    """Send the parcel as anybody would."""
    client: Any = boto3.Session().client(
        "sesv2" if mail.tenant else "ses",
        region_name=mail.region,
        endpoint_url=url,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        config=ONCE,
    )
    message = b"".join(mail.content)
    if mail.tenant:
        client.send_email(
            Content={"Raw": {"Data": message}},
            Destination={"ToAddresses": list(mail.recipients)},
            FeedbackForwardingEmailAddress=mail.sender,
            FeedbackForwardingEmailAddressIdentityArn=mail.return_path_arn,
            TenantName=mail.tenant,
        )
    else:
        client.send_raw_email(Source=mail.sender, Destinations=list(mail.recipients), RawMessage={"Data": message})
    client.close()


async def both(mail: Parcel, keys: CredentialSource) -> tuple[Heard, Heard]:
    """What the server hears from us, and from boto3."""
    async with aws_double(answer(http("200 OK", V2_OK if mail.tenant else V1_OK))) as aws:
        async with ses_api(aws.url, keys=keys) as api:
            await api.send(mail)
        await asyncio.to_thread(call_boto3, aws.url, mail, keys)
    ours, theirs = aws.heard
    return ours, theirs


def is_signed(heard: Heard, keys: CredentialSource, region: str) -> bool:
    """Whether botocore comes to the same signature for this request."""
    authorization = heard.headers["authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    covered = {name: heard.headers[name] for name in names}
    request = AWSRequest("POST", f"http://{heard.headers['host']}{heard.target}", covered, heard.body)
    request.context["timestamp"] = heard.headers["x-amz-date"]
    assert keys.access_key_id
    assert keys.secret_access_key
    judge = SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token), "ses", region)
    signature = judge.signature(judge.string_to_sign(request, judge.canonical_request(request)), request)
    return authorization.endswith(f"Signature={signature}") and {"host", "x-amz-date"} <= set(names)


@pytest.mark.parametrize("keys", [STATIC, SESSION], ids=["static", "session"])
@pytest.mark.parametrize("name", MAILS)
async def test_v1(name: str, keys: CredentialSource) -> None:
    """SendRawEmail: the same parameters, the same message, both signed, the same headers covered."""
    mail = MAILS[name]

    ours, theirs = await both(mail, keys)

    assert ours.fields == theirs.fields
    assert b64decode(ours.fields["RawMessage.Data"], validate=True) == b"".join(mail.content)
    assert ours.target == theirs.target
    for heard in (ours, theirs):
        assert is_signed(heard, keys, mail.region)
        assert heard.headers["content-type"] == ours.headers["content-type"]
        assert heard.headers.get("x-amz-security-token") == keys.session_token


@pytest.mark.parametrize("keys", [STATIC, SESSION], ids=["static", "session"])
@pytest.mark.parametrize("name", ["plain", "every byte", "odd addresses", "50 recipients", "streamed"])
async def test_v2(name: str, keys: CredentialSource) -> None:
    """SESv2 SendEmail: the same document, both signed."""
    mail = parcel(
        content=MAILS[name].content, sender=MAILS[name].sender, recipients=MAILS[name].recipients, tenant="blue"
    )

    ours, theirs = await both(mail, keys)

    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.target == theirs.target == "/v2/email/outbound-emails"
    for heard in (ours, theirs):
        assert is_signed(heard, keys, mail.region)
        assert heard.headers["content-type"] == ours.headers["content-type"]


async def test_the_judge_refuses() -> None:
    """A wrong secret, region or body is noticed, so the tests above mean something."""
    mail = parcel()
    async with aws_double(in_turn(http("200 OK", V1_OK))) as aws, ses_api(aws.url, keys=STATIC) as api:
        await api.send(mail)
    (heard,) = aws.heard

    assert is_signed(heard, STATIC, mail.region)
    assert not is_signed(heard, STATIC, "eu-west-1")
    assert not is_signed(heard, CredentialSource("x", access_key_id="A", secret_access_key="B"), mail.region)
    assert not is_signed(Heard(heard.target, heard.headers, heard.body + b"x"), STATIC, mail.region)
    assert not is_signed(Heard(heard.target, heard.headers | {"host": "else"}, heard.body), STATIC, mail.region)
