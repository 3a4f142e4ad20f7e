"""A mapping of a world file and its keys: each is asked for once, and whatever was not asked for is an error.

Works on what `relay.settings` makes of YAML, with its problems and its parsers; so every error of a file comes at
once, with line and key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from relay.settings.problems import Keys
from relay.settings.source import Source

T = TypeVar("T")
Parse = Callable[[object], T]


@dataclass(slots=True)
class Section:
    """One mapping; `keys` is where it stands."""

    source: Source
    keys: Keys
    value: dict[str, Any]
    asked: list[str] = field(default_factory=list)

    def get(self, name: str, parse: Parse[T], default: T) -> T:
        """The value of a key, or `default` when it is not there or wrong."""
        return self._parsed((*self.keys, name), self._take(name), parse, default)

    def need(self, name: str, parse: Parse[T], default: T) -> T:
        """The value of a key that must be there; `default` is for going on without it."""
        if self.value.get(name) is None:
            self.asked.append(name)
            self.source.error((*self.keys, name), "a value; this key is required", "nothing")
            return default
        return self.get(name, parse, default)

    def texts(self, name: str, parse: Parse[T]) -> tuple[T, ...]:
        """A list of values, or a single one."""
        found, place = self._take(name), (*self.keys, name)
        if not isinstance(found, list):
            found = [] if found is None else [found]
            parsed = [self._parsed(place, one, parse, None) for one in found]
        else:
            parsed = [self._parsed((*place, number), one, parse, None) for number, one in enumerate(found)]
        return tuple(one for one in parsed if one is not None)

    def raw(self, name: str) -> Any:
        """What stands at a key, as it is; None when nothing does."""
        return self._take(name)

    def sections(self, name: str) -> Iterator[Section]:
        """The mapping at a key, if there is one."""
        found = self._take(name)
        if found is not None:
            yield from self._section((*self.keys, name), found)

    def listed(self, name: str) -> Iterator[Section]:
        """The mappings of a list."""
        found, place = self._take(name), (*self.keys, name)
        if found is not None and not isinstance(found, list):
            self.source.error(place, "a list")
            return
        for number, one in enumerate(found or []):
            yield from self._section((*place, number), one)

    def named(self, name: str, parse: Parse[str]) -> Iterator[tuple[str, Section]]:
        """The mappings of a mapping, by their names."""
        for key, keys, one in self.items(name, parse):
            for section in self._section(keys, {} if one is None else one):
                yield key, section

    def items(self, name: str, parse: Parse[str]) -> Iterator[tuple[str, Keys, Any]]:
        """The entries of a mapping, by their names, as they stand."""
        found, place = self._take(name), (*self.keys, name)
        if found is not None and not isinstance(found, dict):
            self.source.error(place, "a mapping of names and what they name")
            return
        for key, one in (found or {}).items():
            try:
                yield parse(key), (*place, key), one
            except ValueError as error:
                self.source.error((*place, key), f"a name of {error}", "a name with other characters")

    def end(self) -> None:
        """All keys have been asked for: the others are unknown."""
        for name in self.value:
            if name not in self.asked:
                near = get_close_matches(name, self.asked, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.source.error((*self.keys, name), ", ".join(sorted(self.asked)) + hint, "an unknown key")

    def _take(self, name: str) -> Any:
        self.asked.append(name)
        return self.value.get(name)

    def _parsed(self, place: Keys, found: Any, parse: Parse[T], default: T) -> T:
        if found is None:
            return default
        try:
            return parse(found)
        except ValueError as error:
            self.source.error(place, str(error))
            return default

    def _section(self, keys: Keys, one: Any) -> Iterator[Section]:
        if isinstance(one, dict):
            yield Section(self.source, keys, one)
        else:
            self.source.error(keys, "a mapping of keys and values")
