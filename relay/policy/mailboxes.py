"""The mailboxes of a From header: who a message says it is from.

Owns RFC 5322 section 3.4 on raw bytes, as a security check: the addresses found here decide whether a client may
send the message, so whatever another reader of the same header could take for a different address is refused.

Guarantees the addresses in the order they stand, as `relay.address.join` writes them: least quoting, Unicode
domains as A-labels. Linear time.

Takes what real applications write: display names with dots, brackets or raw 8-bit text, encoded words (never
decoded), comments, groups, source routes, empty list elements, and `a@b.example <a@b.example>`.

Refuses blanks and comments inside an address (some readers stop there), an unquoted @ in any other display
name, an @ in a comment, encoded words in an address (RFC 2047 section 5), several or unbalanced angle brackets,
control characters, a CR or LF that does not fold the line, a folded line of blanks only (some readers end the
header section there), a backslash after a byte that is not UTF-8 (in Shift JIS and GBK it may be the half of a
letter), and a field without any mailbox.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relay.address import ADDRESS_OCTETS, ATOM, USUAL, join, routing_key


class _Token(NamedTuple):
    kind: str  # atom, quoted, literal, special, or blank for blanks and comments
    text: str


_BLANK = _Token("blank", " ")

# One address, bare or after a name in plain or quoted ASCII: most fields, decided by one match.
_NAME = rf"(?:{ATOM}|[ \t.]++|\"[ !#-\[\]-~]*+\")*"
_USUAL = re.compile(rf"[ \t]*+(?:({USUAL})|{_NAME}<({USUAL})>)[ \t]*+(?:\r\n)?".encode("ascii"))
_FOLD = re.compile(rb"\r\n(?=[ \t]++[^ \t\r\n])")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HALF_LETTER = re.compile(r"[\udc80-\udcff]\\")
_TOKEN = re.compile(
    rf"(?P<blank>[ \t]++)"
    rf"|(?P<atom>(?:{ATOM}|[^\x00-\x7f]++)+)"
    rf"|(?P<quoted>\"(?:[^\"\\]++|\\.)*\")"
    rf"|(?P<literal>\[[^\[\]\\]*+\])"
    rf"|(?P<special>[<>@,;:.])"
)
_COMMENT_PART = re.compile(r"[^()\\@]++|\\[^@]|[()]")
_BRACKETED_WORDS = re.compile(rf"\[(?:{ATOM}|[^\x00-\x7f]++|[ \t.])*\]")


def parse_mailboxes(value: bytes) -> tuple[str, ...]:
    """Parse the value of a From field, folded by CRLF or not, into its addresses.

    Raises:
        ValueError: Not a mailbox list of RFC 5322, or one that other readers could understand differently.
    """
    usual = _USUAL.fullmatch(value)
    if usual:
        address = (usual[1] or usual[2]).decode("ascii")
        if len(address) <= ADDRESS_OCTETS and "=?" not in address:
            return (address,)
    elements = _elements(_tokens(_unfold(value)))
    mailboxes = tuple(_mailbox(element) for element in elements if element)
    if not mailboxes:
        raise ValueError("no mailbox")
    return mailboxes


def _unfold(value: bytes) -> str:
    """Join folded lines (RFC 5322 section 2.2.3); bytes that are not UTF-8 become lone surrogates."""
    line = _FOLD.sub(b"", value.removesuffix(b"\r\n"))
    if _CONTROLS.search(line):
        raise ValueError("a control character or a line ending that folds nothing")
    text = line.decode("utf-8", "surrogateescape")
    if _HALF_LETTER.search(text):
        raise ValueError("a backslash after a byte that is not UTF-8")
    return text


def _tokens(text: str) -> Iterator[_Token]:
    """Cut into words, specials, and what separates them."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            at = _end_of_comment(text, at)
            yield _BLANK
            continue
        at = match.end()
        yield _BLANK if match.lastgroup == "blank" else _Token(match.lastgroup or "", match[0])


