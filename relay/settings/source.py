"""What one file says, where it says it, and what is wrong with it.

Guarantees that a problem shows no secret: neither what stands at a secret's key, nor what an environment variable
put where something else was needed.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.settings.problems import Keys, Problem, Severity, key_path, show

NOT_SHOWN = "a value that is not shown"
SECRETS = frozenset({"secret_access_key", "session_token", "smtp_password"})
_OPEN = frozenset({"profile", "assume_role", "external_id", "session_name", "source", "access_key_id", "smtp_username"})


@dataclass(slots=True)
class Source:
    """What one file says. `root` are the keys that stand above the file's own, for files that another one names.

    `problems`, `told` and `files` (what has been read) are shared by all files of one configuration. Of several errors
    for one key the first is kept.
    """

    file: str
    base: Path
    mode: int
    root: Keys = ()
    problems: list[Problem] = field(default_factory=list, repr=False)
    value: Any = field(default=None, repr=False)
    lines: dict[Keys, int] = field(default_factory=dict, repr=False)
    references: dict[Keys, str] = field(default_factory=dict, repr=False)
    told: set[Keys] = field(default_factory=set, repr=False)
    files: set[Path] = field(default_factory=set, repr=False)

    def line(self, keys: Keys) -> int:
        """The line of a key, or of its `_file` twin, or of the nearest key above it."""
        while keys not in self.lines and keys:
            twin = (*keys[:-1], f"{keys[-1]}_file")
            keys = twin if twin in self.lines else keys[:-1]
        return self.lines.get(keys, 1)

    def at(self, keys: Keys) -> Any:
        """The value at a key, or None."""
        value = self.value
        for key in keys[len(self.root) :]:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def found(self, keys: Keys) -> str:
        """What stands at a key, fit to be shown."""
        value = self.at(keys)
        if value is not None and is_secret(keys) and not isinstance(value, dict | list):
            return NOT_SHOWN
        return self.references.get(keys) or show(value)

    def error(self, keys: Keys, allowed: str, found: str | None = None) -> None:
        """Note an error."""
        if keys not in self.told:
            self.told.add(keys)
            self._note(keys, allowed, found, warning=False)

    def warn(self, keys: Keys, allowed: str, found: str | None = None) -> None:
        """Note a warning."""
        self._note(keys, allowed, found, warning=True)

    def wrong(self, keys: Keys) -> bool:
        """Whether an error has been noted for this very key."""
        return keys in self.told

    def broken(self, section: str) -> frozenset[str | int]:
        """The entries of a section for which, or for a key below which, an error has been noted."""
        return frozenset(keys[1] for keys in self.told if keys[0:1] == (section,) and len(keys) > 1)

    def broken_below(self, keys: Keys) -> bool:
        """Whether an error has been noted for this key or one below it."""
        return any(told[: len(keys)] == keys for told in self.told)

    def unsound(self, *sections: str) -> bool:
        """Whether an error has been noted in one of these sections."""
        return any(keys[0] in sections for keys in self.told if keys)

    def _note(self, keys: Keys, allowed: str, found: str | None, *, warning: bool) -> None:
        if keys in self.references:
            allowed = allowed.replace(str(self.at(keys)), self.references[keys])
        found = self.found(keys) if found is None else found
        severity: Severity = "warning" if warning else "error"
        self.problems.append(Problem(self.file, self.line(keys), key_path(keys), found, allowed, severity))

    @property
    def failed(self) -> bool:
        """Whether there is an error, in this file or those that share its problems."""
        return any(problem.severity == "error" for problem in self.problems)


def is_secret(keys: Keys) -> bool:
    """Whether what stands at a key must not be shown.

    That is anything called so, and anything below users and credentials that is not known to be open, since secrets
    also end up under keys that are misspelt or not indented as they should.
    """
    last = str(keys[-1]) if keys else ""
    if last.endswith("_file"):
        return False
    if re.search("secret|password|token", last, re.IGNORECASE) or keys[:1] == ("users",):
        return True
    return keys[:1] == ("credentials",) and (len(keys) != 3 or last not in _OPEN)
