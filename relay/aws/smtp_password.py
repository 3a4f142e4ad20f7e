"""The SES SMTP password that belongs to a secret access key, in one region.

Owns the derivation of the SES developer guide, "Obtaining Amazon SES SMTP credentials by converting existing AWS
credentials". Passwords differ per region, and only keys of IAM users work: SES knows no session token in SMTP.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from hmac import digest
from typing import Final

_VERSION: Final = b"\x04"
_STEPS_AFTER_REGION: Final = (b"ses", b"aws4_request", b"SendRawEmail")
_DATE: Final = b"11111111"  # the guide's fixed date: SMTP passwords do not age


def derive(secret: str, region: str) -> str:
    """The SMTP password, 44 characters, for the secret access key `secret` in `region`."""
    key = b"AWS4" + secret.encode()
    for step in (_DATE, region.encode(), *_STEPS_AFTER_REGION):
        key = digest(key, step, sha256)
    return b64encode(_VERSION + key).decode("ascii")
