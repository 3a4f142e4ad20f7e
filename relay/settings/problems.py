"""What is wrong with a configuration, in the form that an operator can act on.

A `Problem` names the file, the line, the key, what was found and what is allowed. Owns how a key path is written
and how a found value is shown; guarantees that neither lists nor mappings, which may hold secrets, are shown.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Keys = tuple[str | int, ...]
_LOGIN = re.compile(r"//[^/]*@")
_SHOWN = 80  # characters of a value; the line number tells the rest


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error or warning. `line` counts from 1, and is 0 when the whole file is meant; `key` may be ""."""

    file: str
    line: int
    key: str
    found: str
    allowed: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.key}: " if self.key else ""
        return f"{place}: {self.severity}: {subject}found {self.found}; allowed {self.allowed}"


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` has every error and warning, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


def key_path(keys: Keys) -> str:
    """Write a path as operators read it: `identities[3].senders[0]`."""
    written = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return written.removeprefix(".")


def show(value: object) -> str:
    """Write a found value on one line.

    Text stands as it is, but shortened and without the login of a URL; of lists and mappings only that they are such.
    """
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
    text = _LOGIN.sub("//...@", str(value))
    text = text if text.isprintable() and text else ascii(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
