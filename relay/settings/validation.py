"""Validates a file against `Document`, piece by piece: each section, and each entry of a list or mapping, alone.

So an error in one entry hides nothing about the others, and checks across entries still see those that are well;
an entry with a wrong key goes on without that key. pydantic finds what is wrong; its findings are put into
operators' words here, and nothing of what it says about the input is used, since that may be a secret.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from relay.settings.document import Document
from relay.settings.problems import Keys, show
from relay.settings.source import Source

T = TypeVar("T")

_SHAPES = {
    "dataclass_type": "a mapping of keys and values",
    "dict_type": "a mapping of keys and values",
    "tuple_type": "a list",
    "missing": "a value; this key is required",
}


@dataclass(frozen=True, slots=True)
class Pieces:
    """What validated, by key: `("ses",)`, `("identities", 3)`, `("credentials", "partner")`."""

    source: Source
    values: dict[Keys, Any] = field(default_factory=dict)

    def section(self, name: str, default: T) -> T:
        """A section that is one piece, or its default."""
        return cast(T, self.values.get((name,), default))

    def optional(self, name: str, kind: type[T]) -> T | None:
        """A section that is one piece and may be missing."""
        found = self.values.get((name,))
        return found if isinstance(found, kind) else None

    def entries(self, name: str, kind: type[T]) -> list[tuple[Keys, T]]:
        """The entries of a section that is a list or a mapping, with their keys."""
        found = ((keys, piece) for keys, piece in self.values.items() if keys[0] == name)
        return [(keys, piece) for keys, piece in found if isinstance(piece, kind)]


class _Part(NamedTuple):
    """How a section is cut, a "list" or "mapping" into entries; the type of each piece, and of a mapping's names."""

    shape: str
    kind: Any
    adapter: TypeAdapter[Any]
    names: TypeAdapter[Any]


@cache
def _parts() -> Mapping[str, _Part]:
    hints = get_type_hints(Document, include_extras=True)
    return {name: _part(hint) for name, hint in hints.items()}


def _part(hint: Any) -> _Part:
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    shape = {tuple: "list", dict: "mapping"}.get(get_origin(bare), "value")
    kind = hint if shape == "value" else get_args(bare)[shape == "mapping"]
    names = get_args(bare)[0] if shape == "mapping" else str
    return _Part(shape, kind, TypeAdapter(kind), TypeAdapter(names))


def validate(source: Source) -> Pieces:
    """Validate the whole file; what is wrong goes to the source's problems."""
    pieces = Pieces(source)
    value = source.value
    if not isinstance(value, dict | None):
        source.error((), "a mapping with the key identities")
        return pieces
    for keys, part, item in _cut(source, value or {}):
        _validate(pieces, part, keys, item)
    if "identities" not in (value or {}):
        source.error(("identities",), _SHAPES["missing"], "nothing")
    return pieces


def validate_entries(source: Source, section: str) -> Pieces:
    """Validate a file that is nothing but the entries of one section (`users_file`)."""
    pieces = Pieces(source)
    for keys, part, item in _cut(source, {section: source.value}):
        _validate(pieces, part, keys, item)
    return pieces


def _cut(source: Source, document: dict[str, Any]) -> Iterator[tuple[Keys, _Part, Any]]:
    """Cut a document into its pieces."""
    for name, value in document.items():
        part = _parts().get(name)
        if part is None:
            _unknown(source, (name,), list(_parts()))
        elif part.shape == "list":
            yield from (((name, index), part, item) for index, item in enumerate(_list(source, name, value)))
        elif part.shape == "mapping":
            yield from (((name, key), part, item) for key, item in _mapping(source, name, part, value))
        else:
            yield (name,), part, ({} if value is None and name != "users_file" else value)


def _list(source: Source, name: str, value: Any) -> list[Any]:
    if isinstance(value, list) and value:
        return value
    source.error((name,), "a list with at least one entry", "an empty list" if value == [] else None)
    return []


def _mapping(source: Source, name: str, part: _Part, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries whose names are well; a name of users is not shown, it may be half of a hash without quotes."""
    if not isinstance(value, dict | None):
        source.error((name,), _SHAPES["dict_type"])
        return
    for key, item in (value or {}).items():
        try:
            part.names.validate_python(key)
        except ValidationError as error:
            keys = (name,) if name == "users" else (name, key)
            source.error(keys, f"names of {error.errors()[0]['ctx']['error']}", "a name with other characters")
        else:
            yield key, item


def _validate(pieces: Pieces, part: _Part, keys: Keys, value: Any) -> None:
    """Validate one piece; on errors once more without the keys that they are about."""
    context = {"base": pieces.source.base}
    try:
        pieces.values[keys] = part.adapter.validate_python(value, context=context)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        for detail in found:
            _explain(pieces.source, part, keys, cast(dict[str, Any], detail))
        wrong = {detail["loc"][0] for detail in found if detail["loc"]}
        if isinstance(value, dict) and wrong:
            _salvage(pieces, part, keys, {key: item for key, item in value.items() if key not in wrong})


def _salvage(pieces: Pieces, part: _Part, keys: Keys, value: dict[str, Any]) -> None:
    try:
        pieces.values[keys] = part.adapter.validate_python(value, context={"base": pieces.source.base})
    except ValidationError:
        return  # a required key is among the wrong ones; all of it has been said


def _explain(source: Source, part: _Part, keys: Keys, detail: dict[str, Any]) -> None:
    """Turn one finding of pydantic into a problem."""
    loc, kind = detail["loc"], detail["type"]
    place = (*keys, *loc)
    if kind == "unexpected_keyword_argument":
        _unknown(source, place, _known(part.kind, loc[:-1]))
    elif loc and loc[-1] == "[key]":
        source.error(place[:-1], str(detail["ctx"]["error"]), f"the key {show(loc[-2])}")
    elif kind == "value_error":
        source.error(place, str(detail["ctx"]["error"]))
    else:
        source.error(place, _SHAPES.get(kind, "another value"))


def _known(kind: Any, loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the mapping at `loc` of a piece may have."""
    fields = _fields(kind)
    for key in loc:
        fields = _fields(fields[str(key)].annotation)
    return [info.alias or name for name, info in fields.items()]


def _fields(kind: Any) -> Mapping[str, FieldInfo]:
    """The fields of a class of pydantic's, also of an optional one."""
    candidates = (kind, *get_args(kind), *(inner for each in get_args(kind) for inner in get_args(each)))
    return next(each.__pydantic_fields__ for each in candidates if hasattr(each, "__pydantic_fields__"))


def _unknown(source: Source, keys: Keys, known: list[str]) -> None:
    near = get_close_matches(str(keys[-1]), known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    source.error(keys, ", ".join(sorted(known)) + hint, "an unknown key")
