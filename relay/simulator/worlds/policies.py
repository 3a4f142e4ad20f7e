"""Policies of a world file: a document in the file, or the path of a JSON file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from relay.settings.problems import Keys
from relay.settings.source import Source
from relay.simulator.condition_keys import correction
from relay.simulator.policy_document import BadPolicy, Kind, read
from relay.simulator.policy_language import Policy
from relay.simulator.worlds.reader import Section
from relay.simulator.worlds.words import policy_name


def policies(section: Section, kind: Kind, resource: str = "") -> Iterator[Policy]:
    """The policies below the key `policies`; `resource` is the ARN of the identity that they hang on."""
    for name, keys, value in section.items("policies", policy_name):
        policy = policy_of(section.source, keys, name, value, kind, resource)
        if policy is not None:
            yield policy


def policy_of(source: Source, keys: Keys, name: str, value: Any, kind: Kind, resource: str = "") -> Policy | None:
    """One policy; None when it is wrong, which is then among the source's problems."""
    document = _document(source, keys, value) if isinstance(value, str) else value
    if document is None:
        source.error(keys, "a policy, or the path of a JSON file with one")
        return None
    try:
        policy = read(name, document, kind, resource)
    except BadPolicy as bad:
        for inner, allowed in bad.problems:
            place = ".".join(map(str, inner))
            if isinstance(value, str):
                source.error((*keys, *inner), allowed, f"something else at {place or 'the top'} of {value}")
            else:
                source.error((*keys, *inner), allowed)
        return None
    _warn(source, keys, value, policy, alone=isinstance(document["Statement"], Mapping))
    return policy


def _warn(source: Source, keys: Keys, value: Any, policy: Policy, *, alone: bool) -> None:
    """Warn of condition keys that do not exist: AWS takes such a policy, and the condition then sees nothing."""
    for number, statement in enumerate(policy.statements):
        for one in statement.conditions:
            right = correction(one.written)
            if right is not None:
                place = ("Statement", *(() if alone else (number,)), "Condition", one.operator, one.written)
                hint = f"; did you mean {right}?" if right else ""
                found = f"{one.written}{f' in {value}' if isinstance(value, str) else ''}"
                source.warn((*keys, *place), f"a condition key of SES, STS or AWS in general{hint}", found)


def _document(source: Source, keys: Keys, path: str) -> Any:
    """What a JSON file has; None when it has none, and then that has been said."""
    try:
        return json.loads((source.base / path).read_text("utf-8"))
    except OSError as error:
        source.error(keys, "a file that can be read", f"{path} ({(error.strerror or 'error').lower()})")
    except ValueError:
        source.error(keys, "a file of JSON", f"{path}, which is not")
    return None
