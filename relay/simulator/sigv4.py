"""Signature Version 4, the verifying side.

Written from the AWS General Reference ("Create a signed AWS API request", "Troubleshoot signed requests"). Owns
the canonical request, the credential scope and the clock skew of 5 minutes; guarantees that only the holder of
the secret key gets past, for the region that the signature names. Refuses signatures in the query string.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from relay.simulator.keys import KeyRing, signing_key
from relay.simulator.refusals import BAD_SIGNATURE, EXPIRED_TOKEN, INCOMPLETE, NO_SIGNATURE, UNKNOWN_KEY, Refused
from relay.simulator.words import AccessKey, Caller

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=5)

_STAMP = "%Y%m%dT%H%M%SZ"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
    "Key and signing method. Consult the service documentation for details."
)
INVALID_TOKEN = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class Request:
    """What was signed: `target` is path and query as on the wire, `headers` in the order they came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """All values of one header, each trimmed and its blanks squeezed, joined by commas."""
        found = [" ".join(value.split()) for field, value in self.headers if field.lower() == name]
        return ",".join(found) if found else None


@dataclass(frozen=True, slots=True)
class Scope:
    """The Authorization header, taken apart."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed: tuple[str, ...]
    signature: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


def verify(request: Request, ring: KeyRing, regions: Collection[str], now: datetime, service: str = "ses") -> Caller:
    """Who signed the request, and for which region; Refused with AWS's code and words otherwise."""
    scope = _scope(request.header("authorization"))
    key = ring.key(scope.access_key_id)
    if key is None:
        raise Refused(UNKNOWN_KEY, INVALID_TOKEN)
    check_token(key, request.header("x-amz-security-token"), now)
    stamp = _check_stamp(request.header("x-amz-date"), scope, now)
    _check_scope(scope, regions, service)
    _check_signed_headers(request, scope)
    text = "\n".join((ALGORITHM, stamp, str(scope), _sha256(canonical(request, scope.signed).encode())))
    secret = signing_key(key.secret_access_key, scope.date, scope.region, scope.service)
    expected = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), scope.signature.encode()):
        raise Refused(BAD_SIGNATURE, MISMATCH)
    return Caller(key.access_key_id, key.account, key.principal, scope.region, key.role)


def canonical(request: Request, signed: Iterable[str]) -> str:
    """The canonical request: what both sides hash."""
    path, _, query = request.target.partition("?")
    names = sorted(signed)
    lines = [f"{name}:{request.header(name) or ''}" for name in names]
    return "\n".join((request.method, _path(path), _query(query), *lines, "", ";".join(names), _sha256(request.body)))


def _path(path: str) -> str:
    """The path without dot segments, percent-encoded once more: every service but S3 signs it encoded twice."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    slash = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + slash, safe="/-_.~", errors="surrogateescape")


def _query(query: str) -> str:
    """The parameters, each encoded in AWS's way, sorted by name and then value."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = sorted((_recode(name), _recode(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _recode(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape"), safe="-_.~", errors="surrogateescape")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _scope(authorization: str | None) -> Scope:
    if not authorization:
        raise Refused(NO_SIGNATURE, "Request is missing Authentication Token")
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise Refused(INCOMPLETE, f"Unsupported AWS 'algorithm': '{algorithm}'.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not parts.get(name)]
    if missing:
        raise Refused(INCOMPLETE, " ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    credential = parts["Credential"].split("/")
    if len(credential) != 5:
        raise Refused(
            INCOMPLETE,
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{parts['Credential']}'",
        )
    key_id, date, region, service, terminator = credential
    signed = tuple(parts["SignedHeaders"].split(";"))
    return Scope(key_id, date, region, service, terminator, signed, parts["Signature"])


def no_region(region: str) -> Refused:
    """The refusal of a signature for a region that is not served."""
    return Refused(BAD_SIGNATURE, f"Credential should be scoped to a valid region, not '{region}'.")


def check_token(key: AccessKey, token: str | None, now: datetime) -> None:
    """Whether the session token is that of the key, and has not ended. Raises Refused."""
    if token != key.session_token:
        raise Refused(UNKNOWN_KEY, INVALID_TOKEN)
    if key.expires is not None and now >= key.expires:
        raise Refused(EXPIRED_TOKEN, "The security token included in the request is expired")


def _check_stamp(stamp: str | None, scope: Scope, now: datetime) -> str:
    if stamp is None:
        raise Refused(
            INCOMPLETE, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    try:
        when = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(INCOMPLETE, f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.") from None
    if stamp[:8] != scope.date:
        raise Refused(
            BAD_SIGNATURE,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date}' != '{stamp[:8]}', from '{stamp}'.",
        )
    if when < now - SKEW:
        words = f"Signature expired: {stamp} is now earlier than {now - SKEW:{_STAMP}} ({now:{_STAMP}} - 5 min.)"
        raise Refused(BAD_SIGNATURE, words)
    if when > now + SKEW:
        words = (
            f"Signature not yet current: {stamp} is still later than {now + SKEW:{_STAMP}} ({now:{_STAMP}} + 5 min.)"
        )
        raise Refused(BAD_SIGNATURE, words)
    return stamp


def _check_scope(scope: Scope, regions: Collection[str], service: str) -> None:
    if scope.terminator != "aws4_request":
        words = f"Credential should be scoped with a valid terminator: 'aws4_request', not '{scope.terminator}'."
        raise Refused(BAD_SIGNATURE, words)
    if scope.service != service:
        raise Refused(BAD_SIGNATURE, f"Credential should be scoped to correct service: '{service}'.")
    if scope.region not in regions:
        raise no_region(scope.region)


def _check_signed_headers(request: Request, scope: Scope) -> None:
    """Host and every x-amz- header must be signed, or a man in the middle could change them."""
    amz = {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    for name in sorted({"host", *amz}):
        if name not in scope.signed:
            raise Refused(BAD_SIGNATURE, f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
