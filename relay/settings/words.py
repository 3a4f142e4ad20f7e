"""The words of Amazon SES and IAM that stand in the configuration: grammar only, nothing is looked up.

Sources: SES developer guide ("Using message tags", "Service quotas", "Creating configuration sets"), SES API v2
reference (TenantName), IAM user guide ("IAM identifiers"), STS API reference (AssumeRole), RFC 5322 section 2.2.
Each parser raises ValueError whose message is what is allowed. All grammars are printable ASCII, so that no value
can end a header line.
"""

import re
from urllib.parse import urlsplit

from relay.address import check_address
from relay.arn import IdentityArn, parse_identity_arn
from relay.policy.patterns import check_pattern
from relay.settings.scalars import text_of

CONTROL_HEADERS = ("X-SES-CONFIGURATION-SET", "X-SES-LIST-MANAGEMENT-OPTIONS", "X-SES-MESSAGE-TAGS")

_ADDRESS_FORM = "an address such as user@example.com"
_ARN_FORM = "arn:aws:ses:REGION:ACCOUNT:identity/DOMAIN-OR-ADDRESS"

NAME = r"[A-Za-z0-9_-]{1,64}"
TAG = r"[A-Za-z0-9_-]{1,256}"
LABEL = r"[!-~]{1,320}"
USER = r"[A-Za-z0-9._@+-]{1,128}"
REGION = r"[a-z]{2,}(-[a-z0-9]+)+"
HEADER = r"[!-9;-~]+"
ROLE = r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[!-~]{1,512}"
SESSION = r"[A-Za-z0-9_+=,.@-]{2,64}"
EXTERNAL_ID = r"[A-Za-z0-9_+=,.@:/-]{2,1224}"
KEY_ID = r"[!-~]{1,128}"
PASSWORD_HASH = r"\$argon2(id|i|d)\$v=[0-9]+\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"

_SAYS = {
    NAME: "1 to 64 of A-Z a-z 0-9 _ -",
    TAG: "1 to 256 of A-Z a-z 0-9 _ -",
    LABEL: "1 to 320 printable ASCII characters without blanks",
    USER: "1 to 128 of A-Z a-z 0-9 . _ @ + -",
    REGION: "a region such as us-west-2",
    HEADER: "the name of a header field, without the colon",
    ROLE: "the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME",
    SESSION: "2 to 64 of A-Z a-z 0-9 _ + = , . @ -",
    EXTERNAL_ID: "2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -",
    KEY_ID: "1 to 128 printable ASCII characters without blanks",
    PASSWORD_HASH: "an argon2 hash, as ses-relay hash-password makes it",
}


def parse_grammar(value: object, *, grammar: str) -> str:
    """Parse text that matches one of the grammars above as a whole."""
    text = text_of(value)
    if not re.fullmatch(grammar, text):
        raise ValueError(_SAYS[grammar])
    return text


def parse_arn(value: object) -> IdentityArn:
    """Parse the ARN of an SES identity."""
    if isinstance(value, IdentityArn):
        return value
    try:
        return parse_identity_arn(text_of(value))
    except ValueError as error:
        reason, is_general, _ = str(error).partition("; expected ")
        raise ValueError(_ARN_FORM if is_general else f"{_ARN_FORM} ({reason})") from None


def parse_pattern(value: object) -> str:
    """Parse a pattern of senders or recipients into its canonical form."""
    text = text_of(value)
    try:
        return check_pattern(text)
    except ValueError as error:
        reason = str(error).removeprefix(f"{text!r}: ")
        raise ValueError(f"a pattern of addresses ({reason})") from None


def parse_address(value: object) -> str:
    """Parse one address; its domain becomes A-labels, its letter case stays, since policies of SES compare it."""
    try:
        return check_address(text_of(value))
    except ValueError as error:
        reason, is_general, _ = str(error).partition("; expected ")
        raise ValueError(_ADDRESS_FORM if is_general else f"{_ADDRESS_FORM} ({reason})") from None


def parse_stripped_header(value: object) -> str:
    """Parse the name of a field to remove; any but From, without which there is no message."""
    name = parse_grammar(value, grammar=HEADER)
    if name.lower() == "from":
        raise ValueError("any field but From, which a message cannot do without")
    return name


def parse_control_header(value: object) -> str:
    """Parse the name of an X-SES-* field that clients may set, into lower case. The ARNs are never theirs."""
    name = text_of(value).upper()
    if name not in CONTROL_HEADERS:
        raise ValueError(f"{', '.join(CONTROL_HEADERS[:-1])} or {CONTROL_HEADERS[-1]}")
    return name.lower()


def parse_url(value: object) -> str:
    """Parse the URL of an endpoint: scheme, host, perhaps a port and a path, and neither login nor query."""
    text = text_of(value)
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        plain = False
    if not plain or re.search(r"[?#@\s]", text):
        raise ValueError("a URL: https://HOST, https://HOST:PORT or http://HOST:PORT")
    return text
