"""What is known about SES's decisions, from where, and how well: every check of a decision cites one of these.

`unverified` names the interfaces for which nobody has shown what SES does, or in which words; the simulator then
does what the source beside it suggests. "Report" means that users of SES have written down what it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from relay.simulator.words import Interface


@dataclass(frozen=True, slots=True)
class Fact:
    """A source, and the interfaces on which it does not settle the matter."""

    source: str
    unverified: frozenset[str] = frozenset()

    def verified(self, interface: Interface) -> bool:
        """Whether it settles the matter there."""
        return interface not in self.unverified


def _known(source: str, *, but_for: Interface | None = None) -> Fact:
    return Fact(source, frozenset([but_for] if but_for else []))


def _unknown(source: str, question: str) -> Fact:
    return Fact(f"{source}; not known: {question}", frozenset(get_args(Interface)))


_API = "SES API reference, SendRawEmail"
_DELEGATE = 'SES developer guide, "Sending emails for the identity owner"'
_ERRORS = 'SES developer guide, "Amazon SES email sending errors"'
_IDENTITIES = 'SES developer guide, "Creating and verifying identities"'
_ANATOMY = 'SES developer guide, "Policy anatomy"'
_SANDBOX = 'SES developer guide, "Moving out of the Amazon SES sandbox"'
_SETS = 'SES developer guide, "Using configuration sets"'
_BLOG = "AWS blog, How to grant another SES account or user permission to send emails"

# Who calls
KEYS: Final = _known('AWS General Reference, "Troubleshoot signed requests"')
ROLE: Final = _known('STS API reference, AssumeRole; IAM user guide, "Cross-account policy evaluation logic"')
LOGIN: Final = _known('SES developer guide, "Obtaining Amazon SES SMTP credentials"')
REGION: Final = _known('SES developer guide, "Regions and Amazon SES"')
CHAIN: Final = _known('AWS SDKs and tools reference guide, "Standardized credential providers"')
SOMEBODY: Final = _unknown(
    'AWS SDKs and tools reference guide, "Standardized credential providers"', "whose keys they are"
)

FORM: Final = _known(f'{_API}; SES developer guide, "Service quotas"')

# The ARNs of a message
ARN_CHOICE: Final = _known(f"{_API} (a parameter beats a header); {_DELEGATE} (the first header counts)")
ARN_HEADER_CASE: Final = _unknown(_DELEGATE, "whether SES finds the header in any case but the documented one")
ARN_GRAMMAR: Final = _known("report aws/aws-sdk-php 1716; not known: the words by SMTP", but_for="smtp")
ARN_REGION: Final = _unknown(f"{_DELEGATE} (the call goes to the identity's region)", "the words for another one")
ARN_UNKNOWN: Final = _unknown(_DELEGATE, "the words for an ARN that names nothing")
ARN_NARROWER: Final = _unknown(
    f"{_IDENTITIES} (an address that only its domain covers has no policies of its own)", "the words"
)
ARN_NOT_COVERING: Final = _unknown(_DELEGATE, "the words for an ARN that does not cover the address")

# The addresses of a message
OWN: Final = _known(_IDENTITIES)
NOT_VERIFIED: Final = _known(_ERRORS)
COVERED: Final = _known(f"{_DELEGATE}; {_IDENTITIES}")
SUBDOMAIN: Final = _unknown(_IDENTITIES, "whether a delegate may use the ARN of a parent domain")
LABEL: Final = _unknown(_IDENTITIES, "whether a delegate may use labels of an address")
UNVERIFIED_OWNER: Final = _unknown(_ERRORS, "the words for an owner's identity that is not verified yet")
SEVERAL_FROM: Final = _unknown(_DELEGATE, "how SES treats several mailboxes in From")
SENDER_FIELD: Final = _known(f"{_ERRORS} (Sender is checked); report anonaddy/docker 354")
SENDER_OF_OWNER: Final = _unknown(f"{_ERRORS} (no ARN is for Sender)", "whether those for other addresses serve")
RETURN_PATH_FIELD: Final = _known(f"{_ERRORS} (Return-Path is checked); report arithmetric/aws-lambda-ses-forwarder 4")
SOURCE_ARN_ALONE: Final = _unknown(
    f"{_DELEGATE} says yes; reports Netflix/iep 367 and loopingz/aws-smtp-relay 16 say no",
    "whether a Source ARN alone covers From",
)
FROM_ARN_ALONE: Final = _unknown(
    f"{_DELEGATE} has an ARN for each address; report loopingz/aws-smtp-relay 16 of one user to whom one was enough",
    "whether a From ARN alone serves for the envelope sender",
)
SOURCE_ARN_FOR_BOUNCES: Final = _unknown(_DELEGATE, "whether a Source ARN alone really serves for bounces")

# Policies
POLICY: Final = _known(f'{_ANATOMY}; IAM user guide, "Cross-account policy evaluation logic"')
IAM: Final = _known(
    'SES developer guide, "Controlling access to Amazon SES"; IAM user guide, "Policy evaluation logic"'
)
CONDITION_KEY: Final = _unknown(
    'IAM user guide, "AWS global condition context keys"', "what AWS has for condition keys that are not simulated"
)
MANY_VALUES: Final = _unknown(_ANATOMY, "what ses:Recipients means without ForAllValues or ForAnyValue")
ENCODED_NAME: Final = _unknown(_ANATOMY, "whether ses:FromDisplayName is compared encoded or decoded")
IAM_SET: Final = _known("report usdigitalresponse/usdr-gost 3080: IAM is asked about the configuration set, too")
IAM_RECIPIENT: Final = _known("report cloudposse/terraform-aws-ses 40: IAM is asked about recipients in the sandbox")

# Accounts
ACCOUNT_PAUSED: Final = _known(f"{_API}; reports of the words by SMTP")
SET_EXISTS: Final = _known(_SETS)
SET_MISSING: Final = _known(f"{_SETS}; {_API}; not known: which of two codes SESv2 uses", but_for="v2")
SET_PAUSED: Final = _known(f"{_SETS}; {_API}; not known: the words by SMTP", but_for="smtp")
TENANT: Final = _unknown("SES API v2 reference, SendEmail", "tenants are not simulated")
SANDBOX: Final = _known(f"{_SANDBOX}; {_ERRORS}")
OWNER_SANDBOX: Final = _unknown(
    f"{_DELEGATE} says that both accounts must be out of it; {_BLOG} says that the owner's need not",
    "whether the owner's sandbox counts",
)
QUOTA: Final = _known(
    'SES developer guide, "Errors related to the sending quotas"; not known: which of two codes SESv2 uses',
    but_for="v2",
)
RATE: Final = _known('SES developer guide, "Managing your Amazon SES sending limits"')
