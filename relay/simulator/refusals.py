"""Every way to say no, in the spelling of each interface.

Sources: SES API reference, "Common errors" and the errors of SendRawEmail and SendEmail; SES developer guide,
"SMTP response codes returned by Amazon SES". A condition is one row; only its words differ from case to case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spelling:
    """One condition: HTTP status and code of the v1 and of the v2 API, and the SMTP reply, "{}" for the words."""

    status: int
    code: str
    v2_status: int
    v2_code: str
    smtp: str


class Refused(Exception):
    """This call is refused, in words that a caller of SES would read."""

    def __init__(self, spelling: Spelling, text: str) -> None:
        super().__init__(text)
        self.spelling = spelling
        self.text = text

    @property
    def reply(self) -> str:
        """The SMTP reply line."""
        return self.spelling.smtp.replace("{}", self.text)

    def on(self, interface: str) -> str:
        """The refusal in one line: by SMTP its reply, by an API its code and words."""
        if interface == "smtp":
            return self.reply
        return f"{self.spelling.v2_code if interface == 'v2' else self.spelling.code}: {self.text}"


# About the caller
NO_SIGNATURE = Spelling(
    403, "MissingAuthenticationToken", 403, "MissingAuthenticationTokenException", "530 Authentication required"
)
INCOMPLETE = Spelling(
    400, "IncompleteSignature", 400, "IncompleteSignatureException", "535 Authentication Credentials Invalid"
)
UNKNOWN_KEY = Spelling(
    403, "InvalidClientTokenId", 403, "UnrecognizedClientException", "535 Authentication Credentials Invalid"
)
BAD_SIGNATURE = Spelling(
    403, "SignatureDoesNotMatch", 403, "InvalidSignatureException", "535 Authentication Credentials Invalid"
)
EXPIRED_TOKEN = Spelling(403, "ExpiredToken", 403, "ExpiredTokenException", "535 Authentication Credentials Invalid")

# No call at all: the relay itself has nothing to call with
NOT_ASKED = Spelling(0, "not asked", 0, "not asked", "not asked: {}")

# About the request
UNKNOWN_ACTION = Spelling(400, "InvalidAction", 404, "UnknownOperationException", "502 Command not implemented")
MALFORMED = Spelling(400, "MalformedInput", 400, "SerializationException", "554 Transaction failed: {}")
MISSING = Spelling(400, "ValidationError", 400, "BadRequestException", "554 Transaction failed: {}")
BODY_TOO_LARGE = Spelling(
    413, "RequestEntityTooLarge", 413, "RequestEntityTooLargeException", "552 Message is too long."
)

STS_INVALID = Spelling(400, "ValidationError", 400, "ValidationError", "554 Transaction failed: {}")
NOT_FOUND = Spelling(400, "NotFound", 404, "NotFoundException", "554 Transaction failed: {}")

# About the message
INVALID = Spelling(400, "InvalidParameterValue", 400, "BadRequestException", "554 Transaction failed: {}")
TOO_LONG = Spelling(400, "InvalidParameterValue", 400, "BadRequestException", "552 Message is too long.")
REJECTED = Spelling(400, "MessageRejected", 400, "MessageRejected", "554 Message rejected: {}")
ACCESS_DENIED = Spelling(403, "AccessDenied", 403, "AccessDeniedException", "554 Access denied: {}")

SET_MISSING = Spelling(
    400, "ConfigurationSetDoesNotExist", 404, "NotFoundException", "554 Configuration Set does not exist: {}"
)
SET_PAUSED = Spelling(
    400, "ConfigurationSetSendingPausedException", 400, "SendingPausedException", "554 Message rejected: {}"
)
ACCOUNT_PAUSED = Spelling(
    400, "AccountSendingPausedException", 400, "SendingPausedException",
    "554 Message rejected: Sending paused for this account. For more information, please check the inbox of the email "
    "address associated with your AWS account.",
)  # fmt: skip

# About the service
THROTTLED = Spelling(400, "Throttling", 429, "TooManyRequestsException", "454 Throttling failure: {}")
INTERNAL = Spelling(500, "InternalFailure", 500, "InternalServiceErrorException", "451 Temporary service failure")
UNAVAILABLE = Spelling(503, "ServiceUnavailable", 503, "ServiceUnavailableException", "451 Temporary service failure")
