"""What SES's answer means for a parcel, and what the client of the relay hears about it.

Owns one table, `TABLE`: a row per condition, known by an API error code, an SMTP reply code or words in SES's
text; the first row that matches decides (SES developer guide, "Amazon SES SMTP response codes" and "Common
errors"; SES API references v1 and v2). Guarantees that a parcel fails for good only when SES says so: an AWS
error document of HTTP 4yz with a code and text that the table lists, or an SMTP 5yz from MAIL on. Whatever is
unknown, and whatever is our own fault, is deferred: a wrong deferral costs time, a wrong failure costs mail.
That holds for `InvalidParameterValue`, `MessageRejected` and `BadRequest` too, which SES uses for lasting and
for passing troubles: only with words that are listed here do they fail a message.
Pure; quotes SES only through `relay.policy.quoting`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, Literal

from relay.model import Cause, Deferred, Failed, Reply
from relay.policy.quoting import quote, redact

ConfigurationErrors = Literal["auto", "defer", "reject"]


class Stage(StrEnum):
    """Where in the SMTP dialogue with SES a reply came; FINAL is the reply to the end of data."""

    GREETING = auto()
    EHLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    FINAL = auto()


class Trouble(StrEnum):
    """What kept us from an answer of SES.

    LOST_ANSWER: the whole message was sent, whether SES took it is unknown. NOT_AWS: something answered that is
    no AWS error document (a proxy's page). STALE: a connection was lost before the whole message was sent.
    """

    DNS = auto()
    CONNECT = auto()
    TLS = auto()
    PROXY = auto()
    TIMEOUT_BEFORE_SENT = auto()
    LOST_ANSWER = auto()
    NOT_AWS = auto()
    NO_CREDENTIALS = auto()
    STALE = auto()
    OUR_FAULT = auto()


class Kind(StrEnum):
    """Who decides between 4yz and 5yz: the condition itself, or `configuration_errors`."""

    PASSING = auto()  # 4yz always
    LASTING = auto()  # 5yz always
    REFUSED = auto()  # SES refuses this identity: 5yz, unless `defer`
    UNWELL = auto()  # the relay is unwell towards SES: 4yz, unless `reject`


TRANSACTION: Final = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL})
_ANY: Final = frozenset(Stage)
_COMMANDS: Final = TRANSACTION - {Stage.FINAL}


@dataclass(frozen=True, slots=True)
class Row:
    """One condition, how it is known, and what becomes of it.

    `status` is subject and detail of RFC 3463. `api` are error codes without the suffix "Exception", `smtp`
    beginnings of reply codes, `words` a regular expression that SES's text must contain, in any case.
    `say` goes to the client, followed by SES's text if `quotes`.
    """

    condition: str
    kind: Kind
    cause: Cause
    status: str
    say: str
    api: str = ""
    smtp: str = ""
    words: str = ""
    stages: frozenset[Stage] = _ANY
    refusal: int = 554
    delay: int = 451
    quotes: bool = True

    def knows(self, words: str) -> bool:
        """Whether SES's text has the words that this row asks for."""
        return not self.words or re.search(self.words, words, re.IGNORECASE) is not None


_RATE = "Throttling Throttled RequestThrottled TooManyRequests LimitExceeded RequestLimitExceeded SlowDown"
_VAGUE = "InvalidParameterValue MessageRejected BadRequest"  # codes that mean nothing without their text
_SLOW, _DOWN = "Amazon SES asks us to slow down", "Amazon SES has a temporary failure"
_SENDER, _RECIPIENT = "Amazon SES does not accept the sender address", "Amazon SES does not accept the address"
_IDENTITY, _MESSAGE = "Amazon SES refuses to send as this identity", "Amazon SES refuses the message"
_SETUP = "The relay is not set up correctly with Amazon SES, please tell its operator"
_STOPPED = "Amazon SES has paused sending"
_FAULT = "Temporary failure in the relay, please try again"

# fmt: off
TABLE: Final[tuple[Row, ...]] = (
    # SES is busy or unwell
    Row("daily quota", Kind.PASSING, Cause.QUOTA, "3.2", "The daily quota at Amazon SES is used up",
        api=_RATE, smtp="4", words="daily message quota"),
    Row("more than 50 recipients", Kind.PASSING, Cause.RECIPIENT, "5.3", "Amazon SES takes fewer recipients", delay=452,
        api=f"{_VAGUE} LimitExceeded", smtp="4 5", words="recipient count exceeds|too many recipients"),
    Row("rate exceeded", Kind.PASSING, Cause.THROTTLED, "4.5", _SLOW, api=_RATE),
    Row("rate or connections exceeded", Kind.PASSING, Cause.THROTTLED, "4.5", _SLOW,
        smtp="4", words="throttl|sending rate exceeded|too many concurrent"),
    Row("SES internal", Kind.PASSING, Cause.UNAVAILABLE, "3.0", _DOWN, quotes=False,
        api="InternalFailure InternalError InternalServiceError InternalServerError ServiceUnavailable Conflict"
            " ConcurrentModification"),
    Row("SES internal, or its logins", Kind.PASSING, Cause.UNAVAILABLE, "3.0", _DOWN, quotes=False,
        smtp="4", words="temporary (service|authentication) failure"),
    Row("timeout", Kind.PASSING, Cause.NETWORK, "4.2", "The connection to Amazon SES was too slow", quotes=False,
        api="RequestTimeout RequestAborted"),
    Row("timeout", Kind.PASSING, Cause.NETWORK, "4.2", "The connection to Amazon SES was too slow", quotes=False,
        smtp="4", words="timeout waiting for data"),
    # The relay is unwell towards SES
    Row("keys", Kind.UNWELL, Cause.CREDENTIALS, "3.5", _SETUP, quotes=False, smtp="530 534 535 538",
        api="InvalidClientTokenId InvalidAccessKeyId SignatureDoesNotMatch InvalidSignature IncompleteSignature"
            " MissingAuthenticationToken UnrecognizedClient OptInRequired NotAuthorized AuthFailure"),
    Row("expired session, clock", Kind.UNWELL, Cause.CREDENTIALS, "3.5", _SETUP, quotes=False,
        api="ExpiredToken RequestExpired RequestTimeTooSkewed RequestInTheFuture"),
    Row("login", Kind.UNWELL, Cause.CREDENTIALS, "3.5", _SETUP, quotes=False, smtp="5", stages=frozenset({Stage.AUTH})),
    Row("MAIL FROM domain", Kind.UNWELL, Cause.IDENTITY, "3.5", _IDENTITY, api="MailFromDomainNotVerified"),
    Row("MAIL FROM domain", Kind.UNWELL, Cause.IDENTITY, "3.5", _IDENTITY,
        api=_VAGUE, smtp="5", words="MAIL FROM domain"),
    Row("account or set paused", Kind.UNWELL, Cause.PAUSED, "3.2", _STOPPED,
        api="AccountSendingPaused ConfigurationSetSendingPaused SendingPaused"),
    Row("account or set paused", Kind.UNWELL, Cause.PAUSED, "3.2", _STOPPED,
        api=_VAGUE, smtp="5", words="sending (is |has been |was )?(paused|suspended|disabled)"),
    # SES refuses this identity
    Row("account suspended", Kind.REFUSED, Cause.PAUSED, "7.1", _STOPPED, api="AccountSuspended"),
    Row("not verified", Kind.REFUSED, Cause.IDENTITY, "7.1", _IDENTITY,
        api=_VAGUE, smtp="5", words="address is not verified|failed the check|did not have authority"),
    Row("access denied", Kind.REFUSED, Cause.IDENTITY, "7.1", _IDENTITY, api="AccessDenied"),
    Row("access denied", Kind.REFUSED, Cause.IDENTITY, "7.1", _IDENTITY,
        smtp="5", words="^access denied|is not authorized to perform"),
    Row("bad ARN", Kind.REFUSED, Cause.IDENTITY, "3.5", _IDENTITY, api=_VAGUE, smtp="5", words=r"invalid arn\b"),
    Row("configuration set", Kind.REFUSED, Cause.CONFIGURATION_SET, "3.5", _IDENTITY,
        api="ConfigurationSetDoesNotExist"),
    Row("configuration set", Kind.REFUSED, Cause.CONFIGURATION_SET, "3.5", _IDENTITY,
        api=f"{_VAGUE} NotFound", smtp="5", words="configuration set"),
    Row("tenant", Kind.REFUSED, Cause.IDENTITY, "7.1", _IDENTITY,
        api=f"{_VAGUE} NotFound", smtp="5", words=r"\btenant\b(?![@.])"),
    Row("something named is missing", Kind.REFUSED, Cause.CONFIGURATION_SET, "3.5", _IDENTITY, api="NotFound"),
    # SES refuses an address
    Row("non-ASCII address", Kind.LASTING, Cause.RECIPIENT, "6.7", _RECIPIENT, refusal=553,
        api=_VAGUE, smtp="5", words="contains control or whitespace"),
    Row("sender", Kind.LASTING, Cause.SENDER, "1.7", _SENDER, refusal=550,
        api=_VAGUE, smtp="5", words="invalid mail from address"),
    Row("sender", Kind.LASTING, Cause.SENDER, "1.7", _SENDER, refusal=550, smtp="501", stages=frozenset({Stage.MAIL})),
    Row("sender", Kind.LASTING, Cause.SENDER, "1.7", _SENDER, refusal=553, smtp="553", stages=frozenset({Stage.MAIL})),
    Row("recipient", Kind.LASTING, Cause.RECIPIENT, "1.3", _RECIPIENT, refusal=553,
        smtp="501 553", stages=frozenset({Stage.RCPT})),
    Row("no recipients", Kind.LASTING, Cause.RECIPIENT, "5.1", _MESSAGE,
        api=_VAGUE, smtp="503 554", words="required header 'to'|no (valid )?recipients|need rcpt"),
    # An address may stand in the envelope or in a header; one parcel per recipient will tell
    Row("address syntax", Kind.LASTING, Cause.RECIPIENT, "1.3", _RECIPIENT, refusal=553, api=_VAGUE, smtp="5",
        words="missing (final '@domain'|domain|local name)|invalid (email )?address|invalid domain|address unknown"
              "|illegal characters in|illegal address|address length is more than|user name is missing"
              "|(local address|domain) (contains|starts|ends)"),
    # SES refuses the message
    Row("too big", Kind.LASTING, Cause.SIZE, "3.4", _MESSAGE, refusal=552, api="RequestEntityTooLarge"),
    Row("too big", Kind.LASTING, Cause.SIZE, "3.4", _MESSAGE, refusal=552,
        api=_VAGUE, smtp="5", words="message (length is|is) (more|too|larger)|maximum message (size|length)"),
    Row("too big", Kind.LASTING, Cause.SIZE, "3.4", _MESSAGE, refusal=552,
        smtp="552", stages=TRANSACTION - {Stage.RCPT}),
    Row("headers", Kind.LASTING, Cause.CONTENT, "6.0", _MESSAGE, api=_VAGUE, smtp="5",
        words="missing required header|header section too long|duplicate header|invalid header"),
    Row("MIME or attachment", Kind.LASTING, Cause.CONTENT, "6.1", _MESSAGE, api=_VAGUE, smtp="5",
        words=r"attachment|illegal filename|expected (disposition|mime type|parameter)|(start|end) boundary"
              r"|content-type|content-transfer-encoding|\bmime\b"),
    # Our own mistakes
    Row("malformed by us", Kind.PASSING, Cause.OUR_FAULT, "3.0", _FAULT, quotes=False,
        api="InvalidAction InvalidParameterCombination InvalidQueryParameter MalformedQueryString MissingAction"
            " MissingParameter Validation ValidationError ParamValidation UnknownOperation Serialization"),
    Row("malformed by us", Kind.PASSING, Cause.OUR_FAULT, "3.0", _FAULT, quotes=False,
        smtp="500 501 502 503 504 555", stages=_COMMANDS),
    # Whatever else
    Row("text unknown", Kind.PASSING, Cause.OTHER, "0.0", "Amazon SES does not take the message", api=_VAGUE),
    Row("TLS not to be had", Kind.PASSING, Cause.TLS, "4.1", _DOWN, smtp="4 5", stages=frozenset({Stage.STARTTLS})),
    Row("recipient", Kind.LASTING, Cause.RECIPIENT, "0.0", _RECIPIENT, smtp="5", stages=frozenset({Stage.RCPT})),
    Row("refused", Kind.LASTING, Cause.OTHER, "0.0", _MESSAGE, smtp="5", stages=TRANSACTION),
    Row("not now", Kind.PASSING, Cause.UNAVAILABLE, "0.0", _DOWN, smtp="4 5"),
)
# fmt: on

# No answer of SES: nothing to quote, nothing that fails a message
TROUBLES: Final = {
    Trouble.DNS: (Cause.NETWORK, Reply(451, "4.4.1", "Amazon SES cannot be reached")),
    Trouble.CONNECT: (Cause.NETWORK, Reply(451, "4.4.1", "Amazon SES cannot be reached")),
    Trouble.TLS: (Cause.TLS, Reply(451, "4.4.1", "No secure connection to Amazon SES")),
    Trouble.PROXY: (Cause.NETWORK, Reply(451, "4.4.1", "The proxy to Amazon SES cannot be used")),
    Trouble.TIMEOUT_BEFORE_SENT: (Cause.NETWORK, Reply(451, "4.4.1", "Amazon SES takes nothing at the moment")),
    Trouble.LOST_ANSWER: (Cause.LOST_ANSWER, Reply(451, "4.4.2", "The answer of Amazon SES was lost")),
    # Not the network's: a proxy's 502 or 504 may follow what SES has taken, so it is not tried again at once
    Trouble.NOT_AWS: (Cause.NOT_SES, Reply(451, "4.4.2", "Something else answered instead of Amazon SES")),
    Trouble.NO_CREDENTIALS: (Cause.CREDENTIALS, Reply(451, "4.3.5", _SETUP)),
    Trouble.STALE: (Cause.NETWORK, Reply(451, "4.4.2", "The connection to Amazon SES was lost")),
    Trouble.OUR_FAULT: (Cause.OUR_FAULT, Reply(451, "4.3.0", _FAULT)),
}
_UNKNOWN: Final = Row("unknown", Kind.PASSING, Cause.OTHER, "0.0", _DOWN, quotes=False)
_UNKNOWN_429: Final = Row("unknown, HTTP 429", Kind.PASSING, Cause.THROTTLED, "4.5", _SLOW, quotes=False)
_UNKNOWN_5XX: Final = Row("unknown, HTTP 5xx", Kind.PASSING, Cause.UNAVAILABLE, "0.0", _DOWN, quotes=False)
_UNEXPECTED: Final = Row("no error at all", Kind.PASSING, Cause.OUR_FAULT, "3.0", _FAULT, quotes=False)


def from_api(status: int, code: str, message: str, mode: ConfigurationErrors) -> Deferred | Failed:
    """The outcome of an AWS error document: HTTP status, error code and message as SES gave them."""
    bare = code.removesuffix("Exception")
    row = next((row for row in TABLE if bare in row.api.split() and row.knows(message)), None) or _by_status(status)
    final = 400 <= status < 500 and _is_final(row.kind, mode)
    return _outcome(row, message, f"HTTP {status} {code}: {message}", final=final)


def from_smtp(stage: Stage, code: int, text: str, mode: ConfigurationErrors) -> Deferred | Failed:
    """The outcome of an SMTP reply of SES that is not the wanted one; `text` without the code, lines joined."""
    row = next((row for row in TABLE if _replies(row, stage, code) and row.knows(text)), _UNEXPECTED)
    final = 500 <= code < 600 and stage in TRANSACTION and _is_final(row.kind, mode)
    return _outcome(row, text, f"{code} {text} ({stage})", final=final)


def from_trouble(trouble: Trouble, detail: str) -> Deferred:
    """The outcome when SES said nothing; never final, whatever `configuration_errors` says."""
    cause, reply = TROUBLES[trouble]
    return Deferred(reply, cause, redact(f"{trouble}: {detail}"))


def _by_status(status: int) -> Row:
    # The code is unknown, but the status still tells whether SES is busy or unwell
    if status == 429:
        return _UNKNOWN_429
    return _UNKNOWN_5XX if status >= 500 else _UNKNOWN


def _replies(row: Row, stage: Stage, code: int) -> bool:
    return stage in row.stages and any(str(code).startswith(start) for start in row.smtp.split())


def _is_final(kind: Kind, mode: ConfigurationErrors) -> bool:
    return {Kind.PASSING: False, Kind.LASTING: True, Kind.REFUSED: mode != "defer", Kind.UNWELL: mode == "reject"}[kind]


def _outcome(row: Row, words: str, detail: str, *, final: bool) -> Deferred | Failed:
    reason = quote(words) if row.quotes else ""
    text = f"{row.say}: {reason}" if reason else row.say
    if final:
        return Failed(Reply(row.refusal, f"5.{row.status}", text), row.cause, redact(detail))
    return Deferred(Reply(row.delay, f"4.{row.status}", text), row.cause, redact(detail))
