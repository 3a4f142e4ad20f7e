"""The full proof: one small message for each identity, by the relay's own transports and with its own headers.

This is the one thing that the doctor does and does not only look at. A delegate cannot read the owner's policy: what
SES says to a message is the only word on it. Guarantees one attempt for each identity, and a second between those of
the same credentials and region, which is what the sandbox permits.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.address import split
from relay.app import book_of, hostname, new_stamp, transports_of
from relay.aws.identity_of import Caller
from relay.delivery.courier import Transport
from relay.doctor.findings import Finding
from relay.doctor.remedies import delegate_of
from relay.doctor.tools import Tools
from relay.doctor.verdicts.proof import Trial, on_trial
from relay.errors import Rejection
from relay.model import Client, Identity, Outcome, TransportName
from relay.policy import headers, parcels
from relay.policy.admission import ClientRule
from relay.policy.rulebook import RuleBook
from relay.settings.model import Settings

BETWEEN_S: Final = 1.0

_NAME: Final = "ses-relay-doctor"
_CLIENT: Final = Client(_NAME, "127.0.0.1", _NAME)
_ANYBODY: Final = ClientRule.of(_NAME)
_TEXT: Final = (
    "From: {author}\r\nTo: {recipient}\r\nSubject: ses-relay doctor: {identity}\r\nAuto-Submitted: auto-generated\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    "If you can read this, the relay, the identity and SES agree.\r\n"
)


@dataclass(frozen=True, slots=True)
class Order:
    """To whom the messages go, and from whom if that is not to be chosen for each identity."""

    recipient: str
    sender: str | None = None


async def prove(
    settings: Settings,
    identities: Sequence[Identity],
    order: Order,
    callers: Mapping[str, Caller | None],
    tools: Tools,
    proved: Callable[[str, Finding], None] = lambda _name, _finding: None,
) -> list[Finding]:
    """Send, and judge what SES says; in the order of the identities. `proved` hears of each one at once."""
    book, transports = book_of(settings, hostname()), transports_of(settings, hostname(), tools.book)
    places: dict[tuple[str, str], list[Identity]] = defaultdict(list)
    for identity in identities:
        places[identity.credentials, identity.region].append(identity)
    found: dict[str, Finding] = {}

    def judge(identity: Identity, sender: str, outcome: Outcome | Rejection) -> None:
        delegate = delegate_of(callers[identity.credentials], settings.credentials[identity.credentials])
        found[identity.name] = on_trial(identity, Trial(sender, order.recipient, outcome, delegate))
        proved(identity.name, found[identity.name])

    try:
        rows = (_in_a_row(book, transports, row, order, tools.pause, judge) for row in places.values())
        await asyncio.gather(*rows)
    finally:
        for transport in transports.values():
            await transport.close()
    return [found[identity.name] for identity in identities]


async def _in_a_row(
    book: RuleBook,
    transports: Mapping[TransportName, Transport],
    row: Sequence[Identity],
    order: Order,
    pause: Callable[[float], Awaitable[None]],
    judge: Callable[[Identity, str, Outcome | Rejection], None],
) -> None:
    """Try one after the other, and have judged what came of it."""
    for number, identity in enumerate(row):
        if number:
            await pause(BETWEEN_S)
        sender = trial_sender(identity) if order.sender is None else order.sender
        judge(identity, sender, await _try(book, transports, identity, sender, order.recipient))


async def _try(
    book: RuleBook, transports: Mapping[TransportName, Transport], identity: Identity, sender: str, recipient: str
) -> Outcome | Rejection:
    author = trial_author(identity, sender)
    content = _TEXT.format(author=author, recipient=recipient, identity=identity.name).encode("ascii")
    stamp = new_stamp()
    try:
        message = headers.finish(content, sender, identity, book.router, _ANYBODY, _CLIENT, book.headers, stamp)
    except Rejection as refused:
        return refused
    parcel = parcels.pack(stamp.id, identity, sender, (recipient,), message.content)
    return await transports[identity.transport].send(parcel)


def trial_sender(identity: Identity) -> str:
    """An envelope sender that the identity's rule is for: an address that it names, else one that we make up."""
    patterns = [pattern for pattern in identity.senders if pattern not in ("*", "<>")]
    named = [pattern for pattern in patterns if not pattern.startswith("@")]
    if named:
        return named[0]
    if patterns:
        return _NAME + patterns[0].replace("@.", f"@{_NAME}.", 1)
    return "" if "*" not in identity.senders else _of_arn(identity)


def trial_author(identity: Identity, sender: str) -> str:
    """A header From that the identity's ARNs cover, if there is one."""
    arn = identity.from_arn or identity.source_arn
    covered = (one for one in (sender, identity.replace_sender) if one and arn.covers(*split(one)))
    return next(covered, _of_arn(identity))


def _of_arn(identity: Identity) -> str:
    arn = identity.from_arn or identity.source_arn
    return arn.name if arn.is_address else f"{_NAME}@{arn.name}"
