"""What the rest of the relay sees of the configuration: frozen values, one class per section of the file.

Attributes are the keys of the file (`bounces.from` is `from_`), defaults are the documented defaults, durations
are seconds (float), sizes bytes (int). The docstring below each key is its description in JSON Schema too.
Every class can be made in Python as well, from Python values or from text as it stands in the file.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic.dataclasses import dataclass

from relay.model import Identity
from relay.settings.addresses import SystemdSocket, TcpAddress, UnixAddress
from relay.settings.fields import Bind, FilePath, Label, Network, NotEmpty, OneOf, Pattern, Switch, UserName
from relay.settings.sections import (
    STRICT,
    Admin,
    Bounces,
    Delivery,
    Limits,
    Log,
    MessageRules,
    Reload,
    Ses,
    Spool,
)

__all__ = [
    "Admin", "Bounces", "ClientEntry", "CredentialSource", "Delivery", "Limits", "Listener", "Log", "MessageRules",
    "Recipients", "Reload", "Ses", "Settings", "Spool", "SystemdSocket", "TcpAddress", "UnixAddress",
]  # fmt: skip

DEFAULT_LISTENER_BIND = TcpAddress("localhost", 2525)
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True, config=STRICT)
class Listener:
    """One socket that takes mail."""

    bind: Bind
    """host:port, [v6]:port, unix:/path, or systemd:NAME (socket activation)."""
    tls: Annotated[Literal["none", "starttls", "implicit"], OneOf()] = "none"
    """TLS by STARTTLS, from the first byte, or not at all."""
    certificate: FilePath | None = None
    """PEM file with the certificate and its chain; re-read on reload. TLS needs it."""
    private_key: FilePath | None = None
    """PEM file with the certificate's key. TLS needs it."""
    require_tls: Switch = False
    """Take mail only over TLS."""
    tls_profile: Annotated[Literal["modern", "legacy"], OneOf()] = "modern"
    """`legacy` adds TLS 1.0 and old ciphers, for printers and old Javas."""
    auth_without_tls: Annotated[Literal["loopback", "never", "always"], OneOf()] = "loopback"
    """From where a login without TLS is taken."""
    proxy_protocol_from: tuple[Network, ...] = ()
    """Networks whose PROXY v1 or v2 header is believed."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Recipients:
    """To whom a client may send; `deny` wins over `allow`."""

    allow: Annotated[tuple[Pattern, ...], NotEmpty()] = ("*",)
    """Patterns of addresses that may be sent to."""
    deny: tuple[Pattern, ...] = ()
    """Patterns of addresses that may not."""


@dataclass(frozen=True, slots=True, config=STRICT)
class ClientEntry:
    """Who may send. The first entry of the file that matches a session decides."""

    name: Label
    """Unique; in logs and metrics."""
    networks: Annotated[tuple[Network, ...] | None, NotEmpty()] = None
    """Networks the client may come from; default: any place, unless `unix` is true."""
    unix: Switch = False
    """Whether the client may come by a Unix-domain socket."""
    users: Annotated[tuple[UserName, ...] | None, NotEmpty()] = None
    """Names of `users`, one of which must have logged in; default: nobody has."""
    senders: Annotated[tuple[Pattern, ...] | None, NotEmpty()] = None
    """Patterns of senders this client may use; default: any that an identity has."""
    recipients: Recipients = Recipients()
    """To whom this client may send; default: anybody."""


@dataclasses.dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where one entry of `credentials` takes its keys from; secrets are not in its repr."""

    name: str
    profile: str | None = None
    assume_role: str | None = None
    external_id: str | None = None
    session_name: str = "ses-relay"
    source: str = "default"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    smtp_username: str | None = None
    smtp_password: str | None = field(default=None, repr=False)

    @property
    def signs_api_calls(self) -> bool:
        """Whether it leads to AWS keys; "default" falls back to boto3's chain."""
        return self.name == "default" or any((self.profile, self.assume_role, self.access_key_id))

    @property
    def logs_in_by_smtp(self) -> bool:
        """Whether it has an SMTP login, or long-lived keys to derive one from."""
        return self.smtp_username is not None or (self.access_key_id is not None and self.session_token is None)


def _chain() -> Mapping[str, CredentialSource]:
    return MappingProxyType({"default": CredentialSource("default")})


def _nobody() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, resolved: every reference exists, every secret file has been read.

    `credentials` always has "default", which is boto3's own chain unless the file says otherwise. `users` maps
    names to argon2 hashes.
    """

    identities: tuple[Identity, ...]
    listeners: tuple[Listener, ...] = (Listener(DEFAULT_LISTENER_BIND),)
    clients: tuple[ClientEntry, ...] = (ClientEntry(name="local", networks=LOOPBACK, unix=True),)
    users: Mapping[str, str] = field(default_factory=_nobody, repr=False)
    credentials: Mapping[str, CredentialSource] = field(default_factory=_chain)
    ses: Ses = field(default_factory=Ses)
    delivery: Delivery = field(default_factory=Delivery)
    spool: Spool | None = None
    bounces: Bounces | None = None
    message: MessageRules = field(default_factory=MessageRules)
    limits: Limits = field(default_factory=Limits)
    admin: Admin | None = field(default_factory=Admin)
    log: Log = field(default_factory=Log)
    reload: Reload = field(default_factory=Reload)
