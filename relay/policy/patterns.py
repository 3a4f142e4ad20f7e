"""Patterns of addresses: which entry of a list of senders or recipients an address belongs to.

Owns the five forms `user@example.com`, `@example.com` (that domain only), `@.example.com` (any of its
subdomains, not the domain itself), `*` (every address) and `<>` (the null sender, and nothing else is).
The most specific one wins, in that order, and of several `@.` the longest. Domains compare as A-labels without
case, local parts exactly. A lookup costs the same for one pattern and for a million: it asks a dictionary once for
the address, once for its domain, and once for each domain above it.

Refuses other wildcards, since a pattern that silently matches less or more than was meant sends mail under
the wrong name.
"""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from relay.address import check_address, check_domain, routing_key, to_a_labels

T = TypeVar("T")

ANY = "*"
NULL = "<>"
_FORMS = 'user@example.com, @example.com, @.example.com (subdomains), "*" or "<>"'
_ELSEWHERE = (
    (re.compile(r"\*@\*|@\*|\*\*"), 'every address is written "*"'),
    (re.compile(r"(?:\*@?\*?|@\*)?\.([^*@]+)"), r"use @.\1 for subdomains"),
    (re.compile(r"\*(@[^*@]+)"), r"every address of a domain is written \1"),
    (re.compile(r".*\*.*", re.DOTALL), f"* stands alone; a pattern is {_FORMS}"),
    (re.compile(r".*[<>].*", re.DOTALL), "write the address alone, without angle brackets and name"),
    (re.compile(r"[^@]*\.[^@]*"), r"a domain is written @\g<0>"),
    (re.compile(r"[^@]*|@"), f"a pattern is {_FORMS}"),
    (re.compile(r".*\.", re.DOTALL), "leave out the dot at the end"),
)


class PatternIndex(Generic[T]):
    """A table from patterns to values that are not None.

    Raises:
        ValueError: A pattern is malformed or stands twice.
    """

    __slots__ = ("_has_subdomains", "_values")

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        self._values: dict[str, T] = {}
        for text, value in pairs:
            pattern = check_pattern(text)
            if pattern in self._values:
                raise ValueError(f"{pattern} stands twice")
            self._values[pattern] = value
        self._has_subdomains = any(pattern.startswith("@.") for pattern in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def match(self, address: str) -> T | None:
        """Return the value of the most specific pattern for a canonical address ("" is the null sender), or None."""
        values = self._values
        if not address:
            return values.get(NULL)
        key = routing_key(address)
        if key in values:
            return values[key]
        domain = key[key.rfind("@") :]
        if domain in values:
            return values[domain]
        return self._above(domain) if self._has_subdomains else values.get(ANY)

    def _above(self, domain: str) -> T | None:
        """Try the domains above `@domain`, the nearest first, then `*`."""
        dot = domain.find(".")
        while dot >= 0:
            pattern = "@" + domain[dot:]
            if pattern in self._values:
                return self._values[pattern]
            dot = domain.find(".", dot + 1)
        return self._values.get(ANY)


def check_pattern(text: str) -> str:
    """Return the canonical form of a pattern: domain as lower-case A-labels, least quoting.

    Raises:
        ValueError: Not a pattern; says in words for an operator what to write instead.
    """
    if text in (ANY, NULL):
        return text
    try:
        return _canonical(text)
    except ValueError as error:
        raise ValueError(_advice(text) or str(error)) from None


def _canonical(text: str) -> str:
    if "*" in text:
        raise ValueError("a wildcard")
    if text.startswith("@."):
        return "@." + to_a_labels(text[2:]).lower()
    if text.startswith("@"):
        return "@" + check_domain(text[1:]).lower()
    return routing_key(check_address(text))


def _advice(text: str) -> str | None:
    """Say what to write instead of a spelling that people know from elsewhere."""
    found = ((spelling.fullmatch(text), advice) for spelling, advice in _ELSEWHERE)
    return next((f"{text!r}: {match.expand(advice)}" for match, advice in found if match), None)
