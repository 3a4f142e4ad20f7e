"""The key ring: access keys by id, their signing keys, and the SMTP logins derived from them.

Owns the two derivations (AWS General Reference, "Create a signed AWS API request"; SES developer guide,
"Obtaining Amazon SES SMTP credentials"). Written apart from the relay's own, so that each proves the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache

from relay.simulator.words import AccessKey, Caller, SmtpLogin

_SMTP_VERSION = b"\x04"
_SESSIONS = 10_000
_REMEMBERED = timedelta(hours=1)  # how long an expired session is answered as expired, not as unknown


def _chain(secret: str, *steps: str) -> bytes:
    """HMAC-SHA256 of each step, keyed with the result of the one before."""
    key = b"AWS4" + secret.encode()
    for step in steps:
        key = hmac.digest(key, step.encode(), hashlib.sha256)
    return key


@lru_cache(maxsize=1024)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The SigV4 signing key of one day, region and service."""
    return _chain(secret, date, region, service, "aws4_request")


def smtp_password(secret: str, region: str) -> str:
    """The SES SMTP password that belongs to a secret access key in one region."""
    key = _chain(secret, "11111111", region, "ses", "aws4_request", "SendRawEmail")
    return base64.b64encode(_SMTP_VERSION + key).decode()


class KeyRing:
    """Every key and login that this SES knows."""

    def __init__(self, keys: Iterable[AccessKey], logins: Iterable[SmtpLogin], regions: Iterable[str]) -> None:
        self._keys = {key.access_key_id: key for key in keys}
        self._sessions: dict[str, AccessKey] = {}
        self._logins: dict[tuple[str, str], Caller] = {}
        for key in self._keys.values():
            if key.session_token is None:
                for region in regions:
                    caller = Caller(key.access_key_id, key.account, key.principal, region)
                    self._logins[key.access_key_id, smtp_password(key.secret_access_key, region)] = caller
        for login in logins:
            caller = Caller(login.username, login.account, login.principal, login.region)
            self._logins[login.username, login.password] = caller

    def key(self, access_key_id: str) -> AccessKey | None:
        """The key with that id."""
        return self._keys.get(access_key_id) or self._sessions.get(access_key_id)

    def add_session(self, key: AccessKey, now: datetime) -> None:
        """Know a temporary key; long expired ones are forgotten, and the oldest beyond 10,000."""
        self._sessions[key.access_key_id] = key
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            expired = oldest.expires is not None and oldest.expires + _REMEMBERED < now
            if not expired and len(self._sessions) <= _SESSIONS:
                break
            del self._sessions[oldest.access_key_id]

    def login(self, username: str, password: str) -> Caller | None:
        """Whose login this is; the password also tells the region, since it is derived for one."""
        return self._logins.get((username, password))
