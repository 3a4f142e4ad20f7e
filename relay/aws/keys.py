"""What requests and logins to AWS are made with, and the trouble when there is none of it. Secrets are in no repr."""

from __future__ import annotations

from dataclasses import dataclass, field


class CredentialTrouble(Exception):
    """There are no keys under this name now.

    Args:
        detail: why, for the log.
        code: AWS's error code where AWS has refused, else "".
    """

    def __init__(self, detail: str, code: str = "") -> None:
        super().__init__(detail)
        self.detail, self.code = detail, code


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with; `token` only with temporary credentials."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SmtpLogin:
    """User and password of the SES SMTP interface in one region."""

    username: str
    password: str = field(repr=False)
