"""Policy documents into policies, and everything that is wrong with them: the grammar, pure.

Sources: IAM user guide, "Grammar of the IAM JSON policy language"; SES developer guide, "Policy anatomy" and
"Creating an identity authorization policy" (name of at most 64 letters, digits, `-` and `_`; 4 KB; at least one
principal; the resource is exactly the identity). Policy variables (`${aws:username}`) are refused, since nothing
here would replace them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from relay.simulator.policy_conditions import Condition, condition
from relay.simulator.policy_language import Effect, Policy, Statement, Who

Kind = Literal["identity", "iam", "trust"]
Keys = tuple[str | int, ...]

MAX_BYTES: Final = 4096  # "4 KB", taken as 4,096 bytes of JSON without blanks
MAX_POLICIES: Final = 20
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

VERSION: Final = "2012-10-17"

_VERSIONS: Final = (VERSION, "2008-10-17")
_TOP: Final = {"Version", "Id", "Statement"}
PRINCIPAL: Final = re.compile(
    r"\*|[0-9]{12}|arn:aws(-[a-z]+)*:(iam::[0-9]{12}:(root|user/[!-~]+|role/[!-~]+)|sts::[0-9]{12}:assumed-role/[!-~]+)"
)
_RESOURCE: Final = re.compile(r"\*|arn:[^:]+:[^:*?]+(?::.*)?", re.DOTALL)  # no globs for the service
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")


class BadPolicy(ValueError):
    """A document is no policy; `problems` has where and what is allowed there, keys from the document's top."""

    def __init__(self, problems: Iterable[tuple[Keys, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, keys))}: {allowed}" for keys, allowed in self.problems))


def read(name: str, document: Any, kind: Kind, resource: str = "") -> Policy:
    """The policy in a document of mappings, lists and text.

    `resource`: the ARN of the identity that it hangs on (`identity`). Raises BadPolicy with all that is wrong.
    """
    reader = _Reader(kind, resource)
    statements = reader.policy(document)
    if reader.problems:
        raise BadPolicy(reader.problems)
    text = json.dumps(document, separators=(",", ":"))
    if kind == "identity" and len(text.encode()) > MAX_BYTES:
        raise BadPolicy([((), f"at most {MAX_BYTES} bytes, this has {len(text.encode())}")])
    return Policy(name, statements, text)


def permit(name: str, actions: Iterable[str], resource: str, principals: Iterable[str] = ()) -> Policy:
    """A policy of one statement that allows these actions; with principals it hangs on a resource."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    named = list(principals)
    if named:
        statement["Principal"] = {"AWS": named}
    kind: Kind = "identity" if named else "iam"
    return read(name, {"Version": VERSION, "Statement": [statement]}, kind, resource)


def trusting(principals: Iterable[str], external_id: str | None) -> dict[str, Any]:
    """A statement of a role's trust policy: who may assume it, and with which external id."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return statement


