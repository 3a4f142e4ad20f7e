"""The way of a message: route it, finish its headers, deliver or store it, say what became of it.

`Intake.accept` is the program on one screen. It answers 250 only when SES or the spool has the message (or in a dry
run, which says so), passes on a refusal as it was decided, and turns everything unknown into 451: it never raises,
but for cancellation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from relay import replies
from relay.delivery.acceptance import Acceptance, HandOn
from relay.delivery.courier import Courier
from relay.errors import Rejection
from relay.model import Buffer, Client, Envelope, Reply
from relay.observe.log import Journal, Receipt
from relay.policy import headers
from relay.policy.admission import ClientRule
from relay.policy.headers import Stamp
from relay.policy.rulebook import RuleBook
from relay.spool.interface import Mail

_LARGE = 1_000_000  # bytes; 40 MB of bare CR or LF take a quarter of a second, in which nobody else would be served


@dataclass(frozen=True, slots=True)
class Submission:
    """One message as a client handed it over.

    `gone` tells whether the client still waits for the answer. `hand_on` runs what goes on after it, and keeps the
    content counted as long.
    """

    client: Client
    rule: ClientRule
    envelope: Envelope
    content: Buffer = field(repr=False)
    gone: Callable[[], bool] = field(default=lambda: False)
    hand_on: HandOn = field(default=asyncio.ensure_future)


class Intake:
    """The story of every message, under the rules of the moment (`book`, swapped on reload)."""

    def __init__(
        self, book: RuleBook, courier: Courier, journal: Journal, stamp: Callable[[], Stamp],
        acceptance: Acceptance,
    ) -> None:  # fmt: skip
        self.book = book
        self._courier = courier
        self._journal = journal
        self._stamp = stamp
        self.acceptance = acceptance

    def change(self, book: RuleBook, courier: Courier) -> None:
        """Hold to other rules from the next message on; what is under way ends with those it began with."""
        self.book, self._courier = book, courier

    def refusal(self) -> Reply | None:
        """Why no mail can be taken at this moment."""
        return self.acceptance.refusal()

    async def accept(self, submission: Submission) -> Reply:
        """Take one message to its end and return the reply for its client."""
        book, stamp = self.book, self._stamp()
        receipt = Receipt(
            stamp.id, submission.client, submission.envelope, len(submission.content), time.perf_counter()
        )
        try:
            reply = await self._deliver(book, stamp, submission, receipt)
        except Rejection as refused:
            reply = refused.reply
        except asyncio.CancelledError:
            self._journal.answered(receipt, replies.SHUTTING_DOWN, gone=False)
            raise
        except Exception as error:  # noqa: BLE001 - our own faults are temporary and never shown
            self._journal.internal_error(stamp.id, error)
            reply = replies.INTERNAL
        self._journal.answered(receipt, reply, gone=submission.gone())
        return reply

    async def _deliver(self, book: RuleBook, stamp: Stamp, submission: Submission, receipt: Receipt) -> Reply:
        envelope = submission.envelope
        identity = book.router.route(envelope.sender)
        receipt.identity = identity
        finish = partial(
            headers.finish, submission.content, envelope.sender, identity, book.router, submission.rule,
            submission.client, book.headers, stamp,
        )  # fmt: skip
        message = await asyncio.to_thread(finish) if len(submission.content) > _LARGE else finish()
        receipt.message = message
        if book.dry_run:
            receipt.dry_run = True
            return replies.DRY_RUN
        mail = Mail(stamp.id, stamp.when.timestamp(), submission.client, envelope, submission.content)
        taken = await self.acceptance.take(mail, identity, message.content, self._courier, submission.hand_on)
        receipt.outcome, receipt.queued = taken.outcome, taken.queued
        return taken.reply
