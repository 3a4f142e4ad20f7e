"""The SMTP side: the dialogue of `email-smtp.REGION.amazonaws.com`.

Source: SES developer guide, "Using the Amazon SES SMTP interface to send email". One port serves every region: the
SMTP password is derived for one, so the login tells which. Offers what SES offers, 8BITMIME, SIZE, STARTTLS and
AUTH, and nothing else; refuses identities and content after the final dot, as SES does, and bad addresses at once.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from relay.simulator import rules
from relay.simulator.faults import Faults, HungUp, Occasion, Stage
from relay.simulator.keys import KeyRing
from relay.simulator.reception import Reception
from relay.simulator.refusals import Refused
from relay.simulator.wire import Gone, Idle, Wire
from relay.simulator.words import Caller, Submission

HOSTNAME = "email-smtp.amazonaws.com"

_PATH = re.compile(rb"(?:FROM|TO):\s*<((?:\"(?:[^\"\\]|\\.)*\"|[^<>\"])*)>\s*(.*)", re.IGNORECASE | re.DOTALL)
_PARAMETERS = re.compile(rb"SIZE=[0-9]+|BODY=(?:7BIT|8BITMIME)|AUTH=\S+", re.IGNORECASE)
_USABLE_DOMAIN = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)+[A-Za-z0-9-]{2,}|\[[^\]]+\]")

_WRONG_LOGIN = "535 Authentication Credentials Invalid"
_TOO_LONG = "552 Message is too long."
_BAD_SEQUENCE = "503 Bad sequence of commands"


@dataclass(frozen=True, slots=True)
class Smtp:
    """What every session needs; `tls_required` False lets clients log in without TLS, which SES never does."""

    reception: Reception
    ring: KeyRing
    faults: Faults
    context: ssl.SSLContext
    tls_required: bool = True

    async def serve(self, wire: Wire, *, tls: bool) -> None:
        """One session, from greeting to goodbye."""
        session = _Session(self, wire, tls=tls)
        try:
            await session.run()
        except Idle:
            wire.send("451 4.4.2 Timeout waiting for data from client.")
        except HungUp:
            wire.abort()
        except Gone:
            pass


class _Session:
    """The dialogue with one client."""

    def __init__(self, smtp: Smtp, wire: Wire, *, tls: bool) -> None:
        self._smtp = smtp
        self._wire = wire
        self._tls = tls
        self._greeted = False
        self._caller: Caller | None = None
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._open = True
        self._verbs: dict[bytes, Callable[[bytes], Awaitable[tuple[str, ...]]]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._ehlo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
            b"NOOP": self._noop,
            b"QUIT": self._quit,
        }

    async def run(self) -> None:
        """Greet, then one reply per command until somebody ends it."""
        try:
            await self._strike("connect")
        except Refused as refusal:
            self._wire.send(refusal.reply)
            return
        self._wire.send(f"220 {HOSTNAME} ESMTP SimpleEmailService-simulator")
        while self._open:
            verb, _, argument = (await self._wire.line()).partition(b" ")
            handler = self._verbs.get(verb.upper(), self._unknown)
            try:
                reply = await handler(argument.strip())
            except Refused as refusal:
                reply = (refusal.reply,)
            if reply:
                self._wire.send(*reply)

    async def _strike(self, stage: Stage, sender: str = "", recipient: str = "") -> None:
        region = self._caller.region if self._caller else ""
        recipients = (recipient,) if recipient else ()
        await self._smtp.faults.strike(Occasion(stage, "smtp", region, sender, recipients))

    async def _ehlo(self, argument: bytes) -> tuple[str, ...]:
        if not argument:
            return ("501 Invalid HELO/EHLO argument",)
        self._greeted = True
        self._reset()
        extensions = ["250-8BITMIME", f"250-SIZE {rules.MAX_BYTES['smtp']}"]
        if not self._tls:
            extensions.append("250-STARTTLS")
        if self._tls or not self._smtp.tls_required:
            extensions.append("250-AUTH PLAIN LOGIN")
        return (f"250-{HOSTNAME}", *extensions, "250 Ok")

    async def _starttls(self, argument: bytes) -> tuple[str, ...]:
        if self._tls or argument:
            return (_BAD_SEQUENCE if self._tls else "501 STARTTLS takes no argument",)
        self._wire.send("220 Ready to start TLS")
        await self._wire.start_tls(self._smtp.context)
        self._tls = True
        self._greeted = False
        self._reset()
        return ()

    async def _auth(self, argument: bytes) -> tuple[str, ...]:
        if not self._tls and self._smtp.tls_required:
            return ("530 Must issue a STARTTLS command first",)
        if not self._greeted or self._caller is not None:
            return (_BAD_SEQUENCE,)
        mechanism, _, initial = argument.partition(b" ")
        login = {b"PLAIN": self._plain, b"LOGIN": self._login}.get(mechanism.upper())
        if login is None:
            return ("504 Unrecognized authentication type",)
        try:
            username, password = await login(initial)
        except ValueError:
            return ("501 Invalid base64 data",)
        await self._strike("auth")
        caller = self._smtp.ring.login(username, password)
        self._caller = caller and replace(caller, source_ip=self._wire.peer)
        return ("235 Authentication successful." if self._caller else _WRONG_LOGIN,)

    async def _plain(self, initial: bytes) -> tuple[str, str]:
        """RFC 4616: authorization id, user and password, parted by NULs."""
        parts = (_base64(initial) if initial else await self._ask("334 ")).split("\0")
        return (parts[1], parts[2]) if len(parts) == 3 else ("", "")

    async def _login(self, initial: bytes) -> tuple[str, str]:
        username = _base64(initial) if initial else await self._ask("334 VXNlcm5hbWU6")
        return username, await self._ask("334 UGFzc3dvcmQ6")

    async def _ask(self, challenge: str) -> str:
        self._wire.send(challenge)
        return _base64(await self._wire.line())

    async def _mail(self, argument: bytes) -> tuple[str, ...]:
        if self._caller is None:
            tls_missing = not self._tls and self._smtp.tls_required
            return ("530 Must issue a STARTTLS command first" if tls_missing else "530 Authentication required",)
        if self._sender is not None:
            return (_BAD_SEQUENCE,)
        address, parameters = _path(argument)
        if not _USABLE_DOMAIN.fullmatch(address.rpartition("@")[2]) or not _is_address(address):
            return ("501 Invalid MAIL FROM address provided",)
        for parameter in parameters:
            if not _PARAMETERS.fullmatch(parameter):
                return ("555 MAIL FROM parameters not recognized or not implemented",)
            if parameter.upper().startswith(b"SIZE=") and int(parameter[5:]) > rules.MAX_BYTES["smtp"]:
                return (_TOO_LONG,)
        await self._strike("mail", address)
        self._sender = address
        return ("250 Ok",)

    async def _rcpt(self, argument: bytes) -> tuple[str, ...]:
        if self._sender is None:
            return (_BAD_SEQUENCE,)
        address, parameters = _path(argument)
        if not _is_address(address):
            return (f"553 <{address}> Invalid email address",)
        if parameters:
            return ("555 RCPT TO parameters not recognized or not implemented",)
        await self._strike("rcpt", self._sender, address)
        self._recipients.append(address)
        return ("250 Ok",)

    async def _data(self, argument: bytes) -> tuple[str, ...]:
        if self._caller is None or self._sender is None or not self._recipients or argument:
            return (_BAD_SEQUENCE,)
        self._wire.send("354 End data with <CR><LF>.<CR><LF>")
        raw = await self._wire.message(rules.MAX_BYTES["smtp"])
        caller, sender, recipients = self._caller, self._sender, tuple(self._recipients)
        self._reset()
        if raw is None:
            return (_TOO_LONG,)
        message_id = await self._smtp.reception.accept(Submission("smtp", caller, sender, recipients, raw))
        return (f"250 Ok {message_id}",)

    async def _rset(self, _: bytes) -> tuple[str, ...]:
        self._reset()
        return ("250 Ok",)

    async def _noop(self, _: bytes) -> tuple[str, ...]:
        return ("250 Ok",)

    async def _quit(self, _: bytes) -> tuple[str, ...]:
        self._open = False
        return ("221 Bye",)

    async def _unknown(self, _: bytes) -> tuple[str, ...]:
        return ("500 Unrecognized command",)

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []


def _base64(text: bytes) -> str:
    """The decoded answer; ValueError also for "*", by which a client gives up."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except binascii.Error:
        raise ValueError("not base64") from None


def _path(argument: bytes) -> tuple[str, list[bytes]]:
    """Address and parameters of MAIL or RCPT; the address is "" where it cannot be found."""
    match = _PATH.fullmatch(argument)
    if match is None:
        return "", []
    return match[1].decode("ascii", "replace"), match[2].split()


def _is_address(text: str) -> bool:
    try:
        return rules.check_address(text) == text
    except Refused:
        return False
