"""What queue commands print: parcels as lines of a table, in full, or as facts for programs.

Pure. Guarantees that no word of clients, applications or SES commands the terminal, and that addresses are never cut
short: people copy them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Any, Final

from relay.cli.wording import counted, moment, printable, size, span
from relay.policy.lanes import identity_of
from relay.policy.retrying import PROBES
from relay.spool.interface import Part, Spooled, State, Tally, Verdict

IN_HAND: Final = "in hand"  # being delivered at this moment
INTERRUPTED: Final = "interrupted"  # was, when the relay ended
_HEADINGS: Final = ("ID", "STATE", "AGE", "SIZE", "TRIES", "NEXT", "IDENTITY", "SENDER", "RECIPIENTS", "LAST ANSWER")
_WIDEST: Final = 40  # what is longer goes on, and pushes the rest of its line to the right

Row = tuple[str, ...]
Facts = dict[str, Any]


def row(parcel: Spooled, now: float) -> Row:
    """One line of the table."""
    part = parcel.part
    first, *others = part.recipients
    cells = (
        parcel.id, parcel.state, span(now - parcel.arrived), size(parcel.size), str(part.attempts), _next(parcel, now),
        identity_of(part.lane) or "-", parcel.envelope.sender or "<>", f"{first} +{len(others)}" if others else first,
        str(part.last.reply) if part.last else "-",
    )  # fmt: skip
    return tuple(map(printable, cells))


def table(rows: Sequence[Row], *, heading: bool) -> Iterator[str]:
    """Lines of columns that are as wide as these rows need."""
    lines = [_HEADINGS, *rows]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*lines, strict=True)]
    for line in lines if heading else rows:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def totals(tallies: Sequence[Tally], now: float) -> str:
    """One line that sums up."""
    parcels = counted(sum(one.parcels for one in tallies), "parcel")
    recipients = counted(sum(one.recipients for one in tallies), "recipient")
    states = ", ".join(f"{number} {state}" for state in State if (number := _of(tallies, state)))
    return f"{parcels} to {recipients}: {states}; the oldest is {span(now - min(one.oldest for one in tallies))} old"


def refusals(tallies: Sequence[Tally]) -> Iterator[str]:
    """A line for each identity of which mail waits that SES refuses, whatever the message."""
    for one in tallies:
        if one.state is State.QUEUED and one.refused:
            yield (
                f"{one.lane}: {one.refused} of {one.parcels} queued refused by SES for the identity or the account, "
                f"not the message; one asks again every {span(PROBES.first_s)}, the rest follow when it gets through: "
                f"ses-relay doctor --identity {quote(one.lane)}"
            )


def tally_facts(tallies: Sequence[Tally]) -> list[Facts]:
    """The same for programs, for each identity and state."""
    return [
        {"identity": one.lane, "state": one.state, "parcels": one.parcels, "recipients": one.recipients,
         "oldest": moment(one.oldest), "refused_as_identity": one.refused}
        for one in tallies
    ]  # fmt: skip


def facts(parcel: Spooled) -> Facts:
    """Everything about a parcel, for programs."""
    part, client = parcel.part, parcel.client
    waits = parcel.state is State.QUEUED and not parcel.leased
    return {
        "id": parcel.id, "mail": parcel.mail, "state": parcel.state, "in_hand": parcel.leased,
        "arrived": moment(parcel.arrived), "size": parcel.size, "identity": identity_of(part.lane),
        "sender": parcel.envelope.sender, "recipients": part.recipients, "silent": sorted(parcel.envelope.silent),
        "client": {"name": client.name, "peer": client.peer, "user": client.user, "helo": client.helo,
                   "tls": client.tls, "session": client.session},
        "queued_since": moment(parcel.since), "attempts": part.attempts, "lost_answers": part.lost,
        "sender_warned": part.warned, "next_attempt": moment(part.due) if waits else None,
        "last": None if part.last is None else _verdict_facts(part.last),
    }  # fmt: skip


def in_full(parcels: Sequence[Spooled], now: float) -> Iterator[str]:
    """Everything about a mail and these parcels of it, for people."""
    yield f"Mail {parcels[0].mail}"
    yield from _entries(_of_mail(parcels[0], now))
    for parcel in parcels:
        yield f"Parcel {parcel.id}"
        yield from _entries(_of_parcel(parcel, now))


def _of_mail(parcel: Spooled, now: float) -> Iterator[tuple[str, str]]:
    client = parcel.client
    known = (
        client.name, client.peer, client.user and f"user {client.user}", client.helo and f"HELO {client.helo}",
        "TLS" if client.tls else None, client.session and f"session {client.session}",
    )  # fmt: skip
    yield "from", parcel.envelope.sender or "<>"
    yield "arrived", _when(parcel.arrived, now)
    yield "size", f"{parcel.size} bytes"
    yield "client", ", ".join(filter(None, known if client.session or client.name else ("the relay itself",)))


def _of_parcel(parcel: Spooled, now: float) -> Iterator[tuple[str, str]]:
    part = parcel.part
    yield "state", f"{parcel.state}, {IN_HAND}" if parcel.leased else parcel.state
    yield "identity", identity_of(part.lane) or "-"
    for recipient in part.recipients:
        yield "to", f"{recipient} (NOTIFY=NEVER)" if recipient in parcel.envelope.silent else recipient
    if parcel.since != parcel.arrived:
        yield "revived", _when(parcel.since, now)
    yield "attempts", _attempts(part)
    if parcel.state is State.QUEUED and not parcel.leased:
        yield "next", _when(part.due, now)
    if part.warned:
        yield "delay", "the sender has been told"
    if part.last is not None:
        yield "last try", _when(part.last.at, now)
        yield "answer", str(part.last.reply)
        yield "cause", part.last.cause
        yield "detail", part.last.detail


def _attempts(part: Part) -> str:
    if part.lost:
        return f"{part.attempts}, {part.lost} without an answer"
    return "none that counts against it" if part.last and not part.attempts else str(part.attempts)


def _entries(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    return (f"  {name:<10}{printable(text)}" for name, text in pairs)


def _verdict_facts(verdict: Verdict) -> Facts:
    reply = verdict.reply
    return {"at": moment(verdict.at), "code": reply.code, "enhanced": reply.enhanced, "text": reply.text,
            "cause": verdict.cause, "detail": verdict.detail}  # fmt: skip


def _next(parcel: Spooled, now: float) -> str:
    """In how long the next attempt is due."""
    if parcel.leased:
        return IN_HAND
    if parcel.state is not State.QUEUED:
        return "-"
    return span(parcel.part.due - now) if parcel.part.due > now else "now"


def _when(at: float, now: float) -> str:
    away = f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
    return f"{moment(at)} ({away})"


def _of(tallies: Sequence[Tally], state: State) -> int:
    return sum(one.parcels for one in tallies if one.state is state)
