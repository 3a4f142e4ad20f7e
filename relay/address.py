"""Envelope addresses: RFC 5321 paths, parsed from the raw bytes of a command.

Owns the syntax of addresses. Guarantees that an address is printable ASCII, that its local part stands as the
client wrote it less quoting it does not need (RFC 5321 section 4.1.2 asks for the least), so that one mailbox
has one spelling, and that its domain stands in the client's own case, or as A-labels where it was written
in Unicode. Source routes are dropped (appendix F.2).

Tolerates what old applications do and common servers take: blanks after the colon, an address without angle
brackets, `_` in domains. Refuses comments, control characters, an unclosed bracket, dots that lead, follow or
touch each other, a missing domain (`<postmaster>`, `<root>`: SES cannot take them), `""` before the @ (it names
nobody, and some readers skip it), encoded-words (RFC 2047 section 5 permits none in an address, and readers that
decode them find another address), and whatever is longer than RFC 5321 section 4.5.3.1 permits. `xn--` labels are
checked as host names only: SES decides on the rest. Every pattern works in linear time.
"""

import re
from ipaddress import IPv4Address, IPv6Address

import idna

from relay.errors import Rejection
from relay.replies import BAD_RECIPIENT, BAD_SENDER, NON_ASCII_LOCAL_PART

_LOCAL_OCTETS = 64
ADDRESS_OCTETS = 254  # a path of 256 octets less its angle brackets
_PATH_OCTETS = 256
_DOMAIN_OCTETS = 255
_BLANKS = b" \t"

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_DOT_ATOM = rf"{ATOM}(?:\.{ATOM})*"
_LABEL = r"(?![A-Za-z0-9_-]{64})[A-Za-z0-9_]++(?:-++[A-Za-z0-9_]++)*"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"

# What nearly every client sends: one match decides.
USUAL = rf"(?![^@]{{{_LOCAL_OCTETS + 1}}}){_DOT_ATOM}@{_HOST}"
_USUAL = re.compile(rf"[ \t]*+<({USUAL})>(?![^ \t])".encode("ascii"))
_NULL = re.compile(rb"[ \t]*+<>(?![^ \t])")

# The rest is first cut into its parts, loosely, and then each part is checked.
_MAILBOX = (
    r"(?P<local>\"(?:[^\"\\]++|\\.)*\"|[^\"@<> \t]++)"
    r"@(?P<domain>\[[^\[\]<> \t]*+\]|[^\[\]@<> \t]++)"
)
_PATH = re.compile(rf"[ \t]*+(?P<path>(?P<open><?)(?:(?P<route>@[^:\"<> \t]++):)?{_MAILBOX}(?P<close>>?))(?![^ \t])")
_ADDRESS = re.compile(_MAILBOX)
_LOCAL = re.compile(_DOT_ATOM)
_QUOTED = re.compile(r"\"((?:[ !#-\[\]-~]|\\[ -~])+)\"")
_QUOTED_PAIR = re.compile(r"\\(.)")
_DOMAIN = re.compile(_HOST)
_ENCODED_WORD = re.compile(r"=\?.*\?=")
_ROUTE = re.compile(rf"@{_HOST}(?:,@{_HOST})*")


def parse_path(argument: bytes, *, null: bool) -> tuple[str, bytes]:
    """Parse what follows `FROM:` (null=True) or `TO:` (null=False) in a MAIL or RCPT command.

    Args:
        argument: The raw bytes after the colon, without the line's end.
        null: Whether this is a sender, so that `<>` is a path.

    Returns:
        The address, "" for `<>`, and the parameters: the bytes after the path, unexamined, without the blanks around.

    Raises:
        Rejection: BAD_SENDER or BAD_RECIPIENT; NON_ASCII_LOCAL_PART for 8-bit before the @.
    """
    match = _USUAL.match(argument)
    if match and len(match[1]) <= ADDRESS_OCTETS and b"=?" not in match[1]:
        return match[1].decode("ascii"), argument[match.end() :].strip(_BLANKS)
    match = _NULL.match(argument)
    if match and null:
        return "", argument[match.end() :].strip(_BLANKS)
    try:
        return _parse_unusual(argument)
    except ValueError:
        raise Rejection(BAD_SENDER if null else BAD_RECIPIENT) from None


