"""What the SES API answers: a message id, an error with code and message, or nothing that SES would say.

Owns the two forms: XML of the Query API (SES API reference v1, "Common errors") and JSON of SESv2. Reads them
as untrusted text, by patterns and without an XML parser: no entities, no recursion, bounded input. Guarantees that
`Accepted` means a complete answer with a message id, so that a proxy's "200 OK" never counts as delivered.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any, Final

from relay.aws.endpoints import Operation

# What AWS calls keys that have ended, and a clock that is wrong (SES API references v1 and v2, "Common errors")
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
_UNTIMELY: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
_UNTIMELY_WORDS: Final = ("Signature expired", "Signature not yet current")  # with SignatureDoesNotMatch

_ID: Final = re.compile(r"[!-~]{1,200}")
_CODE: Final = re.compile(r"[\w.-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Accepted:
    """SES has taken the message and calls it so."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An AWS error document."""

    code: str
    message: str

    @property
    def blames_keys(self) -> bool:
        """Whether the keys have ended: what newer ones may cure."""
        return self.code in EXPIRED

    @property
    def blames_clock(self) -> bool:
        """Whether it is about the time of the signature: what no other keys will cure."""
        return self.code in _UNTIMELY or self.message.startswith(_UNTIMELY_WORDS)


def read(operation: Operation, status: int, error_type: str, body: bytes) -> Accepted | Refused | None:
    """The answer to `operation`; None when it is not one of SES, or not whole.

    Args:
        operation: what was asked for; decides the form.
        status: of HTTP.
        error_type: the header X-Amzn-ErrorType of SESv2, or "".
        body: of the answer.
    """
    if operation == "SendRawEmail":
        return _read_xml(status, body)
    return _read_json(status, error_type, body)


def _read_xml(status: int, body: bytes) -> Accepted | Refused | None:
    text = body.decode("utf-8", "replace")
    if status == 200:
        message_id = element(element(text, "SendRawEmailResponse"), "MessageId").strip()
        return Accepted(message_id) if _ID.fullmatch(message_id) else None
    error = element(element(text, "ErrorResponse"), "Error")
    code = element(error, "Code").strip()
    return Refused(code, unescape(element(error, "Message"))) if _CODE.fullmatch(code) else None


def element(text: str, name: str) -> str:
    """What stands between the first start tag and the last end tag of `name`; "" when it is not whole."""
    _, _, rest = text.partition(f"<{name}")
    _, _, inside = rest.partition(">")
    return inside.rpartition(f"</{name}>")[0]


def _read_json(status: int, error_type: str, body: bytes) -> Accepted | Refused | None:
    document = load(body)
    if status == 200:
        message_id = document.get("MessageId")
        return Accepted(message_id) if isinstance(message_id, str) and _ID.fullmatch(message_id) else None
    code = str(error_type or document.get("__type") or document.get("code") or "")
    code = code.partition(":")[0].rpartition("#")[2]  # "BadRequestException:http://internal…", "com.amazonaws…#Bad…"
    message = document.get("message") or document.get("Message") or ""
    return Refused(code, str(message)) if _CODE.fullmatch(code) else None


def load(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty when it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
