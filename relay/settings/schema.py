"""JSON Schema of the configuration, for editors: keys, forms, defaults and descriptions.

It helps while writing; what is refused in the end is decided by `load`, which knows more than a schema can say.
"""

import dataclasses
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from relay.settings.document import Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Writes defaults as they would stand in the file, and no titles: the key is the title."""

    def encode_default(self, dft: Any) -> Any:
        return _as_written(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> dict[str, Any]:
    """The schema as JSON values."""
    schema = TypeAdapter(Document).json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, **schema, "title": "ses-relay configuration"}


def _as_written(value: Any) -> Any:
    """Write a value of Python as the file has it; keys that are not set are left out."""
    if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:
        named = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _as_written(each) for name, each in named if each is not None}
    if isinstance(value, tuple | list):
        return [_as_written(each) for each in value]
    return value if isinstance(value, str | int | float | bool | dict | None) else str(value)
