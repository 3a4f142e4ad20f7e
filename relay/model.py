"""The words that cross module borders: frozen, slotted, and without any library's types.

A client submits an *envelope* and its *content*; routing turns the sender into an *identity*; the headers
step makes a *message*; parcels of it go to a transport, which answers with an *outcome*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from relay.arn import IdentityArn
from relay.errors import Reply

__all__ = [
    "UNKNOWN_PEER", "Buffer", "Cause", "Client", "Deferred", "Delivered", "Envelope", "Failed", "Identity", "Outcome",
    "Parcel", "Reply", "TransportName",
]  # fmt: skip

Buffer = bytes | bytearray | memoryview
TransportName = Literal["api", "smtp"]
UNKNOWN_PEER = "unknown"  # comes from nowhere that can be told: in no network, no loopback, no Unix socket


@dataclass(frozen=True, slots=True)
class Client:
    """Who is connected: the session, where it comes from, and the entry of `clients` it matched.

    `peer` is an IP address in text form, "unix", or UNKNOWN_PEER. `name` is "" when nobody's entry matched.
    """

    session: str
    peer: str
    name: str
    user: str | None = None
    helo: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 envelope, addresses verbatim as the client wrote them (domains as A-labels), ASCII only.

    `sender` is "" for the null reverse-path. `silent` holds the recipients that asked for NOTIFY=NEVER.
    """

    sender: str
    recipients: tuple[str, ...]
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """One resolved rule of the configuration: everything a message sent by it needs.

    `from_arn` is None for `from_arn: header`. `name` is unique and is what logs and metrics show.
    """

    name: str
    senders: tuple[str, ...]
    source_arn: IdentityArn
    from_arn: IdentityArn | None
    return_path_arn: IdentityArn
    region: str
    transport: TransportName = "api"
    credentials: str = "default"
    configuration_set: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    tenant: str | None = None
    replace_sender: str | None = None
    replace_from: str | None = None
    header_from: Literal["covered", "any"] = "covered"
    client_headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parcel:
    """One call to SES: at most 50 recipients of one finished message.

    `content` is the finished message in pieces (our header block, kept headers, body), so that large mail is
    never copied to be joined. `sender` is the envelope sender towards SES, after `replace_sender`.
    """

    id: str
    identity: str
    region: str
    transport: TransportName
    credentials: str
    sender: str
    recipients: tuple[str, ...]
    content: tuple[Buffer, ...] = field(repr=False)
    return_path_arn: str
    tenant: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the finished message."""
        return sum(map(len, self.content))


class Cause(StrEnum):
    """Why SES has not taken a parcel; the words that logs and metrics use."""

    THROTTLED = "throttled"
    QUOTA = "quota"
    UNAVAILABLE = "unavailable"
    NETWORK = "network"
    TLS = "tls"
    LOST_ANSWER = "lost_answer"
    NOT_SES = "not_ses"
    IDENTITY = "identity_refused"
    CREDENTIALS = "credentials"
    CONFIGURATION_SET = "configuration_set"
    PAUSED = "paused"
    SENDER = "sender"
    RECIPIENT = "recipient"
    SIZE = "size"
    CONTENT = "content"
    PACE = "pace"
    RULES = "rules"
    OUR_FAULT = "our_fault"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Delivered:
    """SES has the message and calls it `message_id`."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now; the same parcel may succeed later. `detail` is SES's own words, for the log only.

    `tried` is False when no attempt was made: the parcel's turn never came.
    """

    reply: Reply
    cause: Cause
    detail: str
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """SES has said that this will never work. `detail` is SES's own words, for the log only."""

    reply: Reply
    cause: Cause
    detail: str


Outcome = Delivered | Deferred | Failed
