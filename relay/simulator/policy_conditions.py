"""The `Condition` block of a policy: operators, set operators and `IfExists`, pure.

Sources: IAM user guide, "IAM JSON policy elements: Condition operators" and "Set operators for multivalued context
keys"; SES developer guide, "Policy anatomy". Globs are `*` and `?`, never regular expressions, and compare case.
A key that the request has not got makes a condition false, unless its operator is a negated one, says `IfExists`,
is `Null`, or is a set operator `ForAllValues`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

Context = Mapping[str, tuple[str, ...]]  # keys in lower case, as IAM compares them
Test = Callable[[str, str], bool]  # the request's value, the policy's value


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    pieces = {"*": ".*", "?": "."}
    return re.compile("".join(pieces.get(character, re.escape(character)) for character in pattern), re.DOTALL)


def like(value: str, pattern: str) -> bool:
    """Whether the whole value matches the glob, in this very case."""
    return pattern in (value, "*") or _glob(pattern).fullmatch(value) is not None


def arn_like(value: str, pattern: str) -> bool:
    """Whether an ARN matches, each of its six parts for itself; a lone `*` matches all."""
    parts, patterns = value.split(":", 5), pattern.split(":", 5)
    return pattern == "*" or (len(parts) == len(patterns) and all(map(like, parts, patterns)))


def resource_like(arn: str, pattern: str) -> bool:
    """Whether a `Resource` of a policy of a principal means this ARN.

    AWS completes patterns of fewer than six parts by stars, and a star that ends a part may reach over colons; other
    stars do not (IAM user guide, "IAM JSON policy elements: Resource").
    """
    missing = 5 - pattern.count(":")
    whole = pattern + ":*" * missing if missing > 0 else pattern
    return pattern == "*" or any(_resource(one).fullmatch(arn) is not None for one in {pattern, whole})


@lru_cache(maxsize=4096)
def _resource(pattern: str) -> re.Pattern[str]:
    *parts, last = pattern.split(":", 5)
    narrow = {"*": "[^:]*", "?": "[^:]"}
    written = []
    for part in parts:
        reaches = part.endswith("*")
        inside = "".join(narrow.get(letter, re.escape(letter)) for letter in (part[:-1] if reaches else part))
        written.append(inside + ".*" * reaches)
    return re.compile(":".join([*written, _glob(last).pattern]), re.DOTALL)


def _same(value: str, wanted: str) -> bool:
    return value == wanted


def _same_in_any_case(value: str, wanted: str) -> bool:
    return value.lower() == wanted.lower()


def _in_network(value: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def moment(text: str) -> datetime:
    """A date of ISO 8601, or seconds since 1970; ValueError otherwise."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _ordered(read: Callable[[str], object], signs: str) -> Test:
    """A comparison of numbers or dates; `signs` are the results it takes, of "<", "=" and ">"."""

    def test(value: str, wanted: str) -> bool:
        try:
            one, other = read(value), read(wanted)
        except ValueError:
            return False
        return ("=" if one == other else "<" if one < other else ">") in signs  # type: ignore[operator]  # alike by construction

    return test


def _comparisons(name: str, read: Callable[[str], object]) -> dict[str, tuple[Test, bool]]:
    return {
        f"{name}Equals": (_ordered(read, "="), False),
        f"{name}NotEquals": (_ordered(read, "="), True),
        f"{name}LessThan": (_ordered(read, "<"), False),
        f"{name}LessThanEquals": (_ordered(read, "<="), False),
        f"{name}GreaterThan": (_ordered(read, ">"), False),
        f"{name}GreaterThanEquals": (_ordered(read, ">="), False),
    }


_TESTS: Final[Mapping[str, tuple[Test, bool]]] = {  # operator: its test, and whether it is negated
    "StringEquals": (_same, False),
    "StringNotEquals": (_same, True),
    "StringEqualsIgnoreCase": (_same_in_any_case, False),
    "StringNotEqualsIgnoreCase": (_same_in_any_case, True),
    "StringLike": (like, False),
    "StringNotLike": (like, True),
    "ArnEquals": (arn_like, False),
    "ArnNotEquals": (arn_like, True),
    "ArnLike": (arn_like, False),
    "ArnNotLike": (arn_like, True),
    "Bool": (_same_in_any_case, False),
    "IpAddress": (_in_network, False),
    "NotIpAddress": (_in_network, True),
    **_comparisons("Numeric", float),
    **_comparisons("Date", moment),
}
OPERATORS: Final = frozenset({*_TESTS, "Null"})
SETS: Final = ("ForAllValues", "ForAnyValue")


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One key under one operator: both as the policy writes them, and taken apart; `key` is in lower case."""

    operator: str
    written: str
    key: str
    values: tuple[str, ...]
    test: str
    over: str = ""
    if_exists: bool = False

    def holds(self, context: Context) -> bool:
        """Whether a request in this context meets it."""
        given = context.get(self.key, ())
        if self.test == "Null":
            return any(wanted.lower() == str(not given).lower() for wanted in self.values)
        test, negated = _TESTS[self.test]
        if not given:
            return self.if_exists or self.over == "ForAllValues" or (negated and not self.over)
        hits = [any(test(value, wanted) for wanted in self.values) for value in given]
        if self.over == "ForAllValues":
            return not any(hits) if negated else all(hits)
        if self.over == "ForAnyValue":
            return not all(hits) if negated else any(hits)
        return any(hits) != negated

    def __str__(self) -> str:
        return f"{self.operator} {self.written} {' or '.join(self.values)}"


def condition(operator: str, key: str, values: tuple[str, ...]) -> Condition:
    """A condition of the words of a policy. Raises ValueError for an operator that IAM has not got."""
    over, colon, bare = operator.rpartition(":")
    test = bare.removesuffix("IfExists")
    if test not in OPERATORS or (colon and over not in SETS):
        raise ValueError(f"an operator of IAM, such as StringLike or ForAllValues:StringLike, not {operator}")
    return Condition(operator, key, key.lower(), values, test, over, bare.endswith("IfExists"))
