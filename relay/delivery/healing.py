"""Spooled mail heals: at each attempt its headers are finished, and its client judged, by the rules of that moment.

Whatever those rules refuse waits for better ones; nothing is sent as an identity that its client may no longer use.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from relay import replies
from relay.errors import Rejection
from relay.model import Buffer, Cause, Client, Deferred, Identity, Parcel
from relay.policy import headers
from relay.policy.admission import ClientRule
from relay.policy.headers import Stamp
from relay.policy.rulebook import RuleBook
from relay.spool.interface import Spooled

OURSELVES: Final = Client(session="", peer="", name="")  # whose mail bounces and notices are
_ANYBODY: Final = ClientRule.of("")


def finished(
    book: RuleBook, parcel: Parcel, spooled: Spooled, identity: Identity, content: Buffer
) -> Parcel | Deferred:
    """The parcel as SES gets it by these rules, or why they do not let it go now."""
    stamp = Stamp(spooled.mail, datetime.fromtimestamp(spooled.arrived, UTC), spooled.mail)
    try:
        rule = _admitted(book, spooled)
        message = headers.finish(
            content, spooled.envelope.sender, identity, book.router, rule, spooled.client, book.headers, stamp
        )
    except Rejection as refused:
        return against_the_rules(refused)
    return replace(parcel, content=message.content)


def against_the_rules(refused: Rejection) -> Deferred:
    """What the rules refuse now may be right again after the next reload."""
    return Deferred(refused.reply, Cause.RULES, f"not sent under the rules of this moment: {refused.reply}")


def _admitted(book: RuleBook, spooled: Spooled) -> ClientRule:
    """The entry of the client that brought the mail, if it may still send this. Raises Rejection."""
    rule = _ANYBODY if spooled.client == OURSELVES else book.admission.named(spooled.client.name)
    if rule is None or not rule.may_send_as(spooled.envelope.sender):
        raise Rejection(replies.SENDER_NOT_ALLOWED)
    if not all(map(rule.may_send_to, spooled.part.recipients)):
        raise Rejection(replies.RECIPIENT_NOT_ALLOWED)
    return rule
