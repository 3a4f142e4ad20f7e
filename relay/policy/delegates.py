"""Delegates: the accounts, users and roles that an identity's owner names in a policy.

Owns what may stand there (SES developer guide, "Policy anatomy"; IAM user guide, "AWS JSON policy elements:
Principal"). Refuses sessions of roles, which end, and everything that is no principal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["account", "user", "role"]

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PRINCIPAL: Final = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):iam::(?P<account>[0-9]{12}):(?P<path>root|(?:user|role)/[!-~]+)"
)
_SESSION: Final = re.compile(r"arn:(aws(?:-[a-z]+)*):sts::([0-9]{12}):assumed-role/([^/]+)/.+")
_GLOBS: Final = re.compile(r"[*?]|\$\{")


@dataclass(frozen=True, slots=True)
class Delegate:
    """One principal; `text` is how a policy names it, `name` the user or role ("" for a whole account)."""

    text: str
    account: str
    kind: Kind
    name: str = ""
    partition: str | None = None

    def __str__(self) -> str:
        return self.text


def parse_delegate(text: str) -> Delegate:
    """Parse an account id or the ARN of an account, user or role; ValueError in words for an operator."""
    if _ACCOUNT.fullmatch(text):
        return Delegate(text, text, "account")
    match = _PRINCIPAL.fullmatch(text)
    if not match or _GLOBS.search(text):
        raise ValueError(_advice(text))
    kind, _, path = match["path"].partition("/")
    if not path:
        return Delegate(text, match["account"], "account", partition=match["partition"])
    name = path.rpartition("/")[2]
    if not name:
        raise ValueError(_advice(text))
    return Delegate(text, match["account"], "role" if kind == "role" else "user", name, match["partition"])


def _advice(text: str) -> str:
    session = _SESSION.fullmatch(text)
    if session:
        role = f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"
        return f"{text!r} is one session of a role; name the role itself: {role}, with its path if it has one"
    return f"{text!r} is neither an account id of 12 digits nor the ARN of an IAM user or role"
