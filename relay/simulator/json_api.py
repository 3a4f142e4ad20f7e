"""The v2 API: `SendEmail` with raw content, JSON in and out.

Source: SES API v2 reference, SendEmail. Simple and templated content are refused: this SES takes finished
messages only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from relay.simulator.refusals import INVALID, MALFORMED, Refused
from relay.simulator.rules import check_address
from relay.simulator.words import Arns, Caller, Submission

T = TypeVar("T")

CONTENT_TYPE = "application/json"
PATH = "/v2/email/outbound-emails"


def parse(body: bytes, caller: Caller) -> Submission:
    """The submission in a JSON document; Refused when it is malformed or has no raw content."""
    document = _document(body)
    destination = _mapping(document, "Destination")
    recipients = tuple(
        address for name in ("ToAddresses", "CcAddresses", "BccAddresses") for address in _list(destination, name)
    )
    feedback = _string(document, "FeedbackForwardingEmailAddress")
    identity = _string(document, "FromEmailAddressIdentityArn")
    reply_to = _list(document, "ReplyToAddresses")
    return Submission(
        interface="v2",
        caller=caller,
        sender=None if feedback is None else check_address(feedback),
        recipients=recipients or None,
        raw=_raw(document),
        arns=Arns(identity, identity, _string(document, "FeedbackForwardingEmailAddressIdentityArn")),
        visible_from=_string(document, "FromEmailAddress"),
        visible_reply_to=", ".join(reply_to) or None,
        configuration_set=_string(document, "ConfigurationSetName"),
        tenant=_string(document, "TenantName"),
    )


def answered(answer: Mapping[str, Any]) -> bytes:
    """The answer to a look at something."""
    return json.dumps(answer).encode()


def accepted(message_id: str, request_id: str) -> bytes:  # noqa: ARG001 (the id of the request travels in a header)
    """The answer to a message that was taken."""
    return json.dumps({"MessageId": message_id}).encode()


def refused(refusal: Refused, request_id: str) -> bytes:  # noqa: ARG001 (the id of the request travels in a header)
    """The error document; its code travels in the header x-amzn-ErrorType."""
    return json.dumps({"message": refusal.text}).encode()


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refused(MALFORMED, "The request is not a JSON object")
    return document


def _raw(document: Mapping[str, Any]) -> bytes:
    data = _string(_mapping(_mapping(document, "Content"), "Raw"), "Data")
    if data is None:
        raise Refused(INVALID, "Content.Raw.Data is missing; this SES takes raw content only")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(MALFORMED, "Content.Raw.Data is not base64") from None


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _typed(document, name, dict) or {}


def _list(document: Mapping[str, Any], name: str) -> list[str]:
    values = _typed(document, name, list) or []
    if not all(isinstance(value, str) for value in values):
        raise Refused(MALFORMED, f"{name} is not a list of strings")
    return values


def _string(document: Mapping[str, Any], name: str) -> str | None:
    return _typed(document, name, str)


def _typed(document: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = document.get(name)
    if value is not None and not isinstance(value, kind):
        raise Refused(MALFORMED, f"{name} has the wrong type")
    return value
