"""The sections of the configuration that are single mappings, with their defaults.

The docstring below each key is its description in JSON Schema.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from relay.settings import addresses
from relay.settings.fields import (
    Address,
    Count,
    CountOrZero,
    Duration,
    FilePath,
    HeaderName,
    HostPort,
    NotEmpty,
    OneOf,
    RateOrAuto,
    Size,
    SizeOrAuto,
    Span,
    SpanOrOff,
    Switch,
    Url,
)

STRICT = ConfigDict(
    extra="forbid",
    use_attribute_docstrings=True,
    validate_by_alias=True,
    validate_by_name=True,
    hide_input_in_errors=True,
)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True, config=STRICT)
class Ses:
    """How to reach Amazon SES, and how hard to press."""

    api_endpoint: Url | None = None
    """URL used for the SES API instead of the region's, as AWS_ENDPOINT_URL_SES and AWS_ENDPOINT_URL_SESV2 are."""
    smtp_endpoint: HostPort | None = None
    """host:port used for SES by SMTP; default: email-smtp.REGION.amazonaws.com:587."""
    smtp_tls: Annotated[Literal["starttls", "implicit", "none"], OneOf()] = "starttls"
    """TLS towards the SMTP endpoint; `none` only on loopback."""
    timeout_s: Span = 30.0
    """Time without progress after which a call to SES is given up."""
    max_rate: RateOrAuto = "auto"
    """Recipients per second, for each account and region; auto: the quota's, else 10 and learning; a number caps it."""
    concurrency: Count = 32
    """Calls or connections at once, for each account and region."""
    dry_run: Switch = False
    """Do everything but the sending; clients hear 250 2.0.0 Ok dry run."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Delivery:
    """When clients are answered, and how long delivery is tried."""

    acknowledge: Annotated[Literal["on_delivery", "on_spool"], OneOf()] = "on_delivery"
    """Answer a client when SES has the message, or as soon as the spool has it."""
    hold_s: Duration = 5.0
    """With on_delivery: how long a client waits before its mail is spooled instead."""
    retry: Annotated[tuple[Span, ...], NotEmpty()] = (MINUTE, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR)
    """Waits between attempts for spooled mail; the last repeats; each varies by 20 %."""
    lifetime: Span = 5 * DAY
    """How long delivery of spooled mail is tried."""
    delay_warning: SpanOrOff = "off"
    """After what time the sender is told that the mail waits."""
    configuration_errors: Annotated[Literal["auto", "defer", "reject"], OneOf()] = "auto"
    """Answers to identities that SES refuses and to trouble with our account: by kind, always 4yz, or always 5yz."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Spool:
    """The durable queue on disk."""

    path: FilePath
    """The spool's database file."""
    min_free_bytes: Size = 100_000_000
    """Free space below which no more mail is spooled."""
    keep_dead: Duration = 14 * DAY
    """How long mail that could not be delivered is kept."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Bounces:
    """Delivery status notifications (RFC 3464) to senders."""

    from_: Annotated[Address, Field(alias="from")]
    """Header From of bounces; an identity must have a rule for it."""
    postmaster: Address | None = None
    """Who is told when an identity's mail is held."""


@dataclass(frozen=True, slots=True, config=STRICT)
class MessageRules:
    """What is mended or refused in the content of messages."""

    line_endings: Annotated[Literal["normalize", "reject"], OneOf()] = "normalize"
    """What happens to a stray CR or LF."""
    add_missing_headers: Switch = True
    """Add From, Date and Message-ID where an application forgot them."""
    strip_headers: tuple[HeaderName, ...] = ("Bcc", "Return-Path", "Sender")
    """Header fields removed, besides every X-SES-* of the client."""
    received: Annotated[Literal["minimal", "none", "full"], OneOf()] = "minimal"
    """Whether a Received field is added, and how much it tells."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Limits:
    """What a client may ask of the relay at most."""

    message_bytes: Size = 40_000_000
    """Size of one message; announced by SIZE."""
    recipients: Count = 1000
    """Recipients of one message; 50 without a spool."""
    header_bytes: Size = 100_000
    """Size of a message's header section."""
    hops: Count = 50
    """Received fields, beyond which a message is taken for a loop."""
    connections: Count = 1000
    """Connections at once."""
    connections_per_client: Count = 100
    """Connections at once from one address."""
    errors: Count = 20
    """Refused commands in one session."""
    auth_failures: Count = 3
    """Failed logins in one session."""
    idle_s: Span = 300.0
    """Time a client may be silent between commands."""
    data_s: Span = 600.0
    """Time for the content of one message."""
    data_bytes_per_s: CountOrZero = 500
    """Least speed of content."""
    session_s: Span = 1800.0
    """Length of a session."""
    drain_s: Duration = 8.0
    """At the end, time for messages in hand."""
    in_flight_bytes: SizeOrAuto = "auto"
    """Memory for messages in hand; auto: a quarter of the memory limit, at most 512MB."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Admin:
    """The HTTP listener: /healthz, /readyz, /metrics and a read-only status page."""

    bind: HostPort = addresses.TcpAddress("127.0.0.1", 9525)
    """host:port."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Log:
    """What is logged, and how."""

    format: Annotated[Literal["json", "console"], OneOf()] = "json"
    """One JSON object per line, or lines for people."""
    level: Annotated[Literal["debug", "info", "warning", "error"], OneOf()] = "info"
    """The least severe events that are logged."""
    addresses: Annotated[Literal["full", "masked"], OneOf()] = "full"
    """Whether addresses of senders and recipients are masked."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Reload:
    """When the configuration is read again, besides SIGHUP."""

    watch: Switch = False
    """Reload when the file, or a file that it names, changes."""
