"""Rows of the spool's tables into parcels, and back: the only place that knows how columns are written."""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

from relay.model import Buffer, Cause, Client, Envelope, Reply
from relay.spool.interface import Mail, Part, Spooled, State, Verdict

Row = tuple[Any, ...]

# What `spooled` reads, of parcels p and their mails m
COLUMNS: Final = (
    "p.number, p.position, m.id, m.arrived, p.since, m.client, m.sender, m.silent, m.size, p.state, p.ticket != 0, "
    "p.recipients, p.due, p.lane, p.attempts, p.lost, p.warned, p.last"
)

# Of the verdict in a parcel's `last`, as `verdict_text` writes it
CAUSE: Final = "last ->> 4"
ANSWERED_AT: Final = "last ->> 0"


def spooled(row: Row, ticket: int = 0) -> Spooled:
    """A parcel of a row of `COLUMNS`; only whoever has claimed it is given its ticket."""
    number, position, mail, arrived, since, client, sender, silent, size, state, leased, *part = row
    recipients = tuple(json.loads(part[0]))
    return Spooled(
        number=number,
        id=f"{mail}.{position}",
        mail=mail,
        arrived=arrived,
        since=since,
        client=Client(**json.loads(client)),
        envelope=Envelope(sender, recipients, frozenset(json.loads(silent)).intersection(recipients)),
        size=size,
        state=State(state),
        part=Part(recipients, part[1], part[2], part[3], part[4], bool(part[5]), _verdict(part[6])),
        leased=bool(leased),
        ticket=ticket,
    )


def mail_values(mail: Mail) -> dict[str, Any]:
    """The columns of a mail."""
    client, envelope = mail.client, mail.envelope
    fields = {name: getattr(client, name) for name in ("session", "peer", "name", "user", "helo", "tls")}
    return {
        "id": mail.id,
        "arrived": mail.arrived,
        "client": json.dumps(fields),
        "sender": envelope.sender,
        "silent": json.dumps(sorted(envelope.silent)),
        "size": mail.size,
    }


def checksum(content: Buffer) -> int:
    """The column that tells whether a content is still what it was.

    CRC-32: it is to find what disks do, not what somebody does on purpose, and costs next to nothing (half a
    microsecond for 2 kB, 6 ms for 40 MB); other threads go on meanwhile where a content is large.
    """
    return zlib.crc32(content)


def part_values(part: Part) -> dict[str, Any]:
    """The columns of a parcel that its part decides."""
    return {
        "recipients": json.dumps(part.recipients),
        "due": part.due,
        "lane": part.lane,
        "attempts": part.attempts,
        "lost": part.lost,
        "warned": int(part.warned),
        "last": None if part.last is None else verdict_text(part.last),
    }


def verdict_text(verdict: Verdict) -> str:
    """The column of a verdict."""
    reply = verdict.reply
    return json.dumps([verdict.at, reply.code, reply.enhanced, reply.text, verdict.cause, verdict.detail])


def _verdict(text: str | None) -> Verdict | None:
    if text is None:
        return None
    at, code, enhanced, words, cause, detail = json.loads(text)
    return Verdict(at, Reply(code, enhanced, words), Cause(cause), detail)
