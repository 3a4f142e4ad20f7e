"""The JSON Schema that editors use: in step with the code, and of use to people."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.settings.schema import json_schema

KEPT = Path(__file__).parents[2] / "config" / "relay.schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema as it is generated now."""
    return json_schema()


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for owner in (schema, *schema["$defs"].values()):
        for name, part in owner.get("properties", {}).items():
            yield f"{owner['title']}.{name}", part


def test_the_kept_schema_is_the_generated_one() -> None:
    """When this fails: ses-relay schema > config/relay.schema.json."""
    assert json.loads(KEPT.read_text("utf-8")) == json_schema()


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    lacking = [name for name, part in _properties(schema) if not part.get("description", "").endswith((".", "`."))]

    assert lacking == []


def test_unknown_keys_are_errors_everywhere(schema: dict[str, Any]) -> None:
    assert all(part["additionalProperties"] is False for part in (schema, *schema["$defs"].values()))
    assert schema["required"] == ["identities"]


def test_defaults_stand_as_they_would_be_written(schema: dict[str, Any]) -> None:
    defaults = {name: part["default"] for name, part in _properties(schema) if "default" in part}

    assert defaults["Limits.message_bytes"] == 40_000_000
    assert defaults["Admin.bind"] == "127.0.0.1:9525"
    assert defaults["Delivery.retry"] == [60.0, 300.0, 600.0, 1200.0, 3600.0]
    assert defaults["ses-relay configuration.listeners"][0]["bind"] == "localhost:2525"
    assert defaults["ses-relay configuration.clients"][0]["networks"] == ["127.0.0.0/8", "::1/128"]


def test_every_pattern_is_a_regular_expression(schema: dict[str, Any]) -> None:
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(schema))

    assert len(patterns) > 50
    assert all(re.compile(json.loads(pattern)) for pattern in patterns)


@pytest.mark.parametrize(
    ("definition", "key", "good", "bad"),
    [
        ("Limits", "idle_s", ["90", "5m", "${IDLE}", "1.5h"], ["soon", "5 weeks"]),
        ("Limits", "message_bytes", ["10MB", "40MiB", "100", "${SIZE:-1MB}"], ["10M5", "big"]),
        (
            "IdentityEntry",
            "source_arn",
            ["arn:aws:ses:*:123456789012:identity/a.b", "${ARN}"],
            ["arn:aws:iam::1:role/x"],
        ),
        ("Listener", "bind", ["localhost:25", "[::1]:25", "unix:/a", "systemd:smtp"], ["25"]),
        ("IdentityEntry", "region", ["us-west-2"], ["Oregon"]),
    ],
)
def test_text_is_told_from_nonsense_while_writing(
    schema: dict[str, Any], definition: str, key: str, good: list[str], bad: list[str]
) -> None:
    part = schema["$defs"][definition]["properties"][key]
    (pattern,) = [each["pattern"] for each in (part, *part.get("anyOf", [])) if "pattern" in each]

    assert all(re.search(pattern, text) for text in good)
    assert not any(re.search(pattern, text) for text in bad)
