"""Real clients of SES: boto3 for the APIs, smtplib for SMTP, each call in a thread, one attempt per call."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from relay.simulator import DELEGATE, AccessKey, Simulator

T = TypeVar("T")

EAST = "us-east-1"
WEST = "eu-west-1"
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)


def arn(region: str = EAST, name: str = "example.com", account: str = "123456789012") -> str:
    return f"arn:aws:ses:{region}:{account}:identity/{name}"


def mail(*fields: str, identity: str | None = None, sender: str = "a@example.com", body: str = "Hello\r\n") -> bytes:
    """A message with the three ARN headers, From, To and Subject, then `fields`."""
    identity = arn() if identity is None else identity
    arns = (f"X-SES-SOURCE-ARN: {identity}", f"X-SES-FROM-ARN: {identity}", f"X-SES-RETURN-PATH-ARN: {identity}")
    lines = (*(arns if identity else ()), f"From: {sender}", "To: b@example.net", "Subject: Hello", *fields, "", body)
    return "\r\n".join(lines).encode()


@cache
def _session() -> Any:
    """One session for all tests: loading the models takes long."""
    return boto3.Session()


def client(ses: Simulator, service: str, region: str = EAST, key: AccessKey = DELEGATE) -> Any:
    return _session().client(
        service,
        region_name=region,
        endpoint_url=ses.api_url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        verify=str(ses.ca_file),
        config=ONCE,
    )


async def send_v1(ses: Simulator, raw: bytes, *, region: str = EAST, key: AccessKey = DELEGATE, **options: Any) -> str:
    """SendRawEmail; the message id, or ClientError."""
    call = {"Source": "a@example.com", "Destinations": ["b@example.net"], "RawMessage": {"Data": raw}, **options}
    call = {name: value for name, value in call.items() if value is not None}
    api = client(ses, "ses", region, key)
    try:
        return str((await asyncio.to_thread(api.send_raw_email, **call))["MessageId"])
    finally:
        api.close()


async def send_v2(ses: Simulator, raw: bytes, *, region: str = EAST, key: AccessKey = DELEGATE, **options: Any) -> str:
    """SESv2 SendEmail with raw content; the message id, or ClientError."""
    call = {
        "FeedbackForwardingEmailAddress": "a@example.com",
        "Destination": {"ToAddresses": ["b@example.net"]},
        "Content": {"Raw": {"Data": raw}},
        **options,
    }
    call = {name: value for name, value in call.items() if value is not None}
    api = client(ses, "sesv2", region, key)
    try:
        return str((await asyncio.to_thread(api.send_email, **call))["MessageId"])
    finally:
        api.close()


def answer(error: ClientError) -> tuple[int, str, str]:
    """HTTP status, code and text."""
    response = error.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def tls(ses: Simulator) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ses.ca_file))


async def by_smtp(
    ses: Simulator, talk: Callable[[smtplib.SMTP], T], *, region: str | None = EAST, key: AccessKey | None = None
) -> T:
    """Connect, STARTTLS, log in for `region` (None: do not) with `key` or the first one, then `talk`."""

    def run() -> T:
        with smtplib.SMTP(*ses.smtp_address(), timeout=20) as session:
            session.starttls(context=tls(ses))
            if region is not None:
                session.login(*ses.smtp_login(region, key))
            return talk(session)

    return await asyncio.to_thread(run)


def transaction(
    raw: bytes, sender: str = "a@example.com", *recipients: str
) -> Callable[[smtplib.SMTP], tuple[int, str]]:
    """MAIL, RCPT and DATA; the reply to the final dot, or to the first command that was refused."""

    def talk(session: smtplib.SMTP) -> tuple[int, str]:
        code, text = session.mail(sender)
        for recipient in recipients or ("b@example.net",):
            if code == 250:
                code, text = session.rcpt(recipient)
        if code == 250:
            code, text = session.data(raw)
        return code, text.decode()

    return talk


async def send_smtp(
    ses: Simulator, raw: bytes, sender: str = "a@example.com", *recipients: str, region: str = EAST
) -> tuple[int, str]:
    """One message over STARTTLS; the last reply."""
    return await by_smtp(ses, transaction(raw, sender, *recipients), region=region)
