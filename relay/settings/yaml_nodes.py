"""Parses YAML into nodes that know their lines; the one module that uses PyYAML.

Scalars are text, or None for what is empty or says null: YAML 1.1's other types are not ours (see `scalars`).
Nodes are composed here, from the parser's events, because PyYAML's own composer recurses without bound and would
take the process down with it. Guarantees that no error quotes the file, which may hold secrets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

DEPTH = 8  # the deepest key of the contract is at 5
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS = frozenset("tag:yaml.org,2002:" + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map"))


class NotYaml(ValueError):
    """The text cannot be used; `line` counts from 1, or is 0 when it is unknown."""

    def __init__(self, line: int, found: str, allowed: str = "YAML") -> None:
        super().__init__(found)
        self.line = line
        self.found = found
        self.allowed = allowed


@dataclass(slots=True, eq=False)
class Node:
    """A scalar (text or None), a list of nodes, or a mapping as a list of pairs; `tagged` by what is not ours."""

    kind: Literal["scalar", "list", "mapping"]
    line: int
    value: Any
    tagged: bool


def parse(content: bytes, depth: int = DEPTH) -> Node | None:
    """Parse one document that nests no deeper than `depth`; None when it is empty.

    Raises:
        NotYaml: Not UTF-8, not YAML, several documents, or nested too deeply.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotYaml(line, "bytes that are not UTF-8", "UTF-8 text") from None
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER), depth).document()
    except yaml.MarkedYAMLError as error:
        raise _without_quotes(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYaml(line, "a control character", "printable text") from None


def _without_quotes(error: yaml.MarkedYAMLError) -> NotYaml:
    """Keep the parser's words, less what it quotes of the file; single characters may stay."""
    words = re.sub(r"'[^'\s]{2,}'", "something", error.problem or "unknown").removeprefix("found ")
    return NotYaml(getattr(error.problem_mark, "line", -1) + 1, f"a syntax error ({words})")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Composer:
    """Makes nodes of events; an alias is the very node of its anchor."""

    def __init__(self, events: Iterator[Any], depth: int) -> None:
        self._events = events
        self._depth = depth
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        """The one document there is, or None."""
        root: Node | None = None
        for event in self._events:
            if not isinstance(event, yaml.NodeEvent):
                continue
            if root is not None:
                raise NotYaml(_line(event), "another document", "one YAML document")
            root = self._node(event, 0)
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise NotYaml(line, "an alias without anchor", "text that begins with * in quotes")
            return self._anchors[event.anchor]
        if depth > self._depth:
            raise NotYaml(line, "lists or mappings nested too deeply", "what the key needs")
        node = self._new(event, line)
        if event.anchor:
            self._anchors[event.anchor] = node
        if node.kind == "list":
            node.value = [self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        elif node.kind == "mapping":
            keys = self._until(yaml.MappingEndEvent)
            node.value = [(self._node(key, depth + 1), self._node(next(self._events), depth + 1)) for key in keys]
        return node

    def _new(self, event: Any, line: int) -> Node:
        tagged = event.tag is not None and event.tag not in _TAGS
        if isinstance(event, yaml.ScalarEvent):
            null = not event.style and event.tag is None and event.value in _NULL
            return Node("scalar", line, None if null else event.value, tagged)
        return Node("list" if isinstance(event, yaml.SequenceStartEvent) else "mapping", line, [], tagged)

    def _until(self, end: type) -> Iterator[Any]:
        return iter(lambda: self._next_but(end), None)

    def _next_but(self, end: type) -> Any:
        event = next(self._events)
        return None if isinstance(event, end) else event