def _parse_unusual(argument: bytes) -> tuple[str, bytes]:
    """Parse quoted local parts, routes, literals, Unicode domains and paths without brackets."""
    text = argument.decode("utf-8", "surrogateescape")
    match = _PATH.match(text)
    if not match or bool(match["open"]) != bool(match["close"]):
        raise ValueError("not a path")
    if match["route"] and not _ROUTE.fullmatch(match["route"]):
        raise ValueError("not a source route")
    if len(_octets(match["path"])) > _PATH_OCTETS:
        raise ValueError("path too long")
    if not match["local"].isascii():
        raise Rejection(NON_ASCII_LOCAL_PART)
    return join(match["local"], match["domain"]), _octets(text[match.end() :]).strip(_BLANKS)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def check_address(text: str) -> str:
    """Return the canonical form of an address of the configuration; ValueError in words for an operator."""
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an address; expected user@example.com")
    return join(match["local"], match["domain"])


def join(local: str, domain: str) -> str:
    """Make the canonical address of a local part (dot-atom or quoted string) and a domain or address literal.

    Raises:
        ValueError: One of them is malformed or too long (RFC 5321 sections 4.1.2, 4.1.3 and 4.5.3.1).
    """
    address = f"{_canonical_local(local)}@{check_domain(domain)}"
    if len(address) > ADDRESS_OCTETS:
        raise ValueError(f"the address is longer than {ADDRESS_OCTETS} octets")
    return address


def check_domain(domain: str) -> str:
    """Return a domain as A-labels in its own case, or an address literal in its shortest form; else ValueError."""
    return _literal(domain) if domain.startswith("[") else to_a_labels(domain)


def split(address: str) -> tuple[str, str]:
    """Split a canonical address into local part and domain, at the last @: a quoted local part may hold others."""
    local, _, domain = address.rpartition("@")
    return local, domain


def routing_key(address: str) -> str:
    """The form in which addresses compare: the local part exactly, the domain as A-labels without case.

    Raises:
        ValueError: The domain is written in Unicode and is not a domain name.
    """
    local, at, domain = address.rpartition("@")
    if not domain.isascii():
        domain = to_a_labels(domain)
    return local + at + domain.lower()


def to_a_labels(domain: str) -> str:
    """Write a domain as A-labels (IDNA 2008 by UTS #46, non-transitional); an ASCII domain is returned as it is.

    Raises:
        ValueError: Not a domain name: empty or overlong label, dot at the end, a character that hosts do not have.
    """
    if len(domain) <= _DOMAIN_OCTETS:
        written = domain if domain.isascii() else _from_unicode(domain)
        if len(written) <= _DOMAIN_OCTETS and _DOMAIN.fullmatch(written):
            return written
    raise ValueError(f"{domain!r} is not a domain name")


def _from_unicode(domain: str) -> str:
    """Map by UTS #46, then encode label by label: ASCII labels keep the tolerance for `_`."""
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split("."))
    except UnicodeError as error:
        raise ValueError(f"{domain!r} is not a domain name: {error}") from None


def _canonical_local(local: str) -> str:
    quoted = _QUOTED.fullmatch(local)
    if quoted:
        content = _QUOTED_PAIR.sub(r"\1", quoted[1])
        local = content if _LOCAL.fullmatch(content) else _quote(content)
    elif not _LOCAL.fullmatch(local):
        raise ValueError(f"{local!r} cannot stand before the @")
    if len(local) > _LOCAL_OCTETS:
        raise ValueError(f"the part before the @ is longer than {_LOCAL_OCTETS} octets")
    if _ENCODED_WORD.search(local):
        raise ValueError("an encoded-word stands before the @")
    return local


def _quote(content: str) -> str:
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _literal(domain: str) -> str:
    """Check an address literal (RFC 5321 section 4.1.3) and write its address in the shortest form."""
    tag, colon, address = domain[1:-1].partition(":")
    if not colon:
        return f"[{IPv4Address(tag)}]"
    if tag.lower() != "ipv6" or "%" in address:
        raise ValueError(f"{domain!r} is not an address literal")
    return f"[IPv6:{IPv6Address(address)}]"