def _end_of_comment(text: str, start: int) -> int:
    """Return where the comment that begins at `start` ends; comments nest, and quoted pairs count for nothing."""
    if text[start] != "(":
        raise ValueError(f"{text[start]!r} is out of place")
    depth, at = 0, start
    while match := _COMMENT_PART.match(text, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        at = match.end()
        if not depth:
            return at
    raise ValueError("a comment with an @ or without an end")


def _elements(tokens: Iterator[_Token]) -> Iterator[list[_Token]]:
    """Yield the elements of the list, inside groups and outside; the names of groups are checked and dropped."""
    group = "none"
    for element, mark in _split(tokens):
        if group == "closed" and element:
            raise ValueError("a group is followed by something else than a comma")
        if mark == ":":
            _check_group_name(element, nested=group == "open")
            group = "open"
            continue
        yield element
        if mark == ";" and group != "open":
            raise ValueError("a semicolon that ends no group")
        group = "closed" if mark == ";" else "open" if group == "open" else "none"
    if group == "open":
        raise ValueError("a group without its semicolon")


def _split(tokens: Iterator[_Token]) -> Iterator[tuple[list[_Token], str]]:
    """Cut at each comma, colon and semicolon that stands outside of angle brackets; yield what ended the piece."""
    piece: list[_Token] = []
    in_angle = False
    for token in tokens:
        mark = token.text if token.kind == "special" else ""
        in_angle = mark == "<" or (in_angle and mark != ">")
        if in_angle or mark not in {",", ":", ";"}:
            piece.append(token)
        else:
            yield _trimmed(piece), mark
            piece = []
    yield _trimmed(piece), ""


def _trimmed(tokens: Sequence[_Token]) -> list[_Token]:
    """Without the blanks and comments around."""
    solid = [at for at, token in enumerate(tokens) if token is not _BLANK]
    return list(tokens[solid[0] : solid[-1] + 1]) if solid else []


def _check_group_name(name: Sequence[_Token], *, nested: bool) -> None:
    if nested or not name or not _is_phrase(name):
        raise ValueError("a colon that opens no group")


def _mailbox(tokens: Sequence[_Token]) -> str:
    """Parse `phrase <address>` or a bare address."""
    opening = _Token("special", "<")
    if opening not in tokens:
        return _address(tokens)
    at = tokens.index(opening)
    phrase, inner = _trimmed(tokens[:at]), _trimmed(tokens[at + 1 : -1])
    if tokens[-1] != _Token("special", ">"):
        raise ValueError("no angle bracket at the end")
    address = _address(_without_route(inner))
    if not _is_phrase(phrase) and routing_key(_address(phrase)) != routing_key(address):
        raise ValueError("the display name looks like another address")
    return address


def _is_phrase(tokens: Sequence[_Token]) -> bool:
    """Whether these are the words of a display name; dots are the obsolete form that everybody writes."""
    return all(_is_word(token) for token in tokens)


def _is_word(token: _Token) -> bool:
    if token.kind == "literal":
        return _BRACKETED_WORDS.fullmatch(token.text) is not None
    return token.kind in {"atom", "quoted", "blank"} or token.text == "."


def _without_route(tokens: Sequence[_Token]) -> Sequence[_Token]:
    """Drop an obsolete route `@a,@b:` (RFC 5322 section 4.4)."""
    colon = _Token("special", ":")
    if colon not in tokens:
        return tokens
    at = tokens.index(colon)
    for hop in "".join(token.text for token in tokens[:at] if token is not _BLANK).split(","):
        join("x", hop.removeprefix("@"))
        if not hop.startswith("@"):
            raise ValueError("not a route")
    return _trimmed(tokens[at + 1 :])


def _address(tokens: Sequence[_Token]) -> str:
    """Parse an addr-spec, without blanks and comments inside: RFC 5322 section 4.4 permits them, readers differ."""
    sign = _Token("special", "@")
    if _BLANK in tokens:
        raise ValueError("a blank or a comment inside an address")
    if sign not in tokens:
        raise ValueError("not an address")
    at = tokens.index(sign)
    return join(_dotted(tokens[:at]), _dotted(tokens[at + 1 :]))


def _dotted(tokens: Sequence[_Token]) -> str:
    """Join words that dots stand between; `join` checks the words."""
    if any(token.text != "." for token in tokens[1::2]):
        raise ValueError("two words side by side in an address")
    return "".join(token.text for token in tokens)
