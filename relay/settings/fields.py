"""The types of configuration keys: a parser for pydantic, and what JSON Schema says of it to editors.

Every value may also be text with a `${NAME}` reference, so each schema of text permits one.
"""

from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.arn import IdentityArn
from relay.settings import addresses, scalars, words

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_TIME = r"[0-9.]+ ?[smhd]?"
_AMOUNT = r"[0-9]+ ?([KkMmGg][Ii]?)?[Bb]?"


def _text(pattern: str = ".+") -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": rf"^({pattern})$|\$\{{"})


def _number(pattern: str, *extra: dict[str, Any]) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^({pattern})$|\$\{{"}
    return WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, text, *extra]})


class OneOf:
    """Marks a `Literal[...]` of words, so that its error and its schema are like those of the other types."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check for the words of the Literal before pydantic does."""
        parse = partial(scalars.parse_choice, words=source.__args__)
        return core_schema.no_info_before_validator_function(parse, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Permit a reference beside the words."""
        return {"anyOf": [handler(schema), _REFERENCE]}


def _path(value: object, info: ValidationInfo) -> Path:
    """Take a relative path as beside the file that names it (`base` of the context)."""
    path = Path(scalars.parse_word(str(value) if isinstance(value, Path) else value))
    return info.context["base"] / path if info.context else path


class NotEmpty:
    """Marks a list that must have an entry, even where the key may be left out.

    A list of which every line has been commented out is blank, and must not mean "any".
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check before pydantic does; Python code may pass None, a file may not."""
        return core_schema.with_info_before_validator_function(_not_empty, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the list alone, without null."""
        described = handler(schema)
        return {**described.get("anyOf", [described])[0], "minItems": 1}


def _not_empty(value: object, info: ValidationInfo) -> object:
    if value in ([], ()) or (value is None and info.context):
        raise ValueError("a list with at least one entry")
    return value


class OrOff:
    """Marks an optional section that the word `off` leaves out."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take `off`, and what YAML 1.1 tools make of it, for None; no other word is a section."""
        return core_schema.no_info_before_validator_function(_off, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Permit the word beside the section."""
        return {"anyOf": [handler(schema), {"enum": ["off", False]}, _REFERENCE]}


def _off(value: object) -> object:
    if scalars.text_of(value) in ("off", "false"):
        return None
    if value is None or isinstance(value, dict) or is_dataclass(value):
        return value
    raise ValueError("a mapping of keys and values, or off")


Duration = Annotated[float, PlainValidator(scalars.parse_duration), _number(_TIME)]
Span = Annotated[float, PlainValidator(partial(scalars.parse_duration, positive=True)), _number(_TIME)]
SpanOrOff = Annotated[
    float | Literal["off"],
    PlainValidator(
        partial(scalars.parse_word_or, word="off", parse=partial(scalars.parse_duration, positive=True)),
    ),
    _number(rf"off|{_TIME}", {"const": False}),
]
Size = Annotated[int, PlainValidator(scalars.parse_size), _number(_AMOUNT)]
SizeOrAuto = Annotated[
    int | Literal["auto"],
    PlainValidator(partial(scalars.parse_word_or, word="auto", parse=scalars.parse_size)),
    _number(rf"auto|{_AMOUNT}"),
]
RateOrAuto = Annotated[
    float | Literal["auto"],
    PlainValidator(partial(scalars.parse_word_or, word="auto", parse=scalars.parse_rate)),
    _number("auto|[0-9.]+"),
]
Count = Annotated[int, PlainValidator(partial(scalars.parse_count, least=1)), _number("[0-9]+")]
CountOrZero = Annotated[int, PlainValidator(partial(scalars.parse_count, least=0)), _number("[0-9]+")]
Switch = Annotated[
    bool,
    PlainValidator(scalars.parse_switch),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}, _REFERENCE]}),
]

Word = Annotated[str, PlainValidator(scalars.parse_word), _text()]
Secret = Annotated[str, PlainValidator(scalars.parse_word), _text()]
FilePath = Annotated[Path, PlainValidator(_path), _text()]

Bind = Annotated[addresses.Bind, PlainValidator(addresses.parse_bind), _text(r"\S+:\S+")]
HostPort = Annotated[addresses.TcpAddress, PlainValidator(addresses.parse_tcp), _text(r"\S+:[0-9]+")]
Network = Annotated[addresses.Network, PlainValidator(addresses.parse_network), _text("[0-9A-Fa-f.:/]+")]
Url = Annotated[str, PlainValidator(words.parse_url), _text(r"https?://\S+")]

Pattern = Annotated[str, PlainValidator(words.parse_pattern), _text(r"\*|<>|[^*<>]*@[^@*<>]+")]
Address = Annotated[str, PlainValidator(words.parse_address), _text(".+@.+")]
Arn = Annotated[IdentityArn, PlainValidator(words.parse_arn), _text("arn:aws[a-z-]*:ses:[^:]+:[0-9]{12}:identity/.+")]
ControlHeader = Annotated[
    str,
    PlainValidator(words.parse_control_header),
    WithJsonSchema({"anyOf": [{"enum": list(words.CONTROL_HEADERS)}, {"type": "string", "pattern": "^[Xx]-|\\$\\{"}]}),
]


def _arn_or_header(value: object) -> object:
    return scalars.parse_word_or(value, word="header", parse=words.parse_arn)


ArnOrHeader = Annotated[IdentityArn | Literal["header"], PlainValidator(_arn_or_header), _text("header|arn:.+")]


def _grammar(grammar: str) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(partial(words.parse_grammar, grammar=grammar)), _text(grammar)


Name = Annotated[str, *_grammar(words.NAME)]
Tag = Annotated[str, *_grammar(words.TAG)]
Label = Annotated[str, *_grammar(words.LABEL)]
UserName = Annotated[str, *_grammar(words.USER)]
Region = Annotated[str, *_grammar(words.REGION)]
HeaderName = Annotated[str, PlainValidator(words.parse_stripped_header), _text(words.HEADER)]
RoleArn = Annotated[str, *_grammar(words.ROLE)]
SessionName = Annotated[str, *_grammar(words.SESSION)]
ExternalId = Annotated[str, *_grammar(words.EXTERNAL_ID)]
KeyId = Annotated[str, *_grammar(words.KEY_ID)]
PasswordHash = Annotated[str, *_grammar(words.PASSWORD_HASH)]
