"""The two SASL mechanisms that old applications speak, without I/O: PLAIN (RFC 4616) and LOGIN (a draft, everywhere).

A mechanism is a generator: it yields challenges, is sent the client's decoded answers, and returns the user name
and password. Refuses whatever is malformed with the reply that RFC 4954 section 4 asks for.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Generator
from dataclasses import dataclass, field

from relay import replies
from relay.errors import Rejection

_PASSWORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """What a client claims; the password is in no repr."""

    user: str
    password: bytes = field(repr=False)


Mechanism = Generator[bytes, bytes, Login]


def start(argument: str) -> tuple[Mechanism, bytes | None]:
    """The mechanism that AUTH names, in any case, and its initial response if there is one. Raises Rejection."""
    name, _, initial = argument.partition(" ")
    make = _MECHANISMS.get(name.upper())
    if make is None:
        raise Rejection(replies.AUTH_MECHANISM)
    if not initial.strip():
        return make(), None
    return make(), b"" if initial.strip() == "=" else decode(initial.strip().encode("ascii", "surrogateescape"))


def decode(line: bytes) -> bytes:
    """A client's answer; raises Rejection when it gives up (`*`) or sends no base64."""
    line = line.strip()
    if line == b"*":
        raise Rejection(replies.AUTH_ABORTED)
    try:
        return b64decode(line, validate=True)
    except Base64Error:
        raise Rejection(replies.AUTH_BASE64) from None


def challenge(text: bytes) -> bytes:
    """The line that asks for an answer; the blank stays even when there is nothing after it."""
    return b"334 " + b64encode(text) + b"\r\n"


def _plain() -> Mechanism:
    answer = yield b""
    authorization, _, rest = answer.partition(b"\0")
    user, separator, password = rest.partition(b"\0")
    if not separator or b"\0" in password or authorization not in (b"", user):
        raise Rejection(replies.AUTH_BASE64)
    return _login(user, password)


def _login_mechanism() -> Mechanism:
    user = yield b"Username:"
    password = yield b"Password:"
    return _login(user, password)


def _login(user: bytes, password: bytes) -> Login:
    if not user or len(password) > _PASSWORD_BYTES:
        raise Rejection(replies.BAD_LOGIN)
    return Login(user.decode("utf-8", "backslashreplace")[:255], password)


_MECHANISMS = {"PLAIN": _plain, "LOGIN": _login_mechanism}
