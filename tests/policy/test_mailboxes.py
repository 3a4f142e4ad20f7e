"""The mailboxes of a From header: read as everybody would read them, or refused."""

from __future__ import annotations

import re
from email import policy
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relay.address import check_address
from relay.policy import mailboxes
from relay.policy.mailboxes import parse_mailboxes

usual = settings(deadline=None)
thorough = settings(deadline=None, max_examples=1000)

READ = {
    "bare": (b"jane@example.com", "jane@example.com"),
    "with the field's end": (b" jane@example.com\r\n", "jane@example.com"),
    "brackets only": (b"<jane@example.com>", "jane@example.com"),
    "name": (b"Jane Doe <jane@example.com>", "jane@example.com"),
    "name without blank": (b"Jane<jane@example.com>", "jane@example.com"),
    "name with a dot": (b"J. Doe <jane@example.com>", "jane@example.com"),
    "name with brackets": (b"[ALERT] Monitor 2.0 <jane@example.com>", "jane@example.com"),
    "name with an apostrophe": (b"Jane O'Doe <jane@example.com>", "jane@example.com"),
    "quoted name": (b'"Doe, Jane" <jane@example.com>', "jane@example.com"),
    "quoted name with an address": (b'"jane@example.org" <jane@example.com>', "jane@example.com"),
    "quoted name with escapes": (rb'"Jane \"J\" Doe" <jane@example.com>', "jane@example.com"),
    "mixed name": (b'Jane "J." =?utf-8?q?D=C3=B6?= (her) <jane@example.com>', "jane@example.com"),
    "encoded words": (b"=?utf-8?q?Doe=2C_Jane?= =?utf-8?b?w7Y=?= <jane@example.com>", "jane@example.com"),
    "encoded address as name": (b"=?utf-8?q?x=40example=2Eorg?= <jane@example.com>", "jane@example.com"),
    "UTF-8 name": ("Jürgen Müller <j@example.com>".encode(), "j@example.com"),
    "UTF-8 in quotes": ('"Müller, Jürgen" <j@example.com>'.encode(), "j@example.com"),
    "Latin-1 name": ("Jürgen <j@example.com>".encode("latin-1"), "j@example.com"),
    "Shift JIS name": ("東京 <j@example.com>".encode("shift_jis"), "j@example.com"),
    "folded": (b"Jane\r\n Doe\r\n\t<jane@example.com>\r\n", "jane@example.com"),
    "folded between the list's elements": (b"a@example.com,\r\n b@example.com", "a@example.com b@example.com"),
    "folded before all": (b"\r\n jane@example.com\r\n", "jane@example.com"),
    "old style comment": (b"root@example.com (Cron Daemon)", "root@example.com"),
    "nested comments": (rb"(a (b \) \( (c)) d) Jane (x)<(y)jane@example.com(z)>(v)", "jane@example.com"),
    "list": (b"a@example.com, B <b@example.com>", "a@example.com b@example.com"),
    "empty elements": (b",a@example.com,, b@example.com ,", "a@example.com b@example.com"),
    "twice the same": (b"a@example.com,a@example.com", "a@example.com a@example.com"),
    "group": (b"Team: a@example.com, B <b@example.com>;", "a@example.com b@example.com"),
    "group in a list": (
        b'c@example.com, Team A. "x": a@example.com;, d@example.com',
        "c@example.com a@example.com d@example.com",
    ),
    "two groups": (b"A: a@example.com;, B:;", "a@example.com"),
    "route": (b"<@one.example,@[192.0.2.1]:jane@example.com>", "jane@example.com"),
    "address as its own name": (b"jane@example.com <jane@example.com>", "jane@example.com"),
    "the same in another case": (b"jane@Example.COM <jane@example.com>", "jane@example.com"),
    "quoted local part": (b'<"jane doe"@example.com>', '"jane doe"@example.com'),
    "quoting without need": (b'<"jane"@example.com>', "jane@example.com"),
    "quoted @": (b'"a@b"@example.com', '"a@b"@example.com'),
    "letter case": (b"Jane@Example.COM", "Jane@Example.COM"),
    "literal": (b"root@[192.0.2.1]", "root@[192.0.2.1]"),
    "U-label": ("<jane@bücher.example>".encode(), "jane@xn--bcher-kva.example"),
}

