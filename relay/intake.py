"""The way of a message: route it, finish its headers, deliver it, say what became of it.

`Intake.accept` is the program on one screen. It answers 250 only when SES has the message (or in a dry run,
which says so), passes on a refusal as it was decided, and turns everything unknown into 451: it never raises,
but for cancellation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from relay import replies
from relay.delivery.courier import Courier
from relay.errors import Rejection
from relay.model import Buffer, Client, Delivered, Envelope, Reply
from relay.observe.log import Journal, Receipt
from relay.policy import headers, parcels
from relay.policy.admission import ClientRule
from relay.policy.headers import Stamp
from relay.policy.rulebook import RuleBook


@dataclass(frozen=True, slots=True)
class Submission:
    """One message as a client handed it over; `gone` tells whether the client still waits for the answer."""

    client: Client
    rule: ClientRule
    envelope: Envelope
    content: Buffer = field(repr=False)
    gone: Callable[[], bool] = field(default=lambda: False)


class Intake:
    """The story of every message, under the rules of the moment (`book`, swapped on reload)."""

    def __init__(self, book: RuleBook, courier: Courier, journal: Journal, stamp: Callable[[], Stamp]) -> None:
        self.book = book
        self._courier = courier
        self._journal = journal
        self._stamp = stamp

    def change(self, book: RuleBook, courier: Courier) -> None:
        """Hold to other rules from the next message on; what is under way ends with those it began with."""
        self.book, self._courier = book, courier

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
        message = headers.finish(
            submission.content, envelope.sender, identity, book.router, submission.rule, submission.client,
            book.headers, stamp,
        )  # fmt: skip
        receipt.message = message
        parcel = parcels.pack(stamp.id, identity, envelope, message)
        if book.dry_run:
            receipt.dry_run = True
            return replies.DRY_RUN
        outcome = await self._courier.deliver(parcel)
        receipt.outcome = outcome
        return replies.accepted(outcome.message_id) if isinstance(outcome, Delivered) else outcome.reply
