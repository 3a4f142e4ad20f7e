"""What of SES's words may be repeated, and to whom.

Owns two filters. `quote` makes one line for the client of the relay: printable ASCII, bounded, and without the
principals, account ids and key ids that SES puts into its refusals. `redact` keeps SES's words for the log,
but not what would let a reader of the log send mail: session tokens, which AWS repeats when it explains why a
signature does not match.
"""

from __future__ import annotations

import re
from typing import Final

QUOTE_CHARS: Final = 360  # leaves room for our own words within the 512 octets of RFC 5321 section 4.5.3.1.5
DETAIL_CHARS: Final = 4000

_UNPRINTABLE: Final = re.compile(r"[^!-~]+")
_ENHANCED: Final = re.compile(r"^[245]\.\d{1,3}\.\d{1,3} ")
_INTERNALS: Final = (
    (re.compile(r"arn:aws[a-z-]*:(?:iam|sts)\S*", re.IGNORECASE), "(principal)"),
    (re.compile(r"(?:assumed-role|federated-user)\S*", re.IGNORECASE), "(principal)"),
    # The prefixes of unique identifiers: IAM user guide, "IAM identifiers"
    (re.compile(r"A(?:BIA|CCA|GPA|IDA|IPA|KIA|NPA|NVA|PKA|ROA|SCA|SIA)[A-Z0-9]{12,}", re.IGNORECASE), "(key)"),
    (re.compile(r"\d{12,}"), "(account)"),
)
_SECRETS: Final = re.compile(r"(security-?token|signature|secret\w*)(['\"]?\s*[:=]\s*)[^\s,&]+", re.IGNORECASE)


def quote(text: str) -> str:
    """SES's reason in one line that any client may see; "" when nothing is left of it."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    line = _ENHANCED.sub("", line)
    for pattern, mask in _INTERNALS:
        line = pattern.sub(mask, line)
    return line if len(line) <= QUOTE_CHARS else line[: QUOTE_CHARS - 3] + "..."


def redact(text: str) -> str:
    """SES's words for the log: bounded, without session tokens and signatures."""
    return _SECRETS.sub(r"\1\2(hidden)", text[:DETAIL_CHARS])