REFUSED = {
    "RFC 5322 appendix A.5": rb"Pete(A nice \) chap) <pete(his account)@silly.test(his host)>",
    "blanks around dots and @": b"<jane . doe @ example . com>",
    "a domain folded at a dot": b"boss@example.com\r\n .au",
    "a comment in a domain": b"jane@example(x).com",
    "nothing": b"",
    "blanks": b" \t\r\n",
    "only commas": b", ,",
    "only a comment": b"(jane)",
    "only an empty group": b"Undisclosed:;",
    "only a name": b"Jane Doe",
    "no address in brackets": b"Jane <>",
    "no domain": b"root",
    "no domain in brackets": b"Jane <root>",
    "no domain after @": b"Jane <root@>",
    "no local part": b"@example.com",
    "empty local part": b'""@example.com',
    "another address as name": b"boss@example.org <jane@example.com>",
    "the local part in another case as name": b"Jane@example.com <jane@example.com>",
    "an @ in the name": b"Jane @ Work <jane@example.com>",
    "address before a name": b"boss@example.org Jane <jane@example.com>",
    "two addresses in a row": b"jane@example.com boss@example.org",
    "two bracketed addresses": b"<jane@example.com> <boss@example.org>",
    "words after the brackets": b"<jane@example.com> Jane",
    "brackets in brackets": b"<<jane@example.com>>",
    "brackets in brackets with a name": b"A <B <jane@example.com>>",
    "list in brackets": b"<jane@example.com,boss@example.org>",
    "unclosed bracket": b"Jane <jane@example.com",
    "unclosed bracket and a word": b"<jane@example.com Doe",
    "unopened bracket": b"jane@example.com>",
    "crossed brackets": b">jane@example.com<",
    "address in a comment": b"jane@example.com (boss@example.org)",
    "escaped address in a comment": rb"jane@example.com (boss\@example.org)",
    "unclosed comment": b"jane@example.com (x",
    "unopened comment": b"jane@example.com x)",
    "comment closed by an escape": rb"jane@example.com (x\)",
    "unclosed quotes": b'"Jane <jane@example.com>',
    "quotes closed by an escape": rb'"Jane\" <jane@example.com>',
    "backslash in a name": rb"Jane \Doe <jane@example.com>",
    "backslash at the end": b"jane@example.com\\",
    "unclosed literal": b"root@[192.0.2.1",
    "comma in a name's brackets": b"[a, b] <jane@example.com>",
    "address in a name's brackets": b"[boss@example.org] <jane@example.com>",
    "semicolons as commas": b"a@example.com; b@example.com",
    "semicolon at the end": b"a@example.com;",
    "group without a name": b":a@example.com;",
    "group without its end": b"Team: a@example.com",
    "address as a group's name": b"boss@example.org: a@example.com;",
    "group in a group": b"A: B: a@example.com;;",
    "group in a group that ends once": b"A: B: a@example.com;",
    "group without a comma": b"A: a@example.com; b@example.com",
    "two groups without a comma": b"A: a@example.com; B: b@example.com;",
    "two semicolons": b"A: a@example.com;;",
    "route without @": b"<one.example:jane@example.com>",
    "route with an empty hop": b"<@one.example,:jane@example.com>",
    "route with a bad domain": b"<@one..example:jane@example.com>",
    "route as an address": b"<boss@example.org:jane@example.com>",
    "route without brackets": b"@one.example:jane@example.com",
    "encoded local part": b"=?utf-8?q?boss=40example=2Eorg?=@example.com",
    "encoded word in the local part": b"<a.=?us-ascii?q?b?=@example.com>",
    "encoded domain": b"jane@=?utf-8?q?example=2Ecom?=",
    "encoded word with a raw @": b"=?utf-8?q?a@example.org?= <jane@example.com>",
    "encoded word with a raw comma": b"=?utf-8?q?Doe,_Jane?= <jane@example.com>",
    "two words before the @": b"jane doe@example.com",
    "comment between two words": b"jane(x)doe@example.com",
    "two words after the @": b"jane@example com",
    "quoted and dotted": b'"jane".doe@example.com',
    "dot first": b".jane@example.com",
    "two dots": b"jane..doe@example.com",
    "dot last": b"jane@example.com.",
    "8-bit local part": "jürgen@example.com".encode(),
    "8-bit domain that is not UTF-8": "j@bücher.example".encode("latin-1"),
    "fullwidth @": "jane\uff20example.com".encode(),
    "half a letter before a backslash": b'"\x95\\" <boss@example.org>, (" <jane@example.com>',
    "NUL in quotes": b'"\0" <jane@example.com>',
    "LF in quotes": b'"Jane\nDoe" <jane@example.com>',
    "NUL": b"Jane\0 <jane@example.com>",
    "escape": b"\x1b$B%F\x1b(B <jane@example.com>",
    "DEL": b'"\x7f" <jane@example.com>',
    "bare LF": b"Jane\n <jane@example.com>",
    "bare CR": b"Jane\r <jane@example.com>",
    "CR in quotes": b'"Jane\rDoe" <jane@example.com>',
    "line end that does not fold": b"jane@example.com\r\nBcc: boss@example.org",
    "two line ends": b"jane@example.com\r\n\r\n",
    "folded line of blanks": b"jane@example.com,\r\n \r\n boss@example.org",
    "folded line of blanks at the end": b"jane@example.com\r\n \r\n",
    "local part of 65": b"a" * 65 + b"@example.com",
    "address of 255": b"a@" + b".".join([b"b" * 62] * 4) + b".c",
}


