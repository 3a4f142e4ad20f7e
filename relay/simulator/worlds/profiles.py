"""Keys that are written down: in the configuration, the environment, or the files that AWS's tools share.

Source: AWS SDKs and tools reference guide, "Shared config and credentials files" and "Standardized credential
providers". Whatever a program or a service would have to be asked for is not looked for.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay.settings.model import CredentialSource

_CREDENTIALS = ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
_CONFIG = ("AWS_CONFIG_FILE", "~/.aws/config")


@dataclass(frozen=True, slots=True)
class Written:
    """An access key, as it is written down somewhere."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def written_keys(source: CredentialSource, environ: Mapping[str, str]) -> Written | None:
    """The keys of an entry of `credentials`, unless a program or a service would have to be asked."""
    if source.access_key_id:
        return Written(source.access_key_id, source.secret_access_key or "", source.session_token)
    if source.assume_role or source.smtp_username:
        return None
    if source.profile:
        return _keys(_profile(source.profile, environ))
    in_environment = _keys({name.lower(): value for name, value in environ.items()})
    return in_environment or _keys(_profile(environ.get("AWS_PROFILE", "default"), environ))


def has_profile(name: str, environ: Mapping[str, str]) -> bool:
    """Whether one of the files has a profile of this name."""
    return bool(_profile(name, environ)) or name == "default"


def _keys(found: Mapping[str, str]) -> Written | None:
    key, secret = found.get("aws_access_key_id"), found.get("aws_secret_access_key")
    return Written(key, secret, found.get("aws_session_token")) if key and secret else None


def _profile(name: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The settings of a profile in both files; of a key that is in both, the credentials file's."""
    section = name if name == "default" else f"profile {name}"
    return {**_section(_CONFIG, section, environ), **_section(_CREDENTIALS, name, environ)}


def _section(place: tuple[str, str], name: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(Path(environ.get(*place)).expanduser(), "utf-8")
        return {"": name, **parser[name]}
    except (configparser.Error, OSError, UnicodeError, KeyError):
        return {}
