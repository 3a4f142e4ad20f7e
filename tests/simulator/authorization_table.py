"""Reads the table of `authorization/cases.yaml`: messages, the worlds they are sent in, and what is due to them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "authorization"
INTERFACES = ("v1", "v2", "smtp")
DELEGATE, OWNER = "111111111111", "222222222222"
DEFAULTS: dict[str, Any] = {
    "as": "relay", "to": "ann@customer.example", "region": "us-east-1", "arns": {}, "parameters": {}, "headers": [],
    "sender": None, "visible_from": None, "set": None, "before": 0, "only": list(INTERFACES), "verified": True,
    "policy": None, "own_policy": None, "iam": None, "delegate": {}, "owner": {}, "world": {},
}  # fmt: skip
REQUIRED = {"about", "case", "source", "from", "expect"}


@dataclass(frozen=True)
class Case:
    """One line of the table, its defaults filled in."""

    values: Mapping[str, Any]
    names: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def arn(self, name: str) -> str:
        """The ARN of that name; what is no name stands for itself."""
        return self.names.get(name, name)

    @property
    def sender(self) -> str:
        """The envelope sender."""
        return str(self["sender"] or self["from"].rpartition("<")[2].rstrip(">"))

    @property
    def recipients(self) -> list[str]:
        return [self["to"]] if isinstance(self["to"], str) else self["to"]

    def arns(self, where: str) -> dict[str, str]:
        """Source, from and return_path, as far as they are given in `arns` or `parameters`."""
        given = self[where]
        given = dict.fromkeys(("source", "from", "return_path"), given) if isinstance(given, str) else given
        return {which: self.arn(name) for which, name in given.items()}

    def expected(self, interface: str) -> str:
        due = self["expect"]
        return str(due if isinstance(due, str) else due[interface])

    def is_verified(self, interface: str) -> bool:
        """Whether the source settles what SES does there."""
        said = self["verified"]
        return said if isinstance(said, bool) else said != f"not by {interface}"

    def raw(self) -> bytes:
        """The message."""
        names = {"source": "X-SES-SOURCE-ARN", "from": "X-SES-FROM-ARN", "return_path": "X-SES-RETURN-PATH-ARN"}
        lines = [f"{names[which]}: {arn}" for which, arn in self.arns("arns").items()]
        lines += [f"From: {self['from']}", "To: undisclosed:;", *(_filled(one, self.names) for one in self["headers"])]
        return "\r\n".join((*lines, "Subject: a case", "", "Hello\r\n")).encode()

    def world(self) -> str:
        """The world, as a file of it."""
        world = _world()
        delegate, owner = world["accounts"][DELEGATE], world["accounts"][OWNER]
        delegate |= self["delegate"]
        owner |= self["owner"]
        world |= self["world"]
        if self["policy"] is not None:
            _identity(owner, "shop.example")["policies"] = {"case": self._policy("policy", "shop")}
        if self["own_policy"] is not None:
            _identity(delegate, "mine.example")["policies"] = {"case": self._policy("own_policy", "mine")}
        if self["iam"] is not None:
            iam = self._policy("iam", "*")
            delegate["users"]["relay"]["policies"] = {"case": iam} if iam["Statement"] else {}
        return json.dumps(world)

    def _policy(self, name: str, resource: str) -> dict[str, Any]:
        given = self[name]
        return {
            "Statement": [
                self._statement(one, name, resource) for one in ([given] if isinstance(given, dict) else given)
            ]
        }

    def _statement(self, given: dict[str, Any], name: str, resource: str) -> dict[str, Any]:
        statement: dict[str, Any] = {"Effect": "Allow"}
        statement |= {} if "NotAction" in given else {"Action": "ses:SendRawEmail"}
        statement |= {} if "NotResource" in given else {"Resource": resource}
        statement |= {} if name == "iam" else {"Principal": {"AWS": DELEGATE}}
        statement |= given
        for key in {"Resource", "NotResource"} & statement.keys():
            named = statement[key]
            statement[key] = [self.arn(one) for one in ([named] if isinstance(named, str) else named)]
        return statement


def _filled(line: str, names: Mapping[str, str]) -> str:
    for name, arn in names.items():
        line = line.replace(f"{{{name}}}", arn)
    return line


def _identity(account: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in account["identities"] if one["name"] == name)
    return found


_WORLD = yaml.safe_load((FOLDER / "world.yaml").read_text("utf-8"))


def _world() -> dict[str, Any]:
    return copy.deepcopy(_WORLD)


def cases() -> Iterator[Case]:
    """Every case of the table."""
    table = yaml.safe_load((FOLDER / "cases.yaml").read_text("utf-8"))
    for section in table["sections"]:
        common = {"about": section["about"], "source": section["source"], **section.get("send", {})}
        for line in section["cases"]:
            values = {**DEFAULTS, **common, **line}
            assert values.keys() == DEFAULTS.keys() | REQUIRED, line
            yield Case(values, table["arns"])
