"""Patterns: the most specific one wins, whatever their number and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.address import routing_key, split
from relay.policy.patterns import PatternIndex, check_pattern

if TYPE_CHECKING:
    from random import Random

usual = settings(deadline=None)
thorough = settings(deadline=None, max_examples=500)


def index_of(*patterns: str) -> PatternIndex[str]:
    return PatternIndex((pattern, pattern) for pattern in patterns)


EVERY_FORM = index_of("a@b.example", "@b.example", "@.b.example", "@.example", "*", "<>")


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("a@b.example", "a@b.example"),
        ("a@B.EXAMPLE", "a@b.example"),
        ("A@b.example", "@b.example"),
        ("a+tag@b.example", "@b.example"),
        ("a@x.b.example", "@.b.example"),
        ("a@y.x.B.example", "@.b.example"),
        ("a@xb.example", "@.example"),
        ("a@c.example", "@.example"),
        ("a@example", "*"),
        ("a@b.example.org", "*"),
        ("a@notexample", "*"),
        ('"@b.example"@example', "*"),
        ("a@[192.0.2.1]", "*"),
        ("", "<>"),
    ],
)
def test_the_most_specific_pattern_wins(address: str, pattern: str) -> None:
    assert EVERY_FORM.match(address) == pattern


def test_each_form_matches_nothing_else() -> None:
    assert index_of("a@b.example").match("A@b.example") is None
    assert index_of("@b.example").match("a@x.b.example") is None
    assert index_of("@.b.example").match("a@b.example") is None
    assert index_of("@.b.example").match("a@xb.example") is None
    assert index_of("@.b.example").match("a@b.example.org") is None
    assert index_of("*").match("") is None
    assert index_of("<>").match("a@b.example") is None
    assert index_of().match("a@b.example") is None
    assert index_of().match("") is None


def test_an_address_literal_has_no_subdomains() -> None:
    index = index_of("@[192.0.2.1]", "@.2.1")
    assert index.match("root@[192.0.2.1]") == "@[192.0.2.1]"
    assert index.match("root@[198.51.2.1]") is None


def test_unicode_and_a_labels_are_one_domain() -> None:
    index = index_of("@Bücher.example", "@.bücher.example", "a@bücher.example")
    assert index.match("x@xn--bcher-kva.example") == "@Bücher.example"
    assert index.match("x@XN--BCHER-KVA.example") == "@Bücher.example"
    assert index.match("x@mail.xn--bcher-kva.example") == "@.bücher.example"
    assert index.match("a@xn--bcher-kva.example") == "a@bücher.example"


def test_false_is_a_value_too() -> None:
    """A match is told from no match by None alone."""
    index = PatternIndex([("a@b.example", 0), ("@b.example", 1), ("@.example", 0), ("*", 2)])
    assert index.match("a@b.example") == 0
    assert index.match("a@c.example") == 0


@pytest.mark.parametrize("twin", ["@B.example", "@b.example"])
def test_a_pattern_may_stand_once(twin: str) -> None:
    with pytest.raises(ValueError, match=r"@b\.example stands twice"):
        index_of("@b.example", "*", twin)


CANONICAL = {
    "User@Example.COM": "User@example.com",
    '"user"@example.com': "user@example.com",
    '"us er"@example.com': '"us er"@example.com',
    "@Example.COM": "@example.com",
    "@.Example.COM": "@.example.com",
    "@.com": "@.com",
    "@bücher.example": "@xn--bcher-kva.example",
    "@.bücher.example": "@.xn--bcher-kva.example",
    "root@[192.0.2.1]": "root@[192.0.2.1]",
    "@[IPv6:::1]": "@[ipv6:::1]",
    "*": "*",
    "<>": "<>",
}


@pytest.mark.parametrize(("text", "pattern"), CANONICAL.items())
def test_the_canonical_form_stands_for_itself(text: str, pattern: str) -> None:
    assert check_pattern(text) == pattern
    assert check_pattern(pattern) == pattern


ADVICE = {
    "": 'a pattern is user@example.com, @example.com, @.example.com (subdomains), "*" or "<>"',
    "example": "a pattern is user@example.com",
    "@": "a pattern is user@example.com",
    "example.com": "a domain is written @example.com",
    ".example.com": "use @.example.com for subdomains",
    "*.example.com": "use @.example.com for subdomains",
    "@*.example.com": "use @.example.com for subdomains",
    "*@*.example.com": "use @.example.com for subdomains",
    "*@.example.com": "use @.example.com for subdomains",
    "*@example.com": "every address of a domain is written @example.com",
    "*@*": 'every address is written "*"',
    "@*": 'every address is written "*"',
    "**": 'every address is written "*"',
    "billing-*@example.com": "* stands alone",
    '"*"@example.com': "* stands alone",
    "@exam*.com": "* stands alone",
    "<a@example.com>": "without angle brackets and name",
    "A <a@example.com>": "without angle brackets and name",
    "< >": "without angle brackets and name",
    "a@example.com.": "leave out the dot at the end",
    "@example.com.": "leave out the dot at the end",
    "@.": "leave out the dot at the end",
    "@..example.com": "is not a domain name",
    "@a@example.com": "'a@example.com' is not a domain name",
    "@[192.0.2]": "192.0.2",
    " a@example.com": "is not an address",
    "a@example.com\n": "is not a domain name",
    "a..b@example.com": "cannot stand before the @",
    "jürgen@example.com": "cannot stand before the @",
    "@exa mple.com": "is not a domain name",
}


@pytest.mark.parametrize(("text", "advice"), ADVICE.items())
def test_anything_else_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_pattern(text)
    assert advice in str(caught.value)


@given(st.text(max_size=20) | st.text("*@.<>ab ", max_size=8))
@thorough
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    try:
        pattern = check_pattern(text)
    except ValueError:
        return
    assert check_pattern(pattern) == pattern


# Against brute force: look at every pattern, keep the best.

labels = st.sampled_from(["a", "b", "B", "ab", "ü", "xn--tda"])
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
locals_ = st.sampled_from(["x", "X", "x.y", '"x y"', '"x@a"'])
addresses = st.tuples(locals_, domains).map("@".join)
patterns = st.one_of(addresses, domains.map("@".__add__), domains.map("@.".__add__), st.just("*"), st.just("<>"))


def specificity(pattern: str, address: str) -> int | None:
    """How closely a pattern fits an address: the higher, the closer; None: not at all."""
    if pattern == "<>" or not address:
        return 0 if pattern == "<>" and not address else None
    if pattern == "*":
        return 0
    domain = split(routing_key(address))[1].split(".")
    own_local, own_domain = split(routing_key(pattern.replace("@.", "@")))
    own = own_domain.split(".")
    if pattern.startswith("@."):
        return len(own) if len(domain) > len(own) and domain[-len(own) :] == own else None
    if domain != own:
        return None
    return 1000 + len(own_local) if own_local in ("", split(address)[0]) else None


@given(st.lists(patterns, max_size=12, unique_by=check_pattern), addresses | st.just(""))
@thorough
def test_agrees_with_looking_at_every_pattern(candidates: list[str], address: str) -> None:
    fits = {pattern: specificity(pattern, address) for pattern in candidates}
    best = max(
        (pattern for pattern in candidates if fits[pattern] is not None), key=lambda p: fits[p] or 0, default=None
    )

    assert index_of(*candidates).match(address) == best


@given(st.lists(patterns, max_size=8, unique_by=check_pattern), addresses, st.randoms())
@usual
def test_order_does_not_matter(candidates: list[str], address: str, random: Random) -> None:
    shuffled = sorted(candidates, key=lambda _: random.random())

    assert index_of(*shuffled).match(address) == index_of(*candidates).match(address)


class Counting(dict[str, str]):
    """A dictionary that counts how often it is asked."""

    asked = 0

    def __getitem__(self, key: str) -> str:
        self.asked += 1
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override] # one overload is enough
        self.asked += 1
        return super().get(key, default)

    def __iter__(self) -> None:  # type: ignore[override] # a lookup may not walk through the table
        raise AssertionError


@pytest.mark.parametrize("address", ["u7@d7.example", "x@d7.example", "x@y.d7.example", "x@a.b.c.d.e.f", ""])
def test_a_lookup_asks_as_often_for_one_pattern_as_for_thousands(address: str) -> None:
    """The number of lookups depends on the labels of the address and not on the number of patterns."""
    asked = set()
    for count in (8, 8000):
        every = [f"{form}d{n}.example" for n in range(count) for form in (f"u{n}@", "@", "@.")]
        index = index_of("*", "<>", *every)
        index._values = Counting(index._values)
        index.match(address)
        asked.add(index._values.asked)

    assert len(asked) == 1
    assert asked.pop() <= 2 * (2 + address.count(".") + 2)
