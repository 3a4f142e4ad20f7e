"""What SES wants of any message, whoever sends it: size, recipients, addresses, header fields.

Sources: SES developer guide, "Service quotas" and "Amazon SES header fields"; SES API reference, SendRawEmail and
SendEmail; texts as SES answers them. Not enforced, because SES's own behaviour is not documented: line length,
the size of the header section, stray CR or LF, attachment types.
"""

from __future__ import annotations

import re
from functools import lru_cache

from relay.simulator import headers
from relay.simulator.headers import Section
from relay.simulator.refusals import INVALID, TOO_LONG, Refused
from relay.simulator.words import Arns, Interface, Submission

MAX_RECIPIENTS = 50
MAX_BYTES: dict[Interface, int] = {"v1": 10 * 1024 * 1024, "v2": 40 * 1024 * 1024, "smtp": 40 * 1024 * 1024}
MAX_ADDRESS = 320

# fmt: off
_ONCE_ONLY = (
    "Accept-Language", "acceptLanguage", "Archived-At", "Auto-Submitted", "Bounces-to", "Comments",
    "Content-Alternative", "Content-Base", "Content-Class", "Content-Description", "Content-Disposition",
    "Content-Duration", "Content-ID", "Content-Language", "Content-Length", "Content-Location", "Content-MD5",
    "Content-Transfer-Encoding", "Content-Type", "Date", "Delivered-To", "Disposition-Notification-Options",
    "Disposition-Notification-To", "DKIM-Signature", "DomainKey-Signature", "Errors-To", "From", "Importance",
    "In-Reply-To", "Keywords", "List-Archive", "List-Help", "List-Id", "List-Owner", "List-Post", "List-Subscribe",
    "List-Unsubscribe", "List-Unsubscribe-Post", "Message-Context", "Message-ID", "MIME-Version", "Organization",
    "Original-From", "Original-Message-ID", "Original-Recipient", "Original-Subject", "Precedence", "Priority",
    "References", "Reply-To", "Return-Path", "Return-Receipt-To", "Sender", "Solicitation", "Sensitivity", "Subject",
    "Thread-Index", "Thread-Topic", "User-Agent", "VBR-Info",
)
# fmt: on
ONCE_ONLY = frozenset(map(str.lower, _ONCE_ONLY))

_BAD_CHARACTER = re.compile(r"[^!-~]")
_BRACKETED = re.compile(r"<([^<>]*)>\s*\Z")


def check_size(interface: Interface, size: int) -> None:
    """The message as submitted, our own count of bytes: 10 MiB by the v1 API, 40 MiB otherwise."""
    limit = MAX_BYTES[interface]
    if size > limit:
        raise Refused(TOO_LONG, f"Message length is more than {limit} bytes long: '{size}'.")


def check_recipients(recipients: tuple[str, ...]) -> None:
    """At least one, at most 50, each a good address; one bad recipient refuses the whole message."""
    if not recipients:
        raise Refused(INVALID, "Missing required header 'To'.")
    if len(recipients) > MAX_RECIPIENTS:
        raise Refused(INVALID, f"Recipient count exceeds {MAX_RECIPIENTS}.")
    for recipient in recipients:
        check_address(recipient)


@lru_cache(maxsize=8192)
def check_address(text: str) -> str:
    """The bare address in "local@domain" or "Name <local@domain>"; Refused when SES could not parse it."""
    if len(text) > MAX_ADDRESS:
        raise Refused(INVALID, f"Address length is more than {MAX_ADDRESS} characters long: '{text}'.")
    bracketed = _BRACKETED.search(text)
    address = bracketed[1] if bracketed else text.strip()
    local, at, domain = address.rpartition("@")
    if not at:
        raise Refused(INVALID, "Missing final '@domain'")
    if not domain:
        raise Refused(INVALID, "Missing domain")
    if _BAD_CHARACTER.search(domain):
        raise Refused(INVALID, "Domain contains control or whitespace")
    if _BAD_CHARACTER.search(local) and not local.startswith('"'):
        raise Refused(INVALID, "Local address contains control or whitespace")
    if not local:
        raise Refused(INVALID, f"Invalid email address<{address}>.")
    return address


def check_headers(section: Section, submission: Submission) -> None:
    """A From field, and no field twice that may stand only once."""
    if section.first("From") is None and submission.visible_from is None:
        raise Refused(INVALID, "Missing required header 'From'.")
    for lower, found in section.named.items():
        if len(found) > 1 and lower in ONCE_ONLY:
            again = [name for name, _ in section.fields if name.lower() == lower][1]
            raise Refused(INVALID, f"Duplicate header '{again}'.")


def recipients_in_force(submission: Submission, section: Section) -> tuple[str, ...]:
    """The call's own recipients, else those of To, Cc and Bcc."""
    if submission.recipients is not None:
        return submission.recipients
    named = (value for name in ("To", "Cc", "Bcc") for value in section.values(name))
    return tuple(address for value in named for _, address in headers.mailboxes(value))


def arns_in_force(submission: Submission, section: Section) -> Arns:
    """For each ARN the call's parameter, else the first header of that name (SES API reference, SendRawEmail)."""

    def one(parameter: str | None, name: str) -> str | None:
        return parameter if parameter is not None else section.first(name)

    given = submission.arns
    return Arns(
        one(given.source, "X-SES-SOURCE-ARN"),
        one(given.from_, "X-SES-FROM-ARN"),
        one(given.return_path, "X-SES-RETURN-PATH-ARN"),
    )