@dataclass(slots=True)
class _Reader:
    """One document; what is wrong is gathered."""

    kind: Kind
    resource: str
    problems: list[tuple[Keys, str]] = field(default_factory=list)

    def policy(self, document: Any) -> tuple[Statement, ...]:
        if not isinstance(document, Mapping):
            self._wrong((), "a policy: a mapping with Version and Statement")
            return ()
        self._known((), document, _TOP)
        if document.get("Version", VERSION) not in _VERSIONS:
            self._wrong(("Version",), " or ".join(_VERSIONS))
        found = document.get("Statement")
        if isinstance(found, Mapping):
            return (self._statement(("Statement",), found),)
        if not isinstance(found, list) or not found:
            self._wrong(("Statement",), "at least one statement")
            return ()
        return tuple(self._statement(("Statement", number), one) for number, one in enumerate(found))

    def _statement(self, keys: Keys, one: Any) -> Statement:
        if not isinstance(one, Mapping):
            self._wrong(keys, "a mapping with Effect, Action and more")
            one = {}
        allowed = {"Sid", "Effect", "Action", "NotAction", "Condition"}
        allowed |= (
            set() if self.kind == "trust" else {"Resource"} if self.kind == "identity" else {"Resource", "NotResource"}
        )
        allowed |= set() if self.kind == "iam" else {"Principal", "NotPrincipal"}
        self._known(keys, one, allowed)
        effect: Effect = "Deny" if one.get("Effect") == "Deny" else "Allow"
        if one.get("Effect") not in ("Allow", "Deny"):
            self._wrong((*keys, "Effect"), "Allow or Deny")
        actions, but_actions = self._either(keys, one, "Action", needed=True)
        resources, but_resources = self._either(keys, one, "Resource", needed=self.kind != "trust")
        self._check(keys, actions or but_actions, resources)
        conditions = self._conditions((*keys, "Condition"), one.get("Condition", {}))
        sid = str(one.get("Sid") or "")
        who = self._who(keys, one) if self.kind != "iam" else None
        return Statement(sid, effect, who, actions, but_actions, resources, but_resources, conditions)

    def _check(self, keys: Keys, actions: tuple[str, ...], resources: tuple[str, ...]) -> None:
        for action in actions:
            if not _ACTION.fullmatch(action):
                self._wrong((*keys, "Action"), "actions such as ses:SendRawEmail or ses:Send*")
        for resource in resources if self.kind == "iam" else ():
            if not _RESOURCE.fullmatch(resource):
                self._wrong((*keys, "Resource"), '"*", or ARNs of a service by its name, such as arn:aws:ses:*')
        if self.kind == "identity" and resources and set(resources) != {self.resource}:
            self._wrong((*keys, "Resource"), f"exactly the identity: {self.resource}")

    def _either(self, keys: Keys, one: Any, name: str, *, needed: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The values of an element and of its Not form; one of them must be there."""
        if name in one and f"Not{name}" in one:
            self._wrong((*keys, name), f"{name} or Not{name}, not both")
        elif needed and name not in one and f"Not{name}" not in one:
            self._wrong((*keys, name), "a value; this key is required")
        return tuple(self._texts((*keys, key), one[key]) if key in one else () for key in (name, f"Not{name}"))  # type: ignore[return-value]  # two of them

    def _who(self, keys: Keys, one: Any) -> Who:
        name = "NotPrincipal" if "NotPrincipal" in one else "Principal"
        place, found = (*keys, name), one.get(name)
        if found == "*":
            return Who(("*",), negated=name == "NotPrincipal")
        if not isinstance(found, Mapping) or not found:
            self._wrong(place, 'at least one principal: {AWS: ...}, {Service: ...} or "*"')
            return Who()
        self._known(place, found, {"AWS", "Service", "Federated"})
        aws = self._texts((*place, "AWS"), found["AWS"]) if "AWS" in found else ()
        for text in aws:
            if not PRINCIPAL.fullmatch(text):
                self._wrong((*place, "AWS"), "account ids, ARNs of users and roles, arn:aws:iam::ACCOUNT:root or *")
        services = self._texts((*place, "Service"), found["Service"]) if "Service" in found else ()
        return Who(aws, services, name == "NotPrincipal")

    def _conditions(self, keys: Keys, block: Any) -> tuple[Condition, ...]:
        found = []
        for operator, pairs in self._mapping(keys, block):
            for key, values in self._mapping((*keys, operator), pairs):
                texts = self._texts((*keys, operator, key), values)
                try:
                    found.append(condition(operator, key, texts))
                except ValueError as error:
                    self._wrong((*keys, operator), str(error))
        return tuple(found)

    def _mapping(self, keys: Keys, value: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(value, Mapping):
            return value.items()
        self._wrong(keys, "a mapping")
        return ()

    def _texts(self, keys: Keys, value: Any) -> tuple[str, ...]:
        """One text or a list of them; what JSON writes without quotes counts as it is written."""
        values = value if isinstance(value, list) else [value]
        texts = tuple(_text(one) for one in values)
        if not texts or not all(texts):
            self._wrong(keys, "text, or a list of texts")
        if any("${" in text for text in texts):
            self._wrong(keys, "text without policy variables (${...}), which are not simulated")
        return texts

    def _known(self, keys: Keys, value: Mapping[str, Any], allowed: set[str]) -> None:
        for name in value:
            if name not in allowed:
                self._wrong((*keys, name), ", ".join(sorted(allowed)))

    def _wrong(self, keys: Keys, allowed: str) -> None:
        self.problems.append((keys, allowed))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else ""
