"""Why AWS did not say, sorted by what can be done about it. Pure.

Sources: SES API references v1 and v2 and STS API reference, "Common errors".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from relay.aws.asking import NotTold
from relay.policy.outcomes import Trouble


class Reason(StrEnum):
    """What kept AWS from saying."""

    DENIED = "denied"
    MISSING = "missing"
    KEYS = "keys"
    ENDED = "ended"
    CLOCK = "clock"
    NOT_SUBSCRIBED = "not_subscribed"
    NO_KEYS = "no_keys"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    STRANGE = "strange"


_CODES: Final = {
    Reason.DENIED: "AccessDenied UnauthorizedOperation AuthorizationError NotAuthorized",
    Reason.MISSING: "NotFound",
    Reason.KEYS: "InvalidClientTokenId InvalidAccessKeyId SignatureDoesNotMatch InvalidSignature IncompleteSignature"
    " MissingAuthenticationToken UnrecognizedClient AuthFailure",
    Reason.NOT_SUBSCRIBED: "OptInRequired SubscriptionRequired",
}
_BY_CODE: Final = {code: reason for reason, codes in _CODES.items() for code in codes.split()}
_BY_TROUBLE: Final = {
    Trouble.NO_CREDENTIALS: Reason.NO_KEYS,
    Trouble.NOT_AWS: Reason.STRANGE,
    Trouble.OUR_FAULT: Reason.STRANGE,
}


def reason_of(told: NotTold) -> Reason:
    """Why AWS did not say."""
    if told.trouble is not None:
        return _BY_TROUBLE.get(told.trouble, Reason.UNREACHABLE)
    if told.refusal is None:
        return Reason.STRANGE
    if told.refusal.blames_clock:
        return Reason.CLOCK
    if told.refusal.blames_keys:
        return Reason.ENDED
    found = _BY_CODE.get(told.refusal.code.removesuffix("Exception"))
    return found or (Reason.STRANGE if told.lasting else Reason.BUSY)


def wrong_part(told: NotTold) -> str:
    """Which part of a pair of keys AWS did not accept, when that was `Reason.KEYS`."""
    code = told.refusal.code if told.refusal else ""
    if "Signature" in code:
        return "the secret access key is not that of the access key id"
    return "nobody there has the access key id, or its session token is another one"


def blames_pair(code: str) -> bool:
    """Whether AWS's error code says that the keys of a caller are wrong."""
    return _BY_CODE.get(code.removesuffix("Exception")) is Reason.KEYS