@pytest.mark.parametrize(("value", "expected"), READ.values(), ids=READ)
def test_reads(value: bytes, expected: str) -> None:
    assert parse_mailboxes(value) == tuple(split_outside_quotes(expected))


def split_outside_quotes(text: str) -> list[str]:
    """Split the expectation at blanks, unless it is one quoted address."""
    return [text] if text.startswith('"') else text.split(" ")


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_refuses(value: bytes) -> None:
    with pytest.raises(ValueError):
        parse_mailboxes(value)


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 100_000,
        b"(\\(" * 30_000,
        b'"' * 99_999,
        b'"' + b"\\a" * 50_000,
        b"<" * 100_000,
        b"[" * 100_000,
        b":" * 100_000,
        b"." * 100_000,
        b"a " * 50_000,
        b'"a"' * 30_000,
        b"=?a" * 30_000 + b"@b",
        b"\xff" * 100_000,
        b"\r\n " * 30_000,
        b"<" + b"@a," * 30_000,
        "ü@".encode() * 30_000,
    ],
    ids=lambda value: repr(value[:6]),
)
def test_long_nonsense_is_refused_at_once(value: bytes) -> None:
    """Nothing backtracks or recurses: with quadratic work this test would take minutes."""
    with pytest.raises(ValueError):
        parse_mailboxes(value)


def test_deep_comments_are_no_recursion() -> None:
    assert parse_mailboxes(b"(" * 40_000 + b")" * 40_000 + b"a@example.com") == ("a@example.com",)


# Against a grammar: whatever it makes is understood, folded anywhere.

