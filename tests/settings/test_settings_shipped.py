"""The shipped config/relay.yaml is true and complete: it is the reference that operators read."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from settings_samples import HASH, Pair, Write

from relay.settings.load import load
from relay.settings.model import ClientEntry, Listener, Settings, Spool
from relay.settings.schema import json_schema

SHIPPED = Path(__file__).parents[2] / "config" / "relay.yaml"
_SAMPLE = re.compile(r"^( *)#(?=\S|  +\S)", re.MULTILINE)  # "#key: value"; prose has exactly one blank after the "#"
_NAMED = ("credentials", "users", "identities.tags")  # mappings whose keys are names


def _with_samples() -> str:
    """The file with the samples of keys that have no default taken out of their comments."""
    return _SAMPLE.sub(r"\1", SHIPPED.read_text("utf-8"))


@pytest.fixture
def shipped(write: Write) -> Settings:
    """The settings of the file as it is shipped."""
    return load(write(SHIPPED.read_text("utf-8")), {}, lambda: frozenset({"us-west-2"})).settings


def test_it_loads_without_any_problem(write: Write) -> None:
    loaded = load(write(SHIPPED.read_text("utf-8")), {}, lambda: frozenset({"us-west-2"}))

    assert loaded.warnings == ()


def test_what_it_shows_are_the_defaults(shipped: Settings) -> None:
    (identity,) = shipped.identities
    arn = identity.source_arn

    assert shipped == Settings(identities=(type(identity)(arn.name, ("@example.com",), arn, arn, arn, arn.region),))


def test_it_names_every_key_of_the_schema() -> None:
    written = yaml.load(_with_samples(), yaml.BaseLoader)  # noqa: S506 - BaseLoader makes only text

    assert _keys(written) == _schema_keys(json_schema())


def _keys(value: Any, path: str = "") -> set[str]:
    """Every key path; entries of lists and of mappings with names of their own have the path of the whole."""
    if path in _NAMED and isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {key for item in value for key in _keys(item, f"{path}.*" if path in _NAMED else path)}
    if not isinstance(value, dict):
        return set()
    places = {f"{path}.{name}".removeprefix("."): item for name, item in value.items()}
    return {*places} | {key for place, item in places.items() for key in _keys(item, place)}


def _schema_keys(schema: dict[str, Any]) -> set[str]:
    def walk(part: dict[str, Any], path: str) -> set[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        found = set()
        for inner in (*part.get("anyOf", []), *part.get("allOf", []), part.get("items")):
            found |= walk(inner, path) if inner else set()
        for inner in part.get("patternProperties", {}).values():
            found |= walk(inner, f"{path}.*")
        for name, inner in part.get("properties", {}).items():
            place = f"{path}.{name}".removeprefix(".")
            found |= {place, *walk(inner, place)}
        return found

    return walk(schema, "")


def test_the_walk_over_the_schema_finds_keys_at_every_depth() -> None:
    """Were it to find nothing, the test above would compare two empty sets."""
    keys = _schema_keys(json_schema())

    assert {"identities.senders", "clients.recipients.deny", "credentials.*.smtp_password_file", "admin.bind"} <= keys
    assert len(keys) > 90


def test_its_samples_are_right_too(write: Write, pair: Pair) -> None:
    """Whoever takes a sample out of its comment must not get an error for it."""
    text = _with_samples().replace("tls: none", "tls: starttls")
    for name, content in (("users.yaml", f"billing: '{HASH}'"), ("key", "x"), ("token", "x"), ("smtp", "x")):
        text = text.replace(f"/etc/ses-relay/{name}", name).replace(f"/run/secrets/{name}", name)
        write(content, name)
    for name, content in (("fullchain.pem", pair.certificate), ("key.pem", pair.private_key)):
        text = text.replace(f"/etc/ses-relay/{name}", name)
        write(content, name)
    environ = dict.fromkeys(("SECRET_ACCESS_KEY", "SESSION_TOKEN", "SMTP_PASSWORD"), "x")

    loaded = load(write(text), environ)

    assert loaded.warnings == ()
    assert loaded.settings.spool == Spool(Path("/var/lib/ses-relay/spool.db"))
    assert loaded.settings.identities[0].replace_sender == "bounces@example.com"
    assert set(loaded.settings.credentials) > {"partner", "owner", "keys", "smtp"}


def test_its_comments_are_no_samples_by_accident() -> None:
    """Prose has one blank after the #, a sample none or more: a mistake here would hide a key from the tests."""
    comments = re.findall(r"^ *#.*", SHIPPED.read_text("utf-8"), re.MULTILINE)

    assert all(re.fullmatch(r" *#( [^ ].*|[a-z_]+:.*|   *(#.*|- .*|[a-z_]+:.*)|)", comment) for comment in comments)


def test_the_entries_it_shows_have_the_defaults_of_entries(shipped: Settings) -> None:
    assert shipped.listeners == (Listener(shipped.listeners[0].bind),)
    entry = shipped.clients[0]
    assert entry == ClientEntry("local", networks=entry.networks, unix=True)
