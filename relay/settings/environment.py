"""Environment variables inside values: `${NAME}` and `${NAME:-default}`.

As in a shell, the default is taken when the variable is unset or empty; it cannot contain "}". A lone "$" is an
ordinary character (argon2 hashes begin with one); "${" that opens no reference is refused, since it is a typing
error far more often than it is meant. What a variable contains is not looked into for further references.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}")


def has_reference(text: str) -> bool:
    """Whether `text` must go through `substitute`."""
    return "${" in text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace every reference.

    Raises:
        ValueError: A reference is malformed, or its variable is not set and has no default; says what to do,
            and names variables but never what they contain.
    """
    pieces = []
    end = 0
    for match in _REFERENCE.finditer(text):
        pieces += [_literal(text[end : match.start()]), _value(match["name"], match["default"], environ)]
        end = match.end()
    return "".join([*pieces, _literal(text[end:])])


def _literal(text: str) -> str:
    if has_reference(text):
        raise ValueError("${NAME} or ${NAME:-default}; a secret that contains ${ belongs into a file of its own")
    return text


def _value(name: str, default: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if value or (name in environ and default is None):
        return value
    if default is None:
        raise ValueError(f"a variable that is set; {name} is not (${{{name}:-default}} gives it a default)")
    return default.removeprefix(":-")
