"""Reads one YAML file into plain text values, with the line of every key.

Duplicate keys, tags, aliases, control characters and environment references are settled here, so that whatever
comes later sees mappings, lists, printable text and None.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relay.settings.environment import has_reference, substitute
from relay.settings.problems import ConfigurationError, Keys, Problem, show
from relay.settings.reading import Unreadable, read_file
from relay.settings.source import NOT_SHOWN, Source, is_secret
from relay.settings.yaml_nodes import DEPTH, Node, NotYaml, parse

_REPEATED = 200_000  # values that aliases may repeat, against files that grow without bound


def read(
    path: Path, environ: Mapping[str, str], *, root: Keys = (), parent: Source | None = None, depth: int = DEPTH
) -> Source:
    """Read a YAML file that nests no deeper than `depth`.

    Raises:
        ConfigurationError: The file cannot be read or is not YAML: one problem. Whatever else is wrong goes to the
            problems of the source, which are the parent's if there is one.
    """
    try:
        content, mode = read_file(path)
    except Unreadable as error:
        raise ConfigurationError([Problem(str(path), 0, "", error.found, error.allowed)]) from None
    source = Source(str(path), path.parent, mode, root)
    if parent:
        source.problems, source.told, source.files = parent.problems, parent.told, parent.files
    source.files.add(path)
    source.lines[root] = 1
    try:
        node = parse(content, depth)
        source.value = _Walk(source, environ, depth).convert(node, root) if node else None
    except NotYaml as error:
        raise ConfigurationError([Problem(str(path), error.line, "", error.found, error.allowed)]) from None
    return source


class _Walk:
    """Turns nodes into values, and fills the tables of a source on the way."""

    def __init__(self, source: Source, environ: Mapping[str, str], depth: int) -> None:
        self._source = source
        self._environ = environ
        self._depth = depth
        self._seen: set[int] = set()
        self._repeated = 0

    def convert(self, node: Node, keys: Keys, *, again: bool = False) -> Any:
        """Convert a node and all below it; `again` when an alias repeats it."""
        again = again or id(node) in self._seen
        self._bound(node, keys, again=again)
        if node.tagged:
            self._source.error(keys, "text, lists and mappings", "a YAML tag")
            return None
        if node.kind == "scalar":
            return self._scalar(node.value, keys)
        self._seen.add(id(node))
        return (self._list if node.kind == "list" else self._mapping)(node, keys, again=again)

    def _bound(self, node: Node, keys: Keys, *, again: bool) -> None:
        """Give up on aliases that lead back to themselves, or make the file larger than any file is."""
        self._repeated += again
        if len(keys) > self._depth + len(self._source.root) or self._repeated > _REPEATED:
            raise NotYaml(node.line, "aliases that repeat without end", "what the key needs")

    def _scalar(self, text: str | None, keys: Keys) -> str | None:
        if text is None:
            return None
        return self._reference(text, keys) if has_reference(text) else self._printable(text, keys)

    def _reference(self, text: str, keys: Keys) -> str | None:
        """Replace references; nothing at all is as if the key were not there."""
        self._source.references[keys] = NOT_SHOWN if is_secret(keys) else show(text)
        try:
            return self._printable(substitute(text, self._environ), keys) or None
        except ValueError as error:
            self._source.error(keys, str(error))
            return None

    def _printable(self, text: str, keys: Keys) -> str | None:
        if text.isprintable():
            return text
        self._source.error(keys, "printable text on one line", "control characters")
        return None

    def _list(self, node: Node, keys: Keys, *, again: bool) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            place = (*keys, index)
            self._source.lines[place] = item.line
            values.append(self.convert(item, place, again=again))
        return values

    def _mapping(self, node: Node, keys: Keys, *, again: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value or "") if key.kind == "scalar" and not key.tagged else ""
            place = (*keys, name)
            if not name or not name.isprintable():
                self._source.error(keys, "printable text as keys", f"another key on line {key.line}")
            elif name in values:
                self._twice(place, key.line)
            else:
                self._source.lines[place] = key.line
                values[name] = self.convert(value, place, again=again)
        return values

    def _twice(self, keys: Keys, line: int) -> None:
        first, self._source.lines[keys] = self._source.lines[keys], line
        self._source.error(keys, "each key once", f"the key again, it stands on line {first} already")
        self._source.lines[keys] = first
