"""What an account owns in a region: its identities and configuration sets.

Source: SES API v2 reference, GetEmailIdentity and GetConfigurationSet. Nobody sees what another account owns, so that a
delegate learns nothing here of the owner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relay.aws.answers import load
from relay.aws.asking import Asker, NotTold


@dataclass(frozen=True, slots=True)
class EmailIdentity:
    """An identity, as SES knows it.

    `status` is SES's word for how far verification has come. `broken_mail_from` is the custom MAIL FROM domain whose
    DNS is wrong, if SES then refuses all mail of the identity; else "".
    """

    verified: bool
    status: str
    broken_mail_from: str = ""


async def read_identity(asker: Asker, credentials: str, region: str, name: str) -> EmailIdentity:
    """The identity of our own account that is called `name`. Raises NotTold."""
    found = load(await asker.ask("GetEmailIdentity", credentials, region, name))
    verified = found.get("VerifiedForSendingStatus")
    if not isinstance(verified, bool):
        raise NotTold("GetEmailIdentity: the answer does not say whether it is verified", lasting=True)
    return EmailIdentity(verified, str(found.get("VerificationStatus", "")), _broken(found.get("MailFromAttributes")))


def _broken(mail_from: Any) -> str:
    """The MAIL FROM domain that keeps all mail back (SES developer guide, "Using a custom MAIL FROM domain")."""
    if not isinstance(mail_from, dict) or mail_from.get("MailFromDomainStatus") in (None, "SUCCESS"):
        return ""
    refuses = mail_from.get("BehaviorOnMxFailure") == "REJECT_MESSAGE"
    return str(mail_from.get("MailFromDomain", "")) if refuses else ""


async def set_may_send(asker: Asker, credentials: str, region: str, name: str) -> bool:
    """Whether the configuration set of our own account that is called `name` is not paused. Raises NotTold."""
    found = load(await asker.ask("GetConfigurationSet", credentials, region, name))
    options = found.get("SendingOptions")
    if found.get("ConfigurationSetName") != name:
        raise NotTold("GetConfigurationSet: the answer is about something else", lasting=True)
    return not (isinstance(options, dict) and options.get("SendingEnabled") is False)
