"""ESMTP parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11): which are known, tolerated or refused.

Real servers send `AUTH=` (RFC 4954) and the DSN parameters (RFC 3461) whether we offer them or not, so those
are taken; of them only NOTIFY=NEVER means anything here. What would change the meaning of the message and is
not offered (SMTPUTF8, BINARYMIME) is refused, as is every name we do not know.
"""

from dataclasses import dataclass

from relay import replies
from relay.errors import Rejection

_MAIL_TOLERATED = frozenset({b"AUTH", b"RET", b"ENVID"})
_RCPT_TOLERATED = frozenset({b"ORCPT", b"NOTIFY"})
_SIZE_DIGITS = 20  # RFC 1870 section 4


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL declared; `size` is in bytes, 0 when it was not given (RFC 1870)."""

    size: int = 0
    eight_bit: bool = False


_NONE_GIVEN = MailParameters()


def mail_parameters(rest: bytes) -> MailParameters:
    """Read what follows the sender's address; raises Rejection."""
    if not rest:
        return _NONE_GIVEN
    size, eight_bit = 0, False
    for name, value in _pairs(rest):
        if name == b"SIZE":
            size = _size(value)
        elif name == b"BODY":
            eight_bit = _body(value)
        elif name == b"SMTPUTF8":
            raise Rejection(replies.PARAMETER_REFUSED)
        elif name not in _MAIL_TOLERATED:
            raise Rejection(replies.PARAMETER_UNKNOWN)
    return MailParameters(size, eight_bit)


def wants_silence(rest: bytes) -> bool:
    """Whether what follows a recipient's address says NOTIFY=NEVER (RFC 3461 section 4.1); raises Rejection."""
    silent = False
    for name, value in _pairs(rest):
        if name not in _RCPT_TOLERATED:
            raise Rejection(replies.PARAMETER_UNKNOWN)
        silent |= name == b"NOTIFY" and value.upper() == b"NEVER"
    return silent


def _pairs(rest: bytes) -> list[tuple[bytes, bytes]]:
    split = (word.partition(b"=") for word in rest.split())
    return [(name.upper(), value) for name, _, value in split]


def _size(value: bytes) -> int:
    if not value.isdigit() or len(value) > _SIZE_DIGITS:
        raise Rejection(replies.SYNTAX_SIZE)
    return int(value)


def _body(value: bytes) -> bool:
    kind = value.upper()
    if kind not in (b"7BIT", b"8BITMIME"):
        raise Rejection(replies.PARAMETER_REFUSED)
    return kind == b"8BITMIME"
