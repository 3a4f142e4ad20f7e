"""The Query protocol, forms in and XML out: `SendRawEmail` and `GetSendQuota` of SES's v1 API, and STS.

Source: SES API reference (version 2010-12-01); STS API reference for the form of its answers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from relay.simulator.refusals import MALFORMED, MISSING, UNKNOWN_ACTION, Refused
from relay.simulator.rules import check_address
from relay.simulator.words import Arns, Caller, Submission

VERSION = "2010-12-01"
CONTENT_TYPE = "text/xml"

NAMESPACE = f"http://ses.amazonaws.com/doc/{VERSION}/"

Form = Mapping[bytes, bytes]


def read(body: bytes) -> Form:
    """The form in a body: names, and values that are still encoded."""
    return dict(_pairs(body))


def action(form: Form) -> tuple[str, str]:
    """Version and name of the call."""
    return _text(form.get(b"Version", b"")), _text(form.get(b"Action", b""))


def parameters(form: Form) -> dict[str, str]:
    """All of a form that holds no message."""
    return {name.decode("utf-8", "replace"): _text(value) for name, value in form.items()}


def parse(body: bytes, caller: Caller) -> Submission:
    """The submission in a form; Refused when it is no SendRawEmail or has no message."""
    return submission(read(body), caller)


def submission(form: Form, caller: Caller) -> Submission:
    """The submission in a form that has been read."""
    version, name = action(form)
    if (version, name) != (VERSION, "SendRawEmail"):
        raise Refused(UNKNOWN_ACTION, f"Could not find operation {name} for version {version}")
    data = form.get(b"RawMessage.Data")
    if data is None:
        raise Refused(
            MISSING, "1 validation error detected: Value null at 'rawMessage.data' failed to satisfy constraint"
        )
    raw = _decode(data)
    sender = _optional(form, b"Source")
    return Submission(
        interface="v1",
        caller=caller,
        sender=None if sender is None else check_address(sender),
        recipients=_members(form, b"Destinations.member."),
        raw=raw,
        arns=Arns(_optional(form, b"SourceArn"), _optional(form, b"FromArn"), _optional(form, b"ReturnPathArn")),
        configuration_set=_optional(form, b"ConfigurationSetName"),
    )


def accepted(message_id: str, request_id: str) -> bytes:
    """The answer to a message that was taken."""
    return answered("SendRawEmail", {"MessageId": message_id}, request_id, NAMESPACE)


def answered(name: str, answer: Mapping[str, Any], request_id: str, namespace: str) -> bytes:
    """The answer to a call, of texts, numbers and mappings of them."""
    return (
        f'<{name}Response xmlns="{namespace}"><{name}Result>{_elements(answer)}</{name}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()


def _elements(answer: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_elements(value) if isinstance(value, Mapping) else escape(str(value))}</{name}>"
        for name, value in answer.items()
    )


def refused(refusal: Refused, request_id: str) -> bytes:
    """The error document, of SES; STS's differs in its namespace alone, which no client reads."""
    fault = "Receiver" if refusal.spelling.status >= 500 else "Sender"
    return (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>{fault}</Type><Code>{escape(refusal.spelling.code)}</Code>'
        f"<Message>{escape(refusal.text)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    ).encode("ascii", "xmlcharrefreplace")


def _pairs(body: bytes) -> list[tuple[bytes, bytes]]:
    """The form's names and still encoded values."""
    parts = (part.partition(b"=") for part in body.split(b"&"))
    return [(unquote_to_bytes(name), value) for name, _, value in parts]


def _text(value: bytes) -> str:
    return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")


def _optional(form: Form, name: bytes) -> str | None:
    return _text(form[name]) if name in form else None


def _members(form: Form, prefix: bytes) -> tuple[str, ...] | None:
    """A list of the Query protocol: members numbered from 1; None when there is none."""
    numbers = sorted(
        int(name[len(prefix) :]) for name in form if name.startswith(prefix) and name[len(prefix) :].isdigit()
    )
    return tuple(_text(form[prefix + b"%d" % number]) for number in numbers) or None


def _decode(value: bytes) -> bytes:
    """The base64 of the message; its usual escapes are undone by name first, since a large form has very many."""
    value = value.replace(b"+", b" ").replace(b"%2B", b"+").replace(b"%2F", b"/").replace(b"%3D", b"=")
    if b"%" in value:
        value = unquote_to_bytes(value).translate(None, b"\r\n")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Refused(MALFORMED, "RawMessage.Data is not base64") from None
