"""The verifier against botocore's signer: whatever botocore signs is accepted, and nothing that was changed since."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator import AccessKey
from relay.simulator.keys import KeyRing, smtp_password
from relay.simulator.refusals import Refused
from relay.simulator.sigv4 import Request, verify

REGIONS = ("us-east-1", "eu-west-1")
SECRET = "secret"
VISIBLE = "".join(map(chr, range(33, 127)))

words = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12)
values = st.lists(st.text(VISIBLE, max_size=12), max_size=4).map("  ".join)
segments = st.text(string.ascii_letters + string.digits + "-_.~ %/+\u00e9*:'", max_size=12)
encodable = st.characters(codec="utf-8")


def key_of(secret: str = SECRET, token: str | None = None) -> AccessKey:
    return AccessKey("AKID", secret, "111122223333", "arn:aws:iam::111122223333:user/u", token)


def signed(key: AccessKey, *, method: str = "POST", target: str = "/", headers: dict[str, str] | None = None,
           body: bytes = b"", region: str = "us-east-1", service: str = "ses") -> Request:  # fmt: skip
    """The request as botocore signs it."""
    request: Any = AWSRequest(method, f"http://localhost:8580{target}", headers=headers or {}, data=body)
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token)
    SigV4Auth(credentials, service, region).add_auth(request)
    sent = (("Host", "localhost:8580"), *request.headers.items())
    return Request(method, target, tuple(sent), body)


def check(request: Request, key: AccessKey, now: datetime | None = None) -> str:
    """The region of the caller, at the time of the signature unless told otherwise: tests may run late."""
    return verify(request, KeyRing([key], [], REGIONS), REGIONS, now or _signed_at(request)).region


def _signed_at(request: Request) -> datetime:
    try:
        return datetime.strptime(request.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.lists(segments, max_size=5).map(lambda parts: "/" + quote("/".join(parts), safe="/%~")),
    query=st.dictionaries(st.text(encodable, min_size=1, max_size=8), st.text(encodable, max_size=8), max_size=4),
    headers=st.dictionaries(words.map("x-test-{}".format), values, max_size=4),
    body=st.binary(max_size=200),
    secret=st.text(VISIBLE, min_size=1, max_size=50),
    token=st.none() | words,
    region=st.sampled_from(REGIONS),
)
def test_whatever_botocore_signs_is_accepted(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    secret: str,
    token: str | None,
    region: str,
) -> None:
    """Any method, path, query, headers, body, secret and token."""
    key = key_of(secret, token)
    pairs = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
    target = f"{path}?{pairs}" if pairs else path
    request = signed(key, method=method, target=target, headers=headers, body=body, region=region)

    assert check(request, key) == region


REQUEST = signed(key_of(), target="/v2/email?a=b", headers={"X-Amz-Test": "value", "Content-Type": "a/b"}, body=b"x")


def changed(name: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple((field, value if field.lower() == name else old) for field, old in REQUEST.headers)


@pytest.mark.parametrize(
    "tampered",
    [
        Request("PUT", REQUEST.target, REQUEST.headers, REQUEST.body),
        Request("POST", "/v2/email?a=c", REQUEST.headers, REQUEST.body),
        Request("POST", "/v2/mail?a=b", REQUEST.headers, REQUEST.body),
        Request("POST", REQUEST.target, REQUEST.headers, b"y"),
        Request("POST", REQUEST.target, changed("host", "elsewhere:8580"), REQUEST.body),
        Request("POST", REQUEST.target, changed("x-amz-test", "other"), REQUEST.body),
        Request("POST", REQUEST.target, changed("content-type", "b/a"), REQUEST.body),
        Request("POST", REQUEST.target, (*REQUEST.headers, ("X-Amz-Added", "1")), REQUEST.body),
        Request("POST", REQUEST.target, (*REQUEST.headers, ("X-Amz-Test", "again")), REQUEST.body),
    ],
)
def test_whatever_was_changed_is_refused(tampered: Request) -> None:
    """Method, path, query, body, any signed header; and no x-amz- header may go unsigned."""
    assert check(REQUEST, key_of()) == "us-east-1"
    with pytest.raises(Refused) as caught:
        check(tampered, key_of())

    assert caught.value.spelling.code == "SignatureDoesNotMatch"


def test_the_right_secret_only() -> None:
    """One character off is enough."""
    with pytest.raises(Refused) as caught:
        check(REQUEST, key_of("secreT"))

    assert caught.value.spelling.code == "SignatureDoesNotMatch"


def authorization(old: str, new: str) -> Request:
    """The request with one part of its Authorization header replaced."""
    value = REQUEST.header("authorization") or ""
    assert old in value
    return Request("POST", REQUEST.target, changed("authorization", value.replace(old, new)), REQUEST.body)


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("AWS4-HMAC-SHA256 ", "AWS3 ", "IncompleteSignature", "Unsupported AWS 'algorithm': 'AWS3'."),
        ("/ses/", "/", "IncompleteSignature", "exactly 5 slash-delimited elements"),
        ("/ses/", "/email/", "SignatureDoesNotMatch", "correct service: 'ses'"),
        ("us-east-1", "us-east-9", "SignatureDoesNotMatch", "valid region, not 'us-east-9'"),
        ("aws4_request", "aws3_request", "SignatureDoesNotMatch", "valid terminator"),
        ("Credential=AKID/2", "Credential=AKID/3", "SignatureDoesNotMatch", "Date in Credential scope does not match"),
        ("host;", "", "SignatureDoesNotMatch", "'host' must be a 'SignedHeader'"),
        ("Credential=AKID/", "Credential=NOBODY/", "InvalidClientTokenId", "security token"),
        ("us-east-1", "eu-west-1", "SignatureDoesNotMatch", "signature we calculated"),
        ("SignedHeaders=", "X=", "IncompleteSignature", "'SignedHeaders' parameter"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, code: str, words: str) -> None:
    """The codes and words of AWS, part by part."""
    with pytest.raises(Refused) as caught:
        check(authorization(old, new), key_of())

    assert caught.value.spelling.code == code
    assert words in caught.value.text


@pytest.mark.parametrize("date", [None, "20200101", "yesterday"])
def test_a_date_is_needed(date: str | None) -> None:
    """In basic ISO 8601, to the second."""
    kept = tuple(pair for pair in REQUEST.headers if pair[0].lower() != "x-amz-date")
    headers = kept if date is None else (*kept, ("X-Amz-Date", date))
    with pytest.raises(Refused) as caught:
        check(Request("POST", REQUEST.target, headers, REQUEST.body), key_of())

    assert caught.value.spelling.code == "IncompleteSignature"


@pytest.mark.parametrize(("seconds", "fine"), [(299, True), (301, False), (-298, True), (-302, False)])
def test_the_clock_may_be_five_minutes_off(seconds: int, fine: bool) -> None:
    """To the second, in both directions."""
    request = signed(key_of())
    stamp = datetime.strptime(request.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    now = stamp + timedelta(seconds=seconds)
    if fine:
        assert check(request, key_of(), now) == "us-east-1"
    else:
        with pytest.raises(Refused):
            check(request, key_of(), now)


@pytest.mark.parametrize(
    ("secret", "region", "password"),
    [
        ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
        ("some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-west-2", "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd"),
    ],
)
def test_smtp_passwords(secret: str, region: str, password: str) -> None:
    """Published pairs of secret and password."""
    assert smtp_password(secret, region) == password
