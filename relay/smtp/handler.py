"""What the commands of a session mean: hooks of the dialogue that lead to admission and to intake.

Owns the transaction (RFC 5321 section 3.3): which sender and recipients have been given and whether DATA may
come. Guarantees that whatever goes wrong leaves an empty transaction behind, and that a message given to
intake runs to its end whether or not the client still listens. Decides nothing about sockets or timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from relay import replies
from relay.address import parse_path
from relay.errors import Rejection
from relay.intake import Intake, Submission
from relay.model import Client, Envelope, Reply
from relay.policy.admission import ClientRule
from relay.policy.rulebook import RuleBook
from relay.smtp.collector import Collector
from relay.smtp.parameters import mail_parameters, wants_silence

HandOn = Callable[[Coroutine[None, None, Any], Collector], asyncio.Task[Any]]


class Dialogue:
    """One session: its client and the transaction under way."""

    __slots__ = (
        "_begun_under",
        "_book",
        "_hand_on",
        "_intake",
        "_recipients",
        "_rule",
        "_sender",
        "client",
        "gone",
        "peer",
    )

    def __init__(self, intake: Intake, hand_on: HandOn, session: str, peer: str | None) -> None:
        self._intake = intake
        self._hand_on = hand_on
        self._book: RuleBook | None = None
        self._begun_under: RuleBook | None = None  # the rules that MAIL was judged by
        self._rule: ClientRule | None = None
        self.peer = peer
        self.client = Client(session, peer or "unix", "")
        self.gone = False
        self.reset()

    @property
    def in_transaction(self) -> bool:
        """Whether a sender has been accepted and not yet dealt with."""
        return self._sender is not None

    @property
    def message_bytes(self) -> int:
        """The size limit that EHLO tells (RFC 1870)."""
        return self._intake.book.message_bytes

    def hello(self, name: str) -> None:
        """EHLO or HELO: remember the name; who the client is does not depend on it."""
        shown = name.encode("ascii", "backslashreplace").decode("ascii")[:255]
        self.client = replace(self.client, helo=shown)

    def encrypted(self) -> None:
        """TLS has begun: the client has to say everything again (RFC 3207 section 4.2)."""
        self.reset()
        self.client = replace(self.client, tls=True, helo="", user=None)
        self._book = None

    def log_in(self, user: str) -> None:
        """The client is this user from now on, and whose client it is may be another question."""
        self.client = replace(self.client, user=user)
        self._book = None

    def reset(self) -> None:
        """Forget the transaction."""
        self._sender: str | None = None
        self._recipients: dict[str, bool] = {}  # address -> whether it asked for NOTIFY=NEVER

    def mail(self, argument: bytes) -> Reply:
        """MAIL FROM: may this client use this sender, and would we know what to do with it? Raises Rejection."""
        if self._sender is not None:
            raise Rejection(replies.NESTED_MAIL)
        sender, rest = parse_path(_after(argument, b"FROM:", replies.SYNTAX_MAIL), null=True)
        declared = mail_parameters(rest)
        book = self._intake.book
        rule = self._admitted(book)
        refusal = self._intake.refusal()
        if refusal is not None:
            raise Rejection(refusal)
        if declared.size > book.message_bytes:
            raise Rejection(replies.TOO_BIG)
        book.router.route(sender)
        if not rule.may_send_as(sender):
            raise Rejection(replies.SENDER_NOT_ALLOWED)
        self._sender = sender
        self._begun_under = book
        return replies.SENDER_OK

    def recipient(self, argument: bytes) -> Reply:
        """RCPT TO: may this client write to this recipient? Raises Rejection."""
        if self._sender is None:
            raise Rejection(replies.NEED_MAIL)
        recipient, rest = parse_path(_after(argument, b"TO:", replies.SYNTAX_RCPT), null=False)
        silent = wants_silence(rest) if rest else False
        book = self._intake.book
        if not self._admitted(book).may_send_to(recipient):
            raise Rejection(replies.RECIPIENT_NOT_ALLOWED)
        if recipient not in self._recipients and len(self._recipients) >= book.recipients:
            raise Rejection(replies.TOO_MANY_RECIPIENTS)
        self._recipients[recipient] = silent
        return replies.RECIPIENT_OK

    def check_data(self) -> None:
        """DATA: is there anything to send it to? Raises Rejection."""
        if self._sender is None:
            raise Rejection(replies.NEED_MAIL)
        if not self._recipients:
            raise Rejection(replies.NEED_RECIPIENT)

    async def message(self, collector: Collector) -> Reply:
        """Hand a whole message on and wait for what became of it; raises Rejection when it is too big."""
        if collector.oversize:
            raise Rejection(replies.TOO_BIG)
        book = self._intake.book
        if book is not self._begun_under:
            self._judge_again(book)
        silent = frozenset(address for address, asked in self._recipients.items() if asked)
        envelope = Envelope(self._sender or "", tuple(self._recipients), silent)

        def hand_on(work: Coroutine[None, None, Any]) -> asyncio.Task[Any]:
            return self._hand_on(work, collector)

        submission = Submission(self.client, self._admitted(book), envelope, collector.content, self._has_gone, hand_on)
        # Shielded: a client that goes away cancels the waiting, never the message.
        reply: Reply = await asyncio.shield(hand_on(self._intake.accept(submission)))
        return reply

    def _judge_again(self, book: RuleBook) -> None:
        """A reload came between MAIL and the message: all of it is judged by the rules of now. Raises Rejection."""
        rule = self._admitted(book)
        if not rule.may_send_as(self._sender or ""):
            raise Rejection(replies.SENDER_NOT_ALLOWED)
        if not all(map(rule.may_send_to, self._recipients)):
            raise Rejection(replies.RECIPIENT_NOT_ALLOWED)

    def _has_gone(self) -> bool:
        return self.gone

    def _admitted(self, book: RuleBook) -> ClientRule:
        """The entry of `clients` this session matches under the rules of this moment; raises Rejection."""
        if book is not self._book:
            self._rule = book.admission.identify(self.peer, self.client.user)
            self._book = book
            self.client = replace(self.client, name=self._rule.name if self._rule else "")
        if self._rule is None:
            raise Rejection(replies.NOT_A_CLIENT if self.client.user is None else replies.USER_NOT_FROM_HERE)
        return self._rule


def _after(argument: bytes, keyword: bytes, syntax: Reply) -> bytes:
    if argument[: len(keyword)].upper() != keyword:
        raise Rejection(syntax)
    return argument[len(keyword) :]
