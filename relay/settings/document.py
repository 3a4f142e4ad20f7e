"""The configuration as the file has it: the whole contract of keys, before references are resolved.

`Document` is what JSON Schema describes. Sections whose file and resolved form are one stand in `sections` and
`model`; here are the two that differ: identities and credentials.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from relay.settings.fields import (
    Address,
    Arn,
    ArnOrHeader,
    ControlHeader,
    ExternalId,
    FilePath,
    KeyId,
    Label,
    Name,
    NotEmpty,
    OneOf,
    OrOff,
    PasswordHash,
    Pattern,
    Region,
    RoleArn,
    Secret,
    SessionName,
    Tag,
    UserName,
    Word,
)
from relay.settings.model import (
    Admin,
    Bounces,
    ClientEntry,
    Delivery,
    Limits,
    Listener,
    Log,
    MessageRules,
    Reload,
    Ses,
    Settings,
    Spool,
)
from relay.settings.sections import STRICT

_DEFAULT = Settings(identities=())


@dataclass(frozen=True, slots=True, config=STRICT)
class IdentityEntry:
    """Envelope senders, and the SES identity they send as."""

    senders: Annotated[tuple[Pattern, ...], NotEmpty()]
    """user@example.com, @example.com, @.example.com (any subdomain), "*" or "<>"; the most specific pattern wins."""
    source_arn: Arn
    """ARN of the identity that covers the envelope sender."""
    name: Label | None = None
    """Unique; in logs, metrics and commands; default: the last part of source_arn."""
    from_arn: ArnOrHeader | None = None
    """ARN of the identity that covers the header From; default: source_arn; `header`: that of the rule it matches."""
    return_path_arn: Arn | None = None
    """ARN of the identity that covers the bounce address; default: source_arn."""
    region: Region | None = None
    """Default: the ARN's; required when the ARN says *."""
    transport: Annotated[Literal["api", "smtp"], OneOf()] = "api"
    """By the SES API, or by the SES SMTP endpoint."""
    credentials: Label = "default"
    """An entry of credentials; smtp needs one with SMTP credentials."""
    configuration_set: Name | None = None
    """SES configuration set."""
    tags: dict[Tag, Tag] = Field(default_factory=dict)
    """SES message tags."""
    tenant: Name | None = None
    """SES tenant."""
    replace_sender: Address | None = None
    """Envelope sender used towards SES; "<>" and root@host need one."""
    replace_from: Address | None = None
    """Header From used towards SES; the old one becomes Reply-To if there is none."""
    header_from: Annotated[Literal["covered", "any"], OneOf()] = "covered"
    """Whether every mailbox of the header From must be covered by from_arn."""
    client_headers: tuple[ControlHeader, ...] = ()
    """X-SES-* fields that clients may set."""


@dataclass(frozen=True, slots=True, config=STRICT)
class CredentialEntry:
    """One way to AWS keys (profile, role or keys), or an SMTP login, or both."""

    profile: Word | None = None
    """A profile of the AWS configuration files."""
    assume_role: RoleArn | None = None
    """ARN of a role to assume."""
    external_id: ExternalId | None = None
    """External id for assume_role."""
    session_name: SessionName | None = None
    """Session name for assume_role; default: ses-relay."""
    source: Label | None = None
    """The entry of credentials that assumes the role; default: default."""
    access_key_id: KeyId | None = None
    """AWS access key; also gives SMTP passwords, derived for each region."""
    secret_access_key: Annotated[Secret | None, Field(repr=False)] = None
    """Its secret."""
    secret_access_key_file: FilePath | None = None
    """A file with the secret."""
    session_token: Annotated[Secret | None, Field(repr=False)] = None
    """Session token of a temporary access key."""
    session_token_file: FilePath | None = None
    """A file with the session token."""
    smtp_username: KeyId | None = None
    """User name of SES SMTP credentials."""
    smtp_password: Annotated[Secret | None, Field(repr=False)] = None
    """Password of SES SMTP credentials; it belongs to one region."""
    smtp_password_file: FilePath | None = None
    """A file with the password."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Document:
    """Configuration of ses-relay."""

    identities: Annotated[tuple[IdentityEntry, ...], NotEmpty()]
    """Envelope sender to identity: the rules of the relay."""
    listeners: Annotated[tuple[Listener, ...], NotEmpty()] = _DEFAULT.listeners
    """Where mail is taken."""
    clients: Annotated[tuple[ClientEntry, ...], NotEmpty()] = _DEFAULT.clients
    """Who may send."""
    users: Annotated[dict[UserName, PasswordHash], Field(repr=False)] = Field(default_factory=dict)
    """Logins: name and argon2 hash."""
    users_file: FilePath | None = None
    """A YAML file of the same form as users."""
    credentials: dict[Label, CredentialEntry] = Field(default_factory=dict)
    """Named credentials; `default` is boto3's chain unless it is given here."""
    ses: Ses = _DEFAULT.ses
    """How SES is reached."""
    delivery: Delivery = _DEFAULT.delivery
    """Acknowledgement, retries, and what trouble with SES means for clients."""
    spool: Spool | None = None
    """The durable queue; default: none."""
    bounces: Bounces | None = None
    """Delivery status notifications; default: none."""
    message: MessageRules = _DEFAULT.message
    """What is mended or refused in messages."""
    limits: Limits = _DEFAULT.limits
    """What a client may ask at most."""
    admin: Annotated[Admin | None, OrOff()] = _DEFAULT.admin
    """The HTTP listener for health and metrics, or `off`."""
    log: Log = _DEFAULT.log
    """The log."""
    reload: Reload = _DEFAULT.reload
    """When the configuration is read again."""