words = st.text("abcXYZ019!#$%&'*+-/_`{|}~^", min_size=1, max_size=8)
dot_atoms = st.lists(words, min_size=1, max_size=3).map(".".join)
domains = st.lists(st.text("abcXYZ019", min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
quoted = st.text("ab .,:;<>@()[]é", min_size=1, max_size=10).map(lambda text: f'"{text}"')
local_parts = dot_atoms | st.text("ab .,:;<>@()[]", max_size=8).map(lambda text: f'"{text} "')
phrases = st.lists(words | quoted | st.sampled_from(["J.", "=?utf-8?q?a=2C?=", "Jürgen"]), min_size=1, max_size=3)
white = st.sampled_from([" ", "\t", "  ", "\r\n ", "\r\n\t ", "(c)", " (a (b) \\) c) "])
maybe = white | st.just("")
routes = st.sampled_from(["", "", "@one.example:", "@one.example,@two.example:"])


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str]:
    """Draw an address and a spelling of it with blanks and comments around."""
    local, domain = draw(local_parts), draw(domains)
    return f"{local}@{domain}", draw(maybe) + f"{local}@{domain}" + draw(maybe)


@st.composite
def elements(draw: st.DrawFn) -> tuple[list[str], str]:
    """Draw a mailbox with or without a name, or a group of such, and what is in it."""
    kind = draw(st.sampled_from(["bare", "named", "named", "group"]))
    if kind == "group":
        members = draw(st.lists(elements().filter(lambda one: ";" not in one[1]), max_size=2))
        inside = ",".join(text for _, text in members)
        return [one for found, _ in members for one in found], f"{' '.join(draw(phrases))}:{inside};"
    address, spelling = draw(addresses())
    if kind == "bare":
        return [address], spelling
    name = draw(white).join(draw(phrases)) + draw(maybe)
    return [address], f"{name}<{draw(routes)}{spelling}>{draw(maybe)}"


@given(st.lists(elements(), min_size=1, max_size=3))
@usual
def test_understands_what_the_grammar_makes(parts: list[tuple[list[str], str]]) -> None:
    expected = tuple(address for found, _ in parts for address in found)
    value = ",".join(text for _, text in parts)
    assume(expected and not folds_blanks(value))

    assert parse_mailboxes((value + "\r\n").encode()) == expected


def folds_blanks(value: str) -> bool:
    """Whether the grammar folded so that a line holds blanks only, which is refused."""
    return any(not line.strip(" \t") for line in value.split("\r\n")[1:])


# Against the standard library: what both accept, both read alike.

PIECES = r'''a b . @ , : ; < > ( ) \ " a@b c@d.e <a@b> J.Doe T =?utf-8?q?x?= "x,y" (c) @r: "\""'''
ascii_pieces = st.sampled_from([*PIECES.split(), " "])
pieces = ascii_pieces | st.just("é")


@given(st.lists(ascii_pieces, min_size=1, max_size=10).map("".join))
@thorough
def test_reads_nothing_that_the_standard_library_reads_differently(value: str) -> None:
    """The addresses that decide are those that another reader finds."""
    try:
        ours = parse_mailboxes(value.encode())
    except ValueError:
        return
    try:
        header = policy.default.header_factory("From", value)
    except (AttributeError, TypeError, IndexError):  # its known troubles, with a name that begins with a dot
        return
    theirs = tuple(str(address.addr_spec).replace('"', "") for address in header.addresses)

    assert theirs == tuple(address.replace('"', "") for address in ours)  # some versions forget quotes


@given(st.binary(max_size=30) | st.lists(pieces, max_size=8).map(lambda parts: "".join(parts).encode()))
@thorough
def test_any_bytes_are_addresses_or_a_value_error(value: bytes) -> None:
    try:
        found = parse_mailboxes(value)
    except ValueError:
        return
    assert found
    assert all(check_address(address) == address for address in found)


@given(st.lists(pieces, min_size=1, max_size=8).map(lambda parts: "".join(parts).encode()))
@thorough
def test_the_short_way_says_what_the_long_way_says(value: bytes) -> None:
    """The one match that decides most fields is no second opinion."""
    assert outcome(value) == outcome(value, short=False)


def outcome(value: bytes, *, short: bool = True) -> tuple[str, ...] | None:
    try:
        if short:
            return parse_mailboxes(value)
        with patch.object(mailboxes, "_USUAL", re.compile(rb"(?!)")):
            return parse_mailboxes(value)
    except ValueError:
        return None
