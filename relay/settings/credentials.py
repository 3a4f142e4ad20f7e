"""Resolves `credentials` and `users`: reads secret files, checks combinations, references and who may read them.

Guarantees that each entry leads to at most one kind of AWS keys, that chains of roles end, and that no file with
secrets is readable by everybody on the machine: such a secret is as good as published.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from relay.settings.document import CredentialEntry
from relay.settings.model import CredentialSource
from relay.settings.problems import ConfigurationError, Keys
from relay.settings.reading import Unreadable, read_file
from relay.settings.source import SECRETS, Source
from relay.settings.validation import Pieces, validate_entries
from relay.settings.yaml_file import read

_API_KEYS = ("profile", "assume_role", "access_key_id")
_NEEDS = {
    "secret_access_key": "access_key_id",
    "session_token": "access_key_id",
    "external_id": "assume_role",
    "session_name": "assume_role",
    "source": "assume_role",
    "access_key_id": "secret_access_key",
    "smtp_username": "smtp_password",
    "smtp_password": "smtp_username",
}


def resolve_credentials(pieces: Pieces) -> Mapping[str, CredentialSource]:
    """Every entry by its name, and "default"."""
    sources = {"default": CredentialSource("default")}
    for keys, entry in pieces.entries("credentials", CredentialEntry):
        name = str(keys[1])
        sources[name] = _resolve(pieces.source, keys, name, entry)
    _check_chains(pieces.source, sources)
    return MappingProxyType(sources)


def _resolve(source: Source, keys: Keys, name: str, entry: CredentialEntry) -> CredentialSource:
    resolved = CredentialSource(
        name=name,
        profile=entry.profile,
        assume_role=entry.assume_role,
        external_id=entry.external_id,
        session_name=entry.session_name or "ses-relay",
        source=entry.source or "default",
        access_key_id=entry.access_key_id,
        secret_access_key=_secret(source, (*keys, "secret_access_key"), entry),
        session_token=_secret(source, (*keys, "session_token"), entry),
        smtp_username=entry.smtp_username,
        smtp_password=_secret(source, (*keys, "smtp_password"), entry),
    )
    _check_combination(source, keys, resolved)
    return resolved


def _secret(source: Source, keys: Keys, entry: CredentialEntry) -> str | None:
    """The secret itself, or what its file says."""
    name = str(keys[-1])
    value: str | None = getattr(entry, name)
    path: Path | None = getattr(entry, f"{name}_file")
    if path is None:
        return value
    if value is not None:
        source.error(keys, f"{name} or {name}_file, not both", "both")
    return _read_secret(source, (*keys[:-1], f"{name}_file"), path)


def _read_secret(source: Source, keys: Keys, path: Path) -> str | None:
    source.files.add(path)
    try:
        content, mode = read_file(path)
    except Unreadable as error:
        source.error(keys, error.allowed, f"{source.found(keys)} ({error.found})")
        return None
    text = _decoded(content).strip()
    if not text or not text.isprintable():
        source.error(keys, "a file with the secret on one line", "something else in the file")
    check_private(source, keys, mode)
    return text or None


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def check_private(source: Source, keys: Keys, mode: int) -> None:
    """Refuse a file with secrets that others may read; without keys it is the source itself."""
    if mode & stat.S_IROTH:
        what = source.found(keys) if keys else "secrets"
        source.error(keys, "a file that not everybody may read (chmod o-r)", f"{what} in mode {stat.S_IMODE(mode):04o}")


def _check_combination(source: Source, keys: Keys, entry: CredentialSource) -> None:
    given = {key for key, value in source.at(keys).items() if value is not None or source.wrong((*keys, key))}
    present = {key.removesuffix("_file") for key in given}
    api = [key for key in _API_KEYS if key in present]
    if len(api) > 1:
        source.error(keys, "one of profile, assume_role (with source) and access_key_id", " and ".join(api))
    if not api and "smtp_username" not in present:
        source.error(keys, "profile, assume_role, access_key_id or smtp_username", "none of them")
    for key in sorted(present & _NEEDS.keys()):
        if _NEEDS[key] not in present:
            source.error((*keys, _NEEDS[key]), f"a value, since {key} is given", "nothing")
    if (entry.access_key_id or "").startswith("ASIA") and "session_token" not in present:
        source.error((*keys, "session_token"), "a value, since the access key is a temporary one", "nothing")


def _check_chains(source: Source, sources: Mapping[str, CredentialSource]) -> None:
    """Check that each role is assumed by an entry that exists, and in the end by one that assumes none."""
    known = source.at(("credentials",)) or {}
    for name, entry in sources.items():
        if not entry.assume_role:
            continue
        keys = ("credentials", name, "source")
        if entry.source not in sources and entry.source not in known:
            source.error(keys, "a name of credentials: " + ", ".join(sorted(sources)))
        elif _circular(name, sources):
            source.error(keys, "a source that does not lead back here", f"{entry.source}, which does")


def _circular(name: str, sources: Mapping[str, CredentialSource]) -> bool:
    passed = set()
    while name in sources and sources[name].assume_role:
        if name in passed:
            return True
        passed.add(name)
        name = sources[name].source
    return False


def resolve_users(pieces: Pieces, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Logins from `users` or `users_file`."""
    path = pieces.optional("users_file", Path)
    inline = {str(keys[1]): entry for keys, entry in pieces.entries("users", str)}
    if path is None:
        return MappingProxyType(inline)
    if inline:
        pieces.source.error(("users_file",), "users or users_file, not both", "both")
    return MappingProxyType(_read_users(pieces.source, path, environ))


def _read_users(source: Source, path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    keys: Keys = ("users_file",)
    try:
        users = read(path, environ, root=("users",), parent=source)
    except ConfigurationError as error:
        problem = error.problems[0]
        line = f" on line {problem.line}" if problem.line else ""
        source.error(keys, problem.allowed, f"{source.found(keys)} ({problem.found}{line})")
        return {}
    check_private(source, keys, users.mode)
    found = validate_entries(users, "users").entries("users", str)
    return {str(keys[1]): entry for keys, entry in found}


def check_own_secrets(source: Source) -> None:
    """Refuse secrets written into a configuration that others may read; those from the environment are not in it."""
    if any(map(_holds_secret, source.lines.keys() - source.references.keys())):
        check_private(source, (), source.mode)


def _holds_secret(keys: Keys) -> bool:
    return (keys[:1] == ("users",) and len(keys) == 2) or (keys[:1] == ("credentials",) and keys[-1] in SECRETS)
