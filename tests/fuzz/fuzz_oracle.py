"""Judges one session from outside: the bytes a client sent, the bytes it got, and what SES got meanwhile.

Walks over both at once. Each command line has one reply, a message has one more; the replies decide what happens
next, and SES must have exactly what they promise. What a command deserves is not judged here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import fuzz_reference as reference

from relay.model import Parcel

# What must never be seen in a reply: our insides, and what the fuzz target's SES says when it breaks
INSIDES = re.compile(r"traceback|exception|\.py\b|0x[0-9a-f]{6}|error:|secret|<class|object at", re.IGNORECASE)
_LINE = re.compile(rb"([2345][0-9]{2})([ -])([ -~]*)\r\n")
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3} \S")
_PLAIN = re.compile(rb"\s*<([A-Za-z0-9.+_-]+@[A-Za-z0-9.-]+)>\s*")
_WITHOUT_ENHANCED = (220, 334, 354)  # RFC 2034 section 4 leaves them out


class Finding(AssertionError):
    """The session broke a promise."""


class _NoReply(Finding):
    """A command or a message was not answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply, its last line."""

    code: int
    text: str

    @property
    def closes(self) -> bool:
        """Whether the server hangs up after it."""
        return self.code in (221, 421)


@dataclass
class Judgement:
    """What a session came to."""

    answers: list[Answer]
    accepted: int = 0


@dataclass
class _Transaction:
    sender: bytes | None = None
    recipients: list[bytes] = field(default_factory=list)


def answers_of(received: bytes) -> list[Answer]:
    """Cut what the server sent into replies (RFC 5321 section 4.2); raises Finding for what is none."""
    answers, at, inside = [], 0, b""
    while at < len(received):
        line = _LINE.match(received, at)
        if line is None:
            raise Finding(f"not a reply line: {received[at : at + 200]!r}")
        if inside not in (b"", line[1]):
            raise Finding(f"a reply of two codes: {received!r}")
        at, inside = line.end(), line[1] if line[2] == b"-" else b""
        text = line[3].decode("ascii")
        if INSIDES.search(text):
            raise Finding(f"a reply shows our insides: {text!r}")
        if line[2] == b" ":
            answers.append(Answer(int(line[1]), text))
    if inside:
        raise Finding(f"a reply without its last line: {received[-200:]!r}")
    return answers


def _whole_replies(received: bytes) -> bytes:
    """Without a reply whose last line has not come."""
    ends = [match.end() for match in _LINE.finditer(received) if match[2] == b" "]
    return received[: ends[-1]] if ends else b""


def judge(
    wire: bytes, received: bytes, parcels: Sequence[Parcel], limit: int, *, normalize: bool, cut_short: bool = False
) -> Judgement:
    """Hold a session that was heard to its end against the contract.

    Args:
        wire: All that the client sent.
        received: All that the server sent.
        parcels: What SES accepted, in order.
        limit: `message_bytes`.
        normalize: `line_endings`.
        cut_short: The client met a reset and may not have read the last replies: a server that closes on bytes it
            has not read causes one.
    """
    answers = answers_of(_whole_replies(received) if cut_short else received)
    walk = _Walk(answers, list(parcels), limit, normalize=normalize)
    try:
        walk.whole(wire)
    except _NoReply:
        if cut_short:
            return Judgement(answers, len(parcels))
        raise
    if walk.parcels:
        raise Finding(f"SES has {len(walk.parcels)} messages that no client was told of")
    if walk.answers:
        raise Finding(f"replies to nothing: {walk.answers}")
    return Judgement(answers, len(parcels))


class _Walk:
    def __init__(self, answers: list[Answer], parcels: list[Parcel], limit: int, *, normalize: bool) -> None:
        self.answers = answers[:]
        self.parcels = parcels
        self._limit = limit
        self._normalize = normalize
        self._transaction = _Transaction()

    def whole(self, wire: bytes) -> None:
        """From the greeting to the last complete line, or to the reply that closes."""
        if self._next("the greeting").closes:
            return
        while b"\n" in wire:
            line, _, wire = wire.partition(b"\n")
            line = line.rstrip(b"\r")
            answer = self._next(repr(line[:100]))
            self._check_enhanced(line, answer)
            if answer.closes or (answer.code == 220 and line[:8].upper() == b"STARTTLS"):
                return
            if answer.code == 354:
                rest = self._message(wire, line)
                if rest is None:
                    return
                wire = rest
            else:
                self._note(line, answer)
            if self.answers and self.answers[0].code == 421:  # said of its own accord
                self.answers.pop(0)
                return

    def _next(self, what: str) -> Answer:
        if not self.answers:
            raise _NoReply(f"no reply to {what}")
        return self.answers.pop(0)

    @staticmethod
    def _check_enhanced(line: bytes, answer: Answer) -> None:
        if answer.code in _WITHOUT_ENHANCED or (answer.code == 250 and line[:4].upper() in (b"EHLO", b"HELO")):
            return
        enhanced = _ENHANCED.match(answer.text)
        if not enhanced or enhanced[1] != str(answer.code)[0]:
            raise Finding(f"enhanced code: {answer} to {line[:100]!r}")

    def _note(self, line: bytes, answer: Answer) -> None:
        verb, argument = line[:4].upper(), line.partition(b":")[2]
        if answer.code != 250:
            return
        if verb in (b"EHLO", b"HELO", b"RSET"):
            self._transaction = _Transaction()
        elif verb == b"MAIL":
            if self._transaction.sender is not None:
                raise Finding("a second sender in one transaction")
            self._transaction.sender = argument
        elif verb == b"RCPT":
            if self._transaction.sender is None:
                raise Finding("a recipient without a sender")
            self._transaction.recipients.append(argument)

    def _message(self, wire: bytes, line: bytes) -> bytes | None:
        """Read a message to its end; what follows it, or None when the session ends there."""
        if line.strip().upper() != b"DATA" or not self._transaction.recipients:
            raise Finding(f"354 to {line!r} with {self._transaction}")
        found = reference.content_of(wire)
        if found is None:
            return None
        content, rest = found
        answer = self._next("a message")
        self._check_enhanced(b"", answer)
        if (answer.code == 552) != (len(content) > self._limit) and answer.text[:5] != "4.3.1":
            raise Finding(f"{answer} to a message of {len(content)} bytes")
        if answer.code == 250:
            self._delivered(content, answer)
        self._transaction = _Transaction()
        return None if answer.closes else rest

    def _delivered(self, content: bytes, answer: Answer) -> None:
        if not self.parcels:
            raise Finding(f"{answer} for a message that SES does not have")
        parcel = self.parcels.pop(0)
        if answer.text != f"2.0.0 Ok {parcel.id}":
            raise Finding(f"{answer} for message {parcel.id}")
        _check_envelope(self._transaction, parcel)
        if not self._normalize and reference.has_stray(content):
            raise Finding("accepted: a stray CR or LF")
        try:
            expected = reference.finished(content, parcel.sender)
        except reference.NotAMessage as error:
            raise Finding(f"accepted: {error}") from None
        got = b"".join(bytes(piece) for piece in parcel.content)
        if got not in expected:
            raise Finding(f"SES has {got!r}, expected {min(expected)!r}")


def _check_envelope(transaction: _Transaction, parcel: Parcel) -> None:
    """Plain addresses must be, byte for byte, what the client wrote; no address may hold what ends a line."""
    plain = _PLAIN.fullmatch(transaction.sender or b"")
    if plain and parcel.sender != plain[1].decode():
        raise Finding(f"sender {parcel.sender!r} for {transaction.sender!r}")
    written = [_PLAIN.fullmatch(each) for each in transaction.recipients]
    if all(written):
        expected = tuple(dict.fromkeys(each[1].decode() for each in written if each))
        if parcel.recipients != expected:
            raise Finding(f"recipients {parcel.recipients} for {transaction.recipients}")
    for address in (parcel.sender, *parcel.recipients):
        if not address.isascii() or not address.isprintable():
            raise Finding(f"address {address!r}")
