"""What a session must answer, line by line: a small model of the listener, from the RFCs and the reply contract.

RFC 5321 (order, resets), RFC 3207 (STARTTLS forgets all), RFC 4954 (AUTH), RFC 2920 (any grouping of lines gets the
same replies). It knows the configuration of `House` and no socket; `tests/smtp/test_session_machine.py` holds the
real listener to it.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

HOST = "relay.test"
MESSAGE_BYTES = 1000
RECIPIENTS = 3
GUESSES = 2  # different wrong logins of one address, after which no new one of it is checked any more
LOOKS = 1  # other logins of a closed address that are compared to those that were right there
USERS = {"billing": b"correct horse"}
BROKEN_USER = "broken"  # whose hash cannot be checked
BILLING_SENDERS = ("billing@example.com", "@invoices.example.com")
IDENTITIES = ("invoices.example.com", "example.com")  # the more specific first
OUTCOMES = {"delivered": "250 2.0.0", "refused": "554 5.7.1", "deferred": "451 4.3.5", "raises": "451 4.3.0"}

ALWAYS = {b"NOOP": "250 2.0.0", b"HELP": "214 2.0.0", b"VRFY": "252 2.5.0"}
NEVER = {b"EXPN": "502 5.5.1"}
IN_CLEAR = {b"EHLO", b"HELO", b"NOOP", b"QUIT", b"STARTTLS", b"RSET", b"HELP"}  # what `require_tls` leaves
MALFORMED = {
    b"MAIL FROM:<bad": "553 5.1.7",
    b"MAIL app@example.com": "501 5.5.4",
    b"MAIL FROM:<app@example.com> SMTPUTF8": "555 5.5.4",
    b"MAIL FROM:<app@example.com> SIZE=x": "501 5.5.4",
    b"RCPT TO:<bad@>": "553 5.1.3",
    b"RCPT ann@example.org": "501 5.5.4",
    b"RCPT TO:<ann@example.org> X=1": "555 5.5.4",
}


@dataclass(frozen=True, slots=True)
class House:
    """What the operator has configured, as far as one client is concerned."""

    tls: Literal["none", "starttls", "implicit"]
    require_tls: bool
    logins: bool  # there are users
    clear_logins: bool  # this client may say a password without TLS
    known_place: bool  # there is an entry of `clients` for where it comes from
    errors: int
    login_failures: int
    peer: str


@dataclass
class History:
    """What all sessions of one listener leave behind."""

    wrong: set[tuple[str, str, bytes]] = field(default_factory=set)  # address, user and password of wrong logins
    right: set[tuple[str, str, bytes]] = field(default_factory=set)  # and of right ones
    looks: set[tuple[str, str, bytes]] = field(default_factory=set)  # and of those that were only compared
    messages: list[tuple[str, str | None, str]] = field(default_factory=list)  # peer, user and sender of each
    parcels: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)  # sender, recipients, identity


@dataclass
class Session:
    """One connection: `hear` takes a line of the client and returns the replies to it."""

    house: House
    history: History
    outcome: str = "delivered"  # what SES says to the next message
    mode: Literal["command", "auth", "data", "handshake", "closed"] = "command"
    greeted: bool = False
    user: str | None = None
    sender: str | None = None
    recipients: dict[str, None] = field(default_factory=dict)
    content: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    mechanism: str = ""

    def __post_init__(self) -> None:
        self.encrypted = self.house.tls == "implicit"
        self.errors_left, self.failures_left = self.house.errors, self.house.login_failures

    def hear(self, line: bytes) -> list[str]:
        """The replies to one line, each the beginning of what the listener says; in "closed" nothing is heard."""
        if self.mode in ("closed", "handshake"):
            return []
        hearer = {"command": self._command, "auth": self._answer, "data": self._data}[self.mode]
        replies = hearer(line)
        if self.mode == "command" and (self.errors_left <= 0 or self.failures_left <= 0):
            self.mode = "closed"
            replies.append("421 4.7.0")
        return replies

    def shake_hands(self) -> None:
        """TLS has begun: everything is to be said again."""
        self.mode, self.encrypted, self.greeted, self.user = "command", True, False, None
        self._forget()

    @property
    def offers_auth(self) -> bool:
        """Whether AUTH is to be had now."""
        return self.house.logins and (self.encrypted or (self.house.clear_logins and not self.house.require_tls))

    def _forget(self) -> None:
        self.sender, self.recipients = None, {}

    def _refuse(self, reply: str) -> list[str]:
        self.mode = "command"
        self.errors_left -= reply.startswith("5")
        return [reply]

    def _command(self, line: bytes) -> list[str]:
        if len(line) > (12_286 if line[:5].upper() == b"AUTH " else 2046):
            return self._refuse("500 5.5.2")
        word, _, argument = line.partition(b" ")
        verb = word.upper()
        if verb in {b"GET", b"PROXY"}:
            return self._hang_up()
        if self.house.require_tls and not self.encrypted and verb not in IN_CLEAR:
            return self._refuse("530 5.7.0")
        if verb not in COMMANDS:
            return [ALWAYS[verb]] if verb in ALWAYS else self._refuse(NEVER.get(verb, "500 5.5.2"))
        if COMMANDS[verb] in AFTER_HELLO and not self.greeted:
            return self._refuse("503 5.5.1")
        return COMMANDS[verb](self, line, argument)

    # Greeting, TLS, the end

    def _hello(self, line: bytes, argument: bytes) -> list[str]:
        if not argument:
            return self._refuse("501 5.5.4")
        self.greeted = True
        self._forget()
        if line[:4].upper() == b"HELO":
            return [f"250 {HOST}"]
        offers = [HOST, f"SIZE {MESSAGE_BYTES}", "PIPELINING", "8BITMIME"]
        offers += ["STARTTLS"] if self.house.tls == "starttls" and not self.encrypted else []
        offers += ["AUTH PLAIN LOGIN"] if self.offers_auth else []
        return ["\n".join(f"250-{offer}" for offer in offers) + "\n250 ENHANCEDSTATUSCODES"]

    def _reset(self, _: bytes, argument: bytes) -> list[str]:
        if argument:
            return self._refuse("501 5.5.4")
        self._forget()
        return ["250 2.0.0"]

    def _quit(self, *_: bytes) -> list[str]:
        self.mode = "closed"
        return ["221 2.0.0"]

    def _hang_up(self) -> list[str]:
        self.mode = "closed"
        return ["421 4.7.0"]

    def _starttls(self, _: bytes, argument: bytes) -> list[str]:
        if self.encrypted:
            return self._refuse("503 5.5.1")
        if self.house.tls == "none":
            return self._refuse("502 5.5.1")
        if argument:
            return self._refuse("501 5.5.4")
        self.mode = "handshake"
        return ["220 2.0.0"]

    # Logins

    def _auth(self, _: bytes, argument: bytes) -> list[str]:
        name, _, initial = argument.partition(b" ")
        refusal = self._no_auth(name.upper())
        if refusal:
            return self._refuse(refusal)
        self.mode, self.mechanism, self.answers = "auth", name.decode().upper(), []
        if not initial:
            return ["334"]
        return self._take(b"") if initial == b"=" else self._answer(initial)

    def _no_auth(self, name: bytes) -> str | None:
        if not self.house.logins:
            return "502 5.5.1"
        if not self.offers_auth:
            return "538 5.7.11"
        if self.user or self.sender is not None:
            return "503 5.5.1"
        if not name:
            return "501 5.5.4"
        return None if name in (b"PLAIN", b"LOGIN") else "504 5.5.4"

    def _answer(self, line: bytes) -> list[str]:
        if len(line) > 12_286:
            return self._refuse("500 5.5.2")
        if line == b"*":
            return self._refuse("501 5.7.0")
        try:
            return self._take(b64decode(line, validate=True))
        except Base64Error:
            return self._refuse("501 5.5.2")

    def _take(self, answer: bytes) -> list[str]:
        self.answers.append(answer)
        if self.mechanism == "LOGIN":
            return ["334"] if len(self.answers) == 1 else self._log_in(*self.answers)
        parts = answer.split(b"\0")
        if len(parts) != 3 or parts[0] not in (b"", parts[1]):
            return self._refuse("501 5.5.2")
        return self._log_in(*parts[1:])

    def _log_in(self, user: bytes, password: bytes) -> list[str]:
        if not user or len(password) > 4096:
            return self._refuse("535 5.7.8")
        reply = self._judge_login((self.house.peer, user.decode(), password))
        if reply == "235 2.7.0":
            self.mode, self.user = "command", user.decode()
            return [reply]
        return self._refuse(reply)

    def _judge_login(self, login: tuple[str, str, bytes]) -> str:
        """Who is wrong again hears so again; a closed address only lets in who was right there, and not for ever."""
        history, (peer, user, password) = self.history, login
        closed = _of(history.wrong, peer) >= GUESSES
        if login in history.wrong or (not closed and user != BROKEN_USER and USERS.get(user) != password):
            history.wrong.add(login)
            self.failures_left -= 1
            return "535 5.7.8"
        if not closed and user == BROKEN_USER:
            return "454 4.7.0"
        if not closed or (login in history.right and _of(history.looks, peer) < LOOKS):
            history.right.add(login)
            return "235 2.7.0"
        if (peer, user) in {known[:2] for known in history.right}:
            history.looks.add(login)
        self.failures_left -= 1
        return "454 4.7.0"

    # Mail

    def _mail(self, line: bytes, _: bytes) -> list[str]:
        if self.sender is not None:
            return self._refuse("503 5.5.1")
        refusal = MALFORMED.get(line) or self._stranger() or self._no_sender(line, _address(line))
        if refusal:
            return self._refuse(refusal)
        self.sender = _address(line)
        return ["250 2.1.0"]

    def _no_sender(self, line: bytes, sender: str) -> str | None:
        if b"SIZE=99999" in line:
            return "552 5.3.4"
        if not sender:
            return "550 5.1.7"
        return None if _identity(sender) and self._may_use(sender) else "550 5.7.1"

    def _stranger(self) -> str | None:
        """What nobody's client hears: a login makes it somebody's, and a place does only without one."""
        if self.user or self.house.known_place:
            return None
        if self.offers_auth or (self.house.logins and self.house.tls == "starttls" and not self.encrypted):
            return "530 5.7.0"
        return "550 5.7.1"

    def _may_use(self, address: str) -> bool:
        return self.user is None or any(_matches(pattern, address) for pattern in BILLING_SENDERS)

    def _rcpt(self, line: bytes, _: bytes) -> list[str]:
        if self.sender is None:
            return self._refuse("503 5.5.1")
        if line in MALFORMED:
            return self._refuse(MALFORMED[line])
        recipient = _address(line)
        if recipient.startswith("boom@"):  # where our own code fails
            self._forget()
            return ["451 4.3.0"]
        if recipient.endswith("@denied.test") or (self.user and not recipient.endswith("@example.org")):
            return self._refuse("550 5.7.1")
        if recipient not in self.recipients and len(self.recipients) == RECIPIENTS:
            return self._refuse("452 4.5.3")
        self.recipients[recipient] = None
        return ["250 2.1.5"]

    def _go_ahead(self, _: bytes, argument: bytes) -> list[str]:
        if argument:
            return self._refuse("501 5.5.4")
        if not self.sender or not self.recipients:
            return self._refuse("503 5.5.1")
        self.mode, self.content = "data", []
        return ["354"]

    def _data(self, line: bytes) -> list[str]:
        if line != b".":
            self.content.append(line.removeprefix(b"."))
            return []
        self.mode = "command"
        reply = self._judge(self.sender or "")
        self._forget()
        if reply.startswith("250"):
            self.errors_left = self.house.errors
        return self._refuse(reply) if reply.startswith("552") else [reply]

    def _judge(self, sender: str) -> str:
        """What becomes of a message; what SES or the rules say to its content is no error of the dialogue."""
        if sum(len(line) + 2 for line in self.content) > MESSAGE_BYTES:
            return "552 5.3.4"
        self.history.messages.append((self.house.peer, self.user, sender))
        identity = _identity(sender) or ""
        authors = [_address(line) for line in _header(self.content) if line.startswith(b"From:")]
        if len(authors) > 1:
            return "554 5.6.0"
        if not all(("." + author.partition("@")[2]).endswith("." + identity) for author in authors):
            return "550 5.7.1"
        if not all(map(self._may_use, authors)):
            return "550 5.7.1"
        self.history.parcels.append((sender, tuple(self.recipients), identity))
        return OUTCOMES[self.outcome]


COMMANDS: dict[bytes, Callable[[Session, bytes, bytes], list[str]]] = {
    b"EHLO": Session._hello,
    b"HELO": Session._hello,
    b"RSET": Session._reset,
    b"QUIT": Session._quit,
    b"STARTTLS": Session._starttls,
    b"AUTH": Session._auth,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._go_ahead,
}
AFTER_HELLO = (Session._auth, Session._mail, Session._rcpt, Session._go_ahead)


def _of(logins: set[tuple[str, str, bytes]], peer: str) -> int:
    return sum(login[0] == peer for login in logins)


def _header(content: list[bytes]) -> list[bytes]:
    """The lines up to the empty one; content that does not begin with a field is all body."""
    begins = b" " not in content[0].partition(b":")[0] and b":" in content[0] if content else False
    return content[: content.index(b"")] if begins else []


def _identity(sender: str) -> str | None:
    return next((name for name in IDENTITIES if sender.endswith("@" + name)), None)


def _address(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode("ascii")


def _matches(pattern: str, address: str) -> bool:
    return address.endswith(pattern) if pattern.startswith("@") else address == pattern
