"""Signature Version 4 for the one shape of request that the relay makes: no query string, a hashed body.

Owns the algorithm of the AWS general reference, "Create a signed AWS API request". It is here, rather than
botocore's, because botocore's costs more than the rest of sending a small message. Tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from typing import Final
from urllib.parse import quote

from relay.aws.credentials import Keys

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
SES: Final = "ses"  # the signing name of both APIs of SES


def sign(
    keys: Keys,
    region: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body_sha256: str,
    when: datetime,
    *,
    method: str = "POST",
    service: str = SES,
) -> list[tuple[str, str]]:
    """The headers that make a request with a body of this hash a signed one.

    Args:
        keys: what to sign with.
        region: the region that the signature is for.
        path: path of the URL, as it is in the URL.
        headers: what else is to be covered, names in lower case and sorted; all before "x-amz-date".
        body_sha256: hash of the body, hexadecimal.
        when: now, aware; SES allows 5 minutes of difference.
        method: of HTTP.
        service: the signing name of who is asked.
    """
    stamp = _stamp(int(when.timestamp()))
    ours = [("x-amz-date", stamp)]
    if keys.token:
        ours.append(("x-amz-security-token", keys.token))
    covered = [*headers, *ours]
    names = ";".join([name for name, _ in covered])
    lines = "\n".join([f"{name}:{value}" for name, value in covered])
    request = f"{method}\n{_canonical(path)}\n\n{lines}\n\n{names}\n{body_sha256}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = digest(_signing_key(keys.secret_key, stamp[:8], region, service), text.encode(), sha256).hex()
    credential = f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [*ours, ("Authorization", credential)]


@lru_cache(maxsize=8)
def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=8)
def _canonical(path: str) -> str:
    return quote(path or "/", safe="/-_.~")


@lru_cache(maxsize=128)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (date, region, service, "aws4_request"):
        key = digest(key, step.encode(), sha256)
    return key
