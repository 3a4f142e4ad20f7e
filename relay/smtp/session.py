"""The SMTP dialogue: one command after the other, one reply for each.

Owns the command loop and the commands (RFC 5321 section 4.1, RFC 3207, RFC 4954). Guarantees that an exception
anywhere becomes 451 with a generic text and an empty envelope, that a session with too many errors ends, and
that nothing that might be a password is logged. What MAIL, RCPT and a message mean is `relay.smtp.handler`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from relay import replies
from relay.errors import Rejection
from relay.model import Reply
from relay.smtp import sasl
from relay.smtp.auth import AuthTrouble, TooManyLogins
from relay.smtp.door import Door
from relay.smtp.host import Host
from relay.smtp.protocol import AUTH_LINE_BYTES, SmtpProtocol

_PARTING_S = 1.0  # in a drain, time for the QUIT of a client whose message is done: some take 421 for a failure
_GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
# What is a command for certain, and no line of a message that came uninvited.
_SHOWN_WHOLE = re.compile(rb"(?:EHLO|HELO) [^\s]*$|MAIL FROM:|RCPT TO:", re.IGNORECASE)
_BEFORE_TLS = frozenset({b"EHLO", b"HELO", b"NOOP", b"QUIT", b"STARTTLS", b"RSET", b"HELP"})
# Browsers and scanners: nobody is there who would understand an answer.
# What no client of ours says first: a browser, or a proxy whose header is not believed and would make its own address
# the sender's.
_FOREIGN = {
    **dict.fromkeys(
        (b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE"), replies.NOT_HTTP
    ),
    b"PROXY": replies.NOT_FROM_PROXIES,
}


class Session(SmtpProtocol):
    """One client's session."""

    def __init__(self, host: Host, door: Door) -> None:
        super().__init__(host, door)
        self._errors_left = host.max_errors
        self._logins_left = host.max_auth_failures

    async def converse(self) -> None:
        """From the greeting to the end."""
        self.say_raw(f"220 {self.hostname} {self.__ident__}\r\n".encode("ascii"))
        while self.transport is not None and not self.transport.is_closing():
            line = b""
            try:
                line = await self.next_line()
                await self._command(line)
            except asyncio.IncompleteReadError:  # the client has said all it had to say
                self.flush()
                return
            except Rejection as refused:
                self._refuse(refused.reply, line)
            except OSError:  # the network's, or a TLS handshake's: there is nobody to answer
                raise
            except Exception as error:  # noqa: BLE001 - the last line of defence: our faults are never permanent
                self._host.journal.internal_error(self.dialogue.client.session, error)
                self._set_rset_state()
                self._refuse(replies.INTERNAL, line)
            self._part_if_it_is_time()

    def _part_if_it_is_time(self) -> None:
        if self._errors_left <= 0 or self._logins_left <= 0:
            self._host.journal.session_closed(self.dialogue.client, replies.TOO_MANY_ERRORS)
            self.hang_up(replies.TOO_MANY_ERRORS)
        elif self._draining and not self.dialogue.in_transaction:
            self.loop.call_later(_PARTING_S, self.hang_up, replies.SHUTTING_DOWN)

    async def _command(self, line: bytes) -> None:
        word, _, argument = line.partition(b" ")
        verb = word.upper()
        if self._draining and not self.dialogue.in_transaction and verb != b"QUIT":
            self.hang_up(replies.SHUTTING_DOWN)
            return
        if verb in _FOREIGN:
            self._host.journal.session_closed(self.dialogue.client, _FOREIGN[verb])
            self.hang_up(_FOREIGN[verb])
            return
        if self._door.require_tls and not self.over_tls and verb not in _BEFORE_TLS:
            raise Rejection(replies.NEED_TLS)
        method = _COMMANDS.get(verb)
        if method is not None:
            await method(self, argument.strip().decode("ascii", "surrogateescape") or None)
            return
        fixed = replies.FIXED.get(verb, replies.COMMAND_UNKNOWN)
        if not fixed.positive:
            raise Rejection(fixed)
        self.say(fixed)

    def _refuse(self, reply: Reply, line: bytes) -> None:
        self._host.journal.refused(self.dialogue.client, reply, _loggable(line))
        self._errors_left -= reply.code >= 500
        self.say(reply)

    # Greeting

    async def smtp_HELO(self, hostname: str | None) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greet(hostname, extended=False)
        self.say_raw(f"250 {self.hostname}\r\n".encode("ascii"))

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """RFC 5321 section 4.1.1.1: what is offered is exactly what is there."""
        self._greet(hostname, extended=True)
        offers = [f"SIZE {self.dialogue.message_bytes}", "PIPELINING", "8BITMIME"]
        if self._door.tls == "starttls" and not self.over_tls:
            offers.append("STARTTLS")
        if self._offers_auth():
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{offer}\r\n" for offer in (self.hostname, *offers)]
        self.say_raw("".join([*lines, "250 ENHANCEDSTATUSCODES\r\n"]).encode("ascii"))

    def _greet(self, hostname: str | None, *, extended: bool) -> None:
        if not hostname:
            raise Rejection(replies.SYNTAX_HELO)
        self._set_rset_state()
        self.session.extended_smtp = extended
        self.session.host_name = hostname
        self.dialogue.hello(hostname)

    def _need_helo(self) -> None:
        if not self.session.host_name:
            raise Rejection(replies.NEED_HELO)

    # Mail

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.2."""
        self._need_helo()
        try:
            self.say(self.dialogue.mail(_raw(arg)))
        except Rejection as refused:
            raise Rejection(self._hint(refused.reply)) from None

    def _hint(self, reply: Reply) -> Reply:
        """Nobody's client may become somebody's by logging in, where that is possible."""
        if reply != replies.NOT_A_CLIENT or not self._host.logins:
            return reply
        if self._offers_auth():
            return replies.NEED_AUTH
        return replies.NEED_TLS_FOR_AUTH if self._door.tls == "starttls" and not self.over_tls else reply

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.3."""
        self._need_helo()
        self.say(self.dialogue.recipient(_raw(arg)))

    async def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.4: take the message, hand it on, say what became of it."""
        self._need_helo()
        if arg:
            raise Rejection(replies.SYNTAX_NO_ARGUMENT)
        self.dialogue.check_data()
        self.say_raw(_GO_AHEAD)
        self.flush()
        try:
            reply = await self._message()
        finally:
            self.end_of_message()
            self._set_rset_state()
        if reply.positive:
            self._errors_left = self._host.max_errors
        self.say(reply)

    async def _message(self) -> Reply:
        collector = await self.collect()
        try:
            return await self.dialogue.message(collector)
        finally:
            self._host.release(collector)  # unless it has been handed on

    async def smtp_RSET(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.5."""
        if arg:
            raise Rejection(replies.SYNTAX_NO_ARGUMENT)
        self._set_rset_state()
        self.say(replies.OK)

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: ARG002 - nobody gains from an error here
        """RFC 5321 section 4.1.1.10."""
        self.hang_up(replies.BYE)

    # TLS and logins

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """RFC 3207."""
        if self.over_tls:
            raise Rejection(replies.ALREADY_TLS)
        if self._door.tls != "starttls":
            raise Rejection(replies.TLS_NOT_OFFERED)
        if arg:
            raise Rejection(replies.SYNTAX_NO_ARGUMENT)
        self.say(replies.READY_FOR_TLS)
        await self.begin_tls()

    async def smtp_AUTH(self, arg: str | None) -> None:
        """RFC 4954, with PLAIN and LOGIN."""
        self._need_helo()
        self._check_auth(arg)
        login = await self._ask(arg or "")
        # Shielded: who goes away without waiting is still in the log, with what was found.
        refusal = await asyncio.shield(self._host.see_through(self._refusal_of(login)))
        if refusal is not None:
            raise Rejection(refusal)
        self.dialogue.log_in(login.user)
        self.say(replies.LOGGED_IN)

    async def _refusal_of(self, login: sasl.Login) -> Reply | None:
        """Check a login and write down what came of it; None when it is right."""
        client, journal = self.dialogue.client, self._host.journal
        try:
            right = await self._host.logins.check(login.user, login.password, client.peer)
        except AuthTrouble as trouble:
            self._logins_left -= isinstance(trouble, TooManyLogins)  # what is our own fault costs no client its budget
            journal.login_unchecked(client, login.user, trouble.reason)
            return replies.LOGIN_TROUBLE
        if right:
            return None
        self._logins_left -= 1
        journal.login_failed(client, login.user)
        return replies.BAD_LOGIN

    def _check_auth(self, arg: str | None) -> None:
        if not self._host.logins:
            raise Rejection(replies.AUTH_NOT_OFFERED)
        if not self._offers_auth():
            raise Rejection(replies.AUTH_NEEDS_TLS)
        if self.dialogue.client.user or self.dialogue.in_transaction:
            raise Rejection(replies.AUTH_OUT_OF_TURN)
        if not arg:
            raise Rejection(replies.SYNTAX_AUTH)

    def _offers_auth(self) -> bool:
        return bool(self._host.logins) and self._door.takes_logins(self.dialogue.peer, tls=self.over_tls)

    async def _ask(self, argument: str) -> sasl.Login:
        """The exchange of a mechanism, line by line; raises Rejection."""
        mechanism, answer = sasl.start(argument)
        try:
            question = next(mechanism)
            while True:
                if answer is None:
                    self.say_raw(sasl.challenge(question))
                    answer = sasl.decode(await self.next_line(AUTH_LINE_BYTES))
                question = mechanism.send(answer)
                answer = None
        except StopIteration as done:
            login: sasl.Login = done.value
            return login


_Method = Callable[[Session, str | None], Awaitable[None]]
_COMMANDS: dict[bytes, _Method] = {
    b"EHLO": Session.smtp_EHLO,
    b"HELO": Session.smtp_HELO,
    b"MAIL": Session.smtp_MAIL,
    b"RCPT": Session.smtp_RCPT,
    b"DATA": Session.smtp_DATA,
    b"RSET": Session.smtp_RSET,
    b"QUIT": Session.smtp_QUIT,
    b"STARTTLS": Session.smtp_STARTTLS,
    b"AUTH": Session.smtp_AUTH,
}


def _loggable(line: bytes) -> str:
    """A refused command for the log: arguments only where they cannot be a password (RFC 4954 sends them in lines)."""
    verb = line.partition(b" ")[0].upper()
    if _SHOWN_WHOLE.match(line):
        return line[:512].decode("ascii", "backslashreplace")
    return verb.decode("ascii") if verb in _COMMANDS or verb in replies.FIXED else f"unknown, {len(line)} bytes"


def _raw(arg: str | None) -> bytes:
    return (arg or "").encode("ascii", "surrogateescape")
