"""Addresses without their local parts, for `log.addresses: masked`.

Guarantees that of what a client or SES wrote before an @ nothing is left, and that of a command that is no well-formed
MAIL or RCPT only the verb is: whatever is malformed may be a name, and nobody can tell where it begins or ends.
"""

from __future__ import annotations

import re

from relay.address import parse_path
from relay.errors import Rejection

_MASK = "***"
# In running text an address begins after a blank or one of the marks. The lookbehind, and a bound far above the 64
# octets of RFC 5321 section 4.5.3.1.1, keep the search linear.
_WORD = r"[^\s<>@,\"]"
_LOCAL_PART = re.compile(rf"(?<!{_WORD})(?:{_WORD}*+\"(?:[^\"\\]|\\.){{0,256}}+\"|{_WORD}++)@")
_COMMAND = re.compile(r"(MAIL FROM|RCPT TO):(.*)", re.IGNORECASE | re.DOTALL)
_HARMLESS = re.compile(r"SIZE=[0-9]{1,20}|BODY=[A-Z0-9]{1,12}|SMTPUTF8|RET=[A-Z]{1,4}", re.IGNORECASE)


def mask_text(text: str) -> str:
    """Running text, such as a reply of SES: each address in it loses its local part."""
    return _LOCAL_PART.sub(f"{_MASK}@", text)


def mask_address(text: str) -> str:
    """An address, or a word that may be one: whatever stands before its last @ goes."""
    _, at, domain = text.rpartition("@")
    return f"{_MASK}@{domain}" if at else text


def mask_command(text: str) -> str:
    """A refused command: MAIL and RCPT keep their domain and what cannot be an address; malformed, their verb alone."""
    command = _COMMAND.fullmatch(text)
    if command is None:
        return mask_text(text)
    verb, argument = command.groups()
    try:
        address, parameters = parse_path(argument.encode("utf-8", "surrogateescape"), null=True)
    except Rejection:
        return f"{verb}:{_MASK}"
    words = parameters.decode("ascii", "replace").split()
    shown = (word if _HARMLESS.fullmatch(word) else _MASK for word in words)
    return " ".join([f"{verb}:<{mask_address(address)}>", *shown])
