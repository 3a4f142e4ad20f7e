"""The address parser: what it takes, what it refuses, and that no input makes it do anything else."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.address import check_address, check_domain, parse_path, routing_key, split, to_a_labels
from relay.errors import Rejection
from relay.replies import BAD_RECIPIENT, BAD_SENDER, NON_ASCII_LOCAL_PART

usual = settings(deadline=None)
thorough = settings(deadline=None, max_examples=500)

ATEXT = string.ascii_letters + string.digits + "!#$%&'*+/=?^_`{|}~-"
HOST = string.ascii_letters + string.digits + "_-"
LABEL_63 = "b" * 63
ROUTE_239 = ".".join(["r" * 47] * 5)
DOMAIN_189 = ".".join([LABEL_63] * 3)[:-2]

ACCEPTED = {
    "the usual": (b"<billing@example.com>", "billing@example.com", b""),
    "with parameters": (b"<a@example.com> SIZE=1000 BODY=8BITMIME", "a@example.com", b"SIZE=1000 BODY=8BITMIME"),
    "parameters are not examined": (b"<a@example.com>\tX=\xff\x00", "a@example.com", b"X=\xff\x00"),
    "blanks after the colon": (b" \t<a@example.com> ", "a@example.com", b""),
    "no angle brackets": (b"a@example.com SIZE=1", "a@example.com", b"SIZE=1"),
    "no angle brackets, odd parameters": (b"a@example.com X=\xff\x00", "a@example.com", b"X=\xff\x00"),
    "blank and no angle brackets": (b" a@example.com", "a@example.com", b""),
    "letter case is kept": (b"<Bill.ING@Example.COM>", "Bill.ING@Example.COM", b""),
    "every atext": (b"<" + ATEXT[:64].encode() + b"@x>", ATEXT[:64] + "@x", b""),
    "the other atext": (b"<" + ATEXT[62:].encode() + b"@x>", ATEXT[62:] + "@x", b""),
    "one label": (b"<root@localhost>", "root@localhost", b""),
    "digits": (b"<1@2.3>", "1@2.3", b""),
    "underscore in the domain": (b"<a@_my_host_.example>", "a@_my_host_.example", b""),
    "hyphens inside labels": (b"<a@b--c.d-e>", "a@b--c.d-e", b""),
    "source route": (b"<@one.example,@two.example:a@example.com>", "a@example.com", b""),
    "source route of one": (b"<@one.example:a@example.com> SIZE=1", "a@example.com", b"SIZE=1"),
    "percent hack stays": (b"<a%b.example@example.com>", "a%b.example@example.com", b""),
    "quoted string": (b'<"a b"@example.com>', '"a b"@example.com', b""),
    "quoted specials": (b'<"a@b>c,(d):"@example.com> X', '"a@b>c,(d):"@example.com', b"X"),
    "quoted without brackets": (b'"a b"@example.com SIZE=1', '"a b"@example.com', b"SIZE=1"),
    "quoted pairs that are needed": (rb'<"a\"b\\c d"@example.com>', r'"a\"b\\c d"@example.com', b""),
    "quoting without need goes": (b'<"billing"@example.com>', "billing@example.com", b""),
    "quoted pairs without need go": (rb'<"b\i\l.l"@example.com>', "bil.l@example.com", b""),
    "quoted dots that need it": (b'<"a..b"@example.com>', '"a..b"@example.com', b""),
    "quoted backslash dot": (rb'<"\.a"@example.com>', '".a"@example.com', b""),
    "IPv4 literal": (b"<a@[192.0.2.1]>", "a@[192.0.2.1]", b""),
    "IPv6 literal": (b"<a@[ipv6:2001:DB8:0::1]>", "a@[IPv6:2001:db8::1]", b""),
    "half an encoded-word is an atom": (b"<a=?b@x.example>", "a=?b@x.example", b""),
    "the other half is one too": (b"<a?=b=?@x.example>", "a?=b=?@x.example", b""),
    "U-label": ("<a@Bücher.example>".encode(), "a@xn--bcher-kva.example", b""),
    "U-label and underscore": ("<a@my_host.bücher.example>".encode(), "a@my_host.xn--bcher-kva.example", b""),
    "ideographic dot": ("<a@例え。テスト>".encode(), "a@xn--r8jz45g.xn--zckzah", b""),
    "A-label verbatim": (b"<a@XN--Bcher-kva.example>", "a@XN--Bcher-kva.example", b""),
    "bad A-label is a host name": (b"<a@xn--bad.example>", "a@xn--bad.example", b""),
    "local part of 64": (b"<" + b"a" * 64 + b"@example.com>", "a" * 64 + "@example.com", b""),
    "label of 63": (f"<a@{LABEL_63}>".encode(), f"a@{LABEL_63}", b""),
    "path of 256 by its route": (f"<@{ROUTE_239}:a@example.com>".encode(), "a@example.com", b""),
    "address of 254": (f"<{'a' * 64}@{DOMAIN_189}>".encode(), f"{'a' * 64}@{DOMAIN_189}", b""),
}

REFUSED = {
    "nothing": b"",
    "blanks": b" \t ",
    "only parameters": b"SIZE=1000",
    "blank in brackets": b"< >",
    "unclosed": b"<a@example.com",
    "unopened": b"a@example.com>",
    "twice opened": b"<<a@example.com>>",
    "blank inside": b"< a@example.com >",
    "display name": b"A <a@example.com>",
    "quoted display name": b'"A" <a@example.com>',
    "comment": b"<a(comment)@example.com>",
    "comment after the domain": b"<a@example.com(comment)>",
    "no domain": b"<postmaster>",
    "no domain after @": b"<a@>",
    "no local part": b"<@example.com>",
    "two @": b"<a@b@example.com>",
    "dot first": b"<.a@example.com>",
    "dot last": b"<a.@example.com>",
    "two dots": b"<a..b@example.com>",
    "domain with dot last": b"<a@example.com.>",
    "domain with dot first": b"<a@.example.com>",
    "domain with two dots": b"<a@example..com>",
    "hyphen first": b"<a@-example.com>",
    "hyphen last": b"<a@example-.com>",
    "domain with other characters": b"<a@exa!mple.com>",
    "parameter without a blank": b"<a@example.com>SIZE=1",
    "two addresses": b"<a@example.com>,<b@example.com>",
    "list": b"<a@example.com,b@example.com>",
    "encoded-word": b"<=?utf-8?q?ceo=40bank.example=20=3c?=@example.com>",
    "encoded-word of control characters": b"<=?utf-8?q?a=0d=0aRCPT?=@x.example>",
    "encoded-word of a lenient reader": b"<a.x=??=y@example.com>",
    "encoded-word without brackets": b"=?x?b?YQ==?=@example.com",
    "encoded-word in quotes": b'<"=?x?q?a?="@example.com>',
    "encoded-word in quotes that it needs": b'<"a =?x?q?a?="@example.com>',
    "encoded-word behind a route": b"<@one.example:=?x?q?a?=@example.com>",
    "NUL": b"<a\0@example.com>",
    "bare CR": b"<a\r@example.com>",
    "bare LF in the domain": b"<a@exam\nple.com>",
    "CR LF after the path": b"<a@example.com>\r\nRCPT TO:<b@example.com>",
    "LF before the path": b"\n<a@example.com>",
    "vertical tab before the path": b"\x0b<a@example.com>",
    "CR in quotes": b'<"a\rb"@example.com>',
    "escaped LF in quotes": b'<"a\\\nb"@example.com>',
    "tab in quotes": b'<"a\tb"@example.com>',
    "DEL": b'<"a\x7fb"@example.com>',
    "empty quotes": b'<""@example.com>',
    "unclosed quotes": b'<"a@example.com>',
    "quotes closed by an escape": b'<"a\\"@example.com>',
    "quotes in the middle": b'<a"b"@example.com>',
    "word after quotes": b'<"a"b@example.com>',
    "quoted word in a dotted list": b'<"a".b@example.com>',
    "IPv4 literal out of range": b"<a@[192.0.2.256]>",
    "IPv4 literal with leading zero": b"<a@[192.0.2.01]>",
    "IPv6 literal with a zone": b"<a@[IPv6:fe80::1%eth0]>",
    "IPv6 literal without its tag": b"<a@[fe80::1]>",
    "general literal": b"<a@[x400:c=us]>",
    "empty literal": b"<a@[]>",
    "name in a literal": b"<a@[example.com]>",
    "half a literal": b"<a@[192.0.2.1>",
    "route without addresses": b"<@one.example:>",
    "route without @": b"<one.example:a@example.com>",
    "route with a bad domain": b"<@one..example:a@example.com>",
    "route with a blank": b"<@one.example, @two.example:a@example.com>",
    "8-bit that is not UTF-8 in the domain": b"<a@\xff.example>",
    "surrogate in UTF-8 in the domain": b"<a@\xed\xa0\x80.example>",
    "emoji domain": "<a@💩.example>".encode(),
    "fullwidth @ in the domain": "<a@b\uff20c.example>".encode(),
    "fullwidth slash in the domain": "<a@℀.example>".encode(),
    "U-label with dot last": "<a@bücher。>".encode(),
    "local part of 65": b"<" + b"a" * 65 + b"@example.com>",
    "quoted local part of 65": b'<"' + b"a" * 62 + b' "@example.com>',
    "label of 64": b"<a@" + b"b" * 64 + b".example>",
    "address of 255": f"<{'a' * 64}@{DOMAIN_189}c>".encode(),
    "path of 257 by its route": f"<@{ROUTE_239}r:a@example.com>".encode(),
    "U-label beyond 63 as A-label": f"<a@{'ü' * 60}.example>".encode(),
}


@pytest.mark.parametrize(("argument", "address", "rest"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(argument: bytes, address: str, rest: bytes) -> None:
    assert parse_path(argument, null=True) == (address, rest)
    assert parse_path(argument, null=False) == (address, rest)


@pytest.mark.parametrize("argument", REFUSED.values(), ids=REFUSED)
def test_refuses_by_the_name_of_the_command(argument: bytes) -> None:
    """A malformed sender is 553 5.1.7, a malformed recipient 553 5.1.3."""
    assert reply_to(argument, null=True) == BAD_SENDER
    assert reply_to(argument, null=False) == BAD_RECIPIENT


@pytest.mark.parametrize(
    "argument",
    ["<jürgen@example.com>", "jürgen@example.com", '<"jür gen"@example.com>', "<ü@bücher.example>"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_eight_bit_before_the_at_has_its_own_reply(argument: str, encoding: str) -> None:
    for null in (True, False):
        assert reply_to(argument.encode(encoding), null=null) == NON_ASCII_LOCAL_PART


def test_the_longest_addresses_are_as_long_as_said() -> None:
    """The table above sits on the limits of RFC 5321 section 4.5.3.1."""
    assert len(parse_path(ACCEPTED["address of 254"][0], null=True)[0]) == 254
    assert len(REFUSED["address of 255"]) == 257
    assert len(ACCEPTED["path of 256 by its route"][0]) == 256
    assert len(REFUSED["path of 257 by its route"]) == 257
    assert len(to_a_labels(".".join("x" * 128))) == 255


def test_the_null_sender_is_a_sender_only() -> None:
    assert parse_path(b"<>", null=True) == ("", b"")
    assert parse_path(b" <> SIZE=1 ", null=True) == ("", b"SIZE=1")
    assert reply_to(b"<>", null=False) == BAD_RECIPIENT
    assert reply_to(b"<>SIZE=1", null=True) == BAD_SENDER


@pytest.mark.parametrize(
    "argument",
    [
        b"<" + b"a." * 50_000 + b">",
        b"<" + b"a" * 100_000,
        b'<"' + b"\\a" * 50_000,
        b'<"' + b"a" * 100_000 + b"@b>",
        b"<a@" + b"b-" * 50_000 + b">",
        b"<a@" + b"b." * 50_000 + b">",
        b"<" + b"@a," * 30_000 + b":a@b>",
        b"<a@[" + b"1." * 50_000,
        b" " * 100_000 + b"<",
        b"<a@" + "ü.".encode() * 50_000 + b">",
        b"@" * 100_000,
        b"<" * 100_000,
    ],
    ids=lambda argument: repr(argument[:6]),
)
def test_long_nonsense_is_refused_at_once(argument: bytes) -> None:
    """Nothing backtracks: with quadratic patterns this test would take minutes."""
    assert reply_to(argument, null=True) == BAD_SENDER


# Against a grammar: whatever it makes is understood.

atoms = st.text(ATEXT, min_size=1, max_size=12)
dot_atoms = st.lists(atoms, min_size=1, max_size=4).map(".".join)
labels = st.text(HOST, min_size=1, max_size=20).map(lambda text: text.strip("-") or "x")
domains = st.lists(labels, min_size=1, max_size=5).map(".".join)
literals = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"[{ip}]"),
    st.ip_addresses(v=6).map(lambda ip: f"[IPv6:{ip}]"),
)
quoted_parts = st.one_of(
    st.sampled_from([chr(code) for code in range(32, 127) if chr(code) not in '"\\']).map(lambda char: (char, char)),
    st.sampled_from([chr(code) for code in range(32, 127)]).map(lambda char: ("\\" + char, char)),
)
quoted_locals = st.lists(quoted_parts, min_size=1, max_size=20)
routes = st.lists(domains.map("@".__add__), max_size=2).map(lambda hops: ",".join(hops) + ":" if hops else "")
blanks = st.text(" \t", max_size=3)
parameters = st.sampled_from(["", " SIZE=1000", "\tBODY=8BITMIME RET=HDRS", "  "])
shapes = st.sampled_from(["{}<{}{}>{}", "{}{}{}{}"])


def meaning(local: str) -> str:
    """Read a local part: what RFC 5321 section 4.1.2 says two spellings have in common."""
    if not local.startswith('"'):
        return local
    characters = iter(local[1:-1])
    return "".join(next(characters) if char == "\\" else char for char in characters)


@given(dot_atoms, st.one_of(domains, literals), routes, blanks, parameters, shapes)
@usual
def test_understands_what_the_grammar_makes(
    local: str, domain: str, route: str, before: str, after: str, shape: str
) -> None:
    argument = shape.format(before, route, f"{local}@{domain}", after).encode()

    assert parse_path(argument, null=True) == (f"{local}@{domain}", after.strip().encode())


@given(quoted_locals, domains, parameters, shapes)
@usual
def test_quoted_local_parts_keep_their_meaning_in_one_spelling(
    parts: list[tuple[str, str]], domain: str, after: str, shape: str
) -> None:
    written = '"' + "".join(spelling for spelling, _ in parts) + '"'
    address, rest = parse_path(shape.format("", "", f"{written}@{domain}", after).encode(), null=False)
    local, found = split(address)
    content = "".join(char for _, char in parts)

    assert (meaning(local), found, rest) == (content, domain, after.strip().encode())
    assert local.startswith('"') == (not all(set(atom) <= set(ATEXT) and atom for atom in content.split(".")))
    assert local.count("\\") == content.count("\\") * 2 + content.count('"')


# Against an oracle: another parser of the same language, character by character.


def oracle(argument: str) -> str | None:
    """Read a path of ASCII characters; return its address, None if it is none, by the plainest means."""
    path = first_word(argument.lstrip(" \t"))
    if path is None:
        return None
    inner = path[1:-1] if path[:1] == "<" and path[-1:] == ">" else path
    if inner.startswith("@"):
        route, colon, inner = inner.partition(":")
        if not colon or not all(hop[:1] == "@" and is_host(hop[1:]) for hop in route.split(",")):
            return None
    local, at, domain = inner.rpartition("@")
    good = at and is_local(local) and is_host(domain) and len(path) <= 256 and len(inner) <= 254
    return inner if good else None


def first_word(text: str) -> str | None:
    """Return what stands before the first blank outside of quotes; None if quotes stay open."""
    quoted = escaped = False
    for at, char in enumerate(text):
        if char in " \t" and not quoted:
            return text[:at]
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = quoted and char == "\\" and not escaped
    return None if quoted else text


def is_local(local: str) -> bool:
    if local.startswith('"'):
        printable = all(32 <= ord(char) < 127 for char in local)
        return len(local) > 2 and printable and first_word(local) == local and '"' not in unescaped(local[1:-1])
    return len(local) <= 64 and all(atom and set(atom) <= set(ATEXT) for atom in local.split("."))


def unescaped(content: str) -> str:
    """Drop the quoted pairs."""
    return content.replace("\\\\", "").replace('\\"', "")


def is_host(domain: str) -> bool:
    parts = domain.split(".")
    return all(0 < len(part) < 64 and set(part) <= set(HOST) and part.strip("-") == part for part in parts)


nasty = st.text('<>@@"\\.,:; \t()ab-_!\r\n\0', max_size=24)


@st.composite
def nearly_paths(draw: st.DrawFn) -> str:
    """Draw a path with one place overwritten."""
    path = draw(shapes).format(draw(blanks), draw(routes), f"{draw(dot_atoms)}@{draw(domains)}", draw(parameters))
    at = draw(st.integers(0, len(path)))
    return path[:at] + draw(st.text('<>@"\\.,: \t()a-!\r\0', max_size=2)) + path[at + draw(st.integers(0, 2)) :]


@given(st.one_of(nasty, nearly_paths()))
@thorough
def test_agrees_with_the_oracle(argument: str) -> None:
    """Accepts exactly what the oracle accepts, and reads the same mailbox in it."""
    expected = oracle(argument)
    if expected is None:
        assert parsed(argument.encode()) is None or argument.lstrip(" \t").startswith("<>")
        return
    local, domain = split(expected)
    address = parsed(argument.encode())
    assert address is not None
    assert (meaning(split(address)[0]), split(address)[1]) == (meaning(local), domain)


@given(st.one_of(st.binary(max_size=40), nearly_paths().map(str.encode), st.text(max_size=20).map(str.encode)))
@thorough
def test_an_address_is_printable_bounded_and_stays_as_it_is(argument: bytes) -> None:
    """Any bytes give a Rejection or an address that is ASCII, has no line break, and parses to itself."""
    address = parsed(argument)
    if not address:
        return
    local, domain = split(address)

    assert address.isascii()
    assert address.isprintable()
    assert 0 < len(local) <= 64
    assert 0 < len(domain) <= 255
    assert len(address) <= 254
    assert parse_path(f"<{address}>".encode(), null=False) == (address, b"")
    assert check_address(address) == address


def parsed(argument: bytes) -> str | None:
    """Return the address, or None when it is refused; nothing else may be raised."""
    try:
        return parse_path(argument, null=True)[0]
    except Rejection:
        return None


def reply_to(argument: bytes, *, null: bool) -> object:
    with pytest.raises(Rejection) as caught:
        parse_path(argument, null=null)
    return caught.value.reply


# Domains and keys.


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("Example.COM", "Example.COM"),
        ("faß.de", "xn--fa-hia.de"),  # IDNA 2003 would say fass.de, another domain
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("\uff11\uff12\uff13.com", "123.com"),
        ("_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"),
    ],
)
def test_domains_become_a_labels(domain: str, expected: str) -> None:
    assert to_a_labels(domain) == expected


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        "a.",
        "a..b",
        "a b",
        "ü.",
        "-ü",
        "💩.la",
        "a\u200db",
        "\udcff",
        "x" * 64,
        "ü" * 256,
        "a@ü",
        "[ü]",
        ".".join("x" * 129),
    ],
)
def test_what_is_no_domain_is_a_value_error(domain: str) -> None:
    with pytest.raises(ValueError, match="is not a domain name"):
        to_a_labels(domain)


@given(st.text(max_size=30))
@thorough
def test_any_text_is_a_domain_or_a_value_error(text: str) -> None:
    try:
        written = to_a_labels(text)
    except ValueError:
        return
    assert is_host(written)
    assert to_a_labels(written) == written


def test_keys_fold_the_domain_and_nothing_else() -> None:
    """SES compares local parts exactly and domains without case."""
    assert routing_key("Bill@Example.COM") == "Bill@example.com"
    assert routing_key('"A@B c"@Example.COM') == '"A@B c"@example.com'
    assert routing_key("a@BÜCHER.example") == "a@xn--bcher-kva.example"
    assert routing_key("") == ""


def test_split_is_at_the_last_at() -> None:
    assert split('"a@b"@example.com') == ('"a@b"', "example.com")
    assert split("") == ("", "")


def test_addresses_of_the_configuration() -> None:
    """An operator may write what a client may, without brackets and routes, and hears what is wrong."""
    assert check_address('"bounces"@bücher.example') == "bounces@xn--bcher-kva.example"
    assert check_domain("[127.0.0.1]") == "[127.0.0.1]"
    for text, complaint in {
        "bounces": "'bounces' is not an address; expected user@example.com",
        "<a@example.com>": "is not an address",
        "a b@example.com": "is not an address",
        "a..b@example.com": "'a..b' cannot stand before the @",
        "ü@example.com": "'ü' cannot stand before the @",
        "a@example.com.": "'example.com.' is not a domain name",
        "a" * 65 + "@example.com": "before the @ is longer than 64 octets",
        f"{'a' * 64}@{DOMAIN_189}c": "longer than 254 octets",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            check_address(text)
