"""The simulator's words: who may call it, what a call brings, and what is kept of it.

Everything here is frozen, and none of it comes from the relay: the simulator judges the relay, so it must not
share the code that it judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from relay.simulator import headers

Interface = Literal["v1", "v2", "smtp", "sts"]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An IAM access key and whose it is: `principal` is the ARN of a user, or of a session of `role`.

    With a `session_token` it is a temporary key: good for the API until `expires`, never for SMTP (SES developer
    guide, "Obtaining Amazon SES SMTP credentials").
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    account: str
    principal: str
    session_token: str | None = field(default=None, repr=False)
    expires: datetime | None = None
    role: str = ""


@dataclass(frozen=True, slots=True)
class SmtpLogin:
    """A ready-made SMTP user name and password of one region, for keys whose secret nobody has any more."""

    username: str
    password: str = field(repr=False)
    region: str
    account: str
    principal: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, once the signature or the login has been checked, in which region, from where and with what."""

    access_key_id: str
    account: str
    principal: str
    region: str
    role: str = ""
    source_ip: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Arns:
    """The identity ARNs of one message, verbatim; None where none was given, "" where an empty one was."""

    source: str | None = None
    from_: str | None = None
    return_path: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One call, as the interface understood it.

    `sender` is the v1 `Source`, the v2 `FeedbackForwardingEmailAddress` or the MAIL FROM address; None when the
    call left it out. `recipients` is None when the call leaves them to the To, Cc and Bcc headers.
    """

    interface: Interface
    caller: Caller
    sender: str | None
    recipients: tuple[str, ...] | None
    raw: bytes = field(repr=False)
    arns: Arns = Arns()
    visible_from: str | None = None
    visible_reply_to: str | None = None
    configuration_set: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One message that the simulator took, as it came.

    `arns` are those in force: the call's parameters, else the first header of each name. `answered` is False
    where a fault kept the answer from the caller.
    """

    message_id: str
    at: datetime
    interface: Interface
    region: str
    access_key_id: str
    sender: str
    recipients: tuple[str, ...]
    arns: Arns
    raw: bytes = field(repr=False)
    answered: bool = True
    visible_from: str | None = None
    visible_reply_to: str | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header fields as received, unfolded, in order."""
        return headers.read(self.raw)

    @property
    def delivered(self) -> bytes:
        """What recipients would see: no X-SES- fields, and From and Reply-To as a v2 call replaced them."""
        return headers.delivered(self.raw, self.visible_from, self.visible_reply_to)


@dataclass(frozen=True, slots=True)
class Called:
    """One call that was not a message: to STS, or for a look at an account; `answer` is "ok" or the refusal's code."""

    at: datetime
    name: str
    region: str
    access_key_id: str
    answer: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """One message that was refused, and the words of the refusal."""

    at: datetime
    interface: Interface
    region: str
    access_key_id: str
    sender: str
    recipients: tuple[str, ...]
    answer: str
