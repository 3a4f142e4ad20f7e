"""Rows of the spool's tables into parcels, and back: the only place that knows how columns are written.

Guarantees that no envelope is handed out that is not the one that was taken in: its rows are *sealed*, by a checksum
over what never changes in them. Rows of older versions have no seal; they must be readable.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from relay.model import Buffer, Cause, Client, Envelope, Reply
from relay.spool.interface import Mail, Part, Spooled, State, Verdict

Row = tuple[Any, ...]

# What `spooled` reads, of parcels p and their mails m
COLUMNS: Final = (
    "m.seal, p.seal, m.file, "
    "p.number, p.position, m.id, m.arrived, p.since, m.client, m.sender, m.silent, m.size, p.state, p.ticket != 0, "
    "p.recipients, p.due, p.lane, p.attempts, p.lost, p.warned, p.last"
)

# Whether mail m, and its parcel p, have the seals that `mail_seal` and `parcel_seal` make, for all rows at once
MAIL_FITS: Final = """ifnull(m.seal = checksum(CAST(concat_ws(char(10), CAST(m.arrived * 1000 AS INTEGER),
    m.id, m.client, m.sender, m.silent, m.size, m.file) AS BLOB)), TRUE)"""
PARCEL_FITS: Final = "ifnull(p.seal = checksum(CAST(concat_ws(char(10), m.id, p.recipients) AS BLOB)), TRUE)"

# Of the verdict in a parcel's `last`, as `verdict_text` writes it
CAUSE: Final = "last ->> 4"
ANSWERED_AT: Final = "last ->> 0"


def spooled(row: Row, ticket: int = 0) -> Spooled:
    """A parcel of a row of `COLUMNS`, read as `believed`; only whoever has claimed it is given its ticket.

    Raises:
        apsw.CorruptError: Its envelope is not as it was.
    """
    sealed, parcel_sealed, file, _, position, mail, arrived, _, client, sender, silent, size, _, _, recipients, *_ = row
    if (sealed is not None and sealed != mail_seal(arrived, mail, client, sender, silent, size, file)) or (
        parcel_sealed is not None and parcel_sealed != parcel_seal(mail, recipients)
    ):
        raise apsw.CorruptError(f"some of the envelope of {mail}.{position} has changed")
    return _parcel(row[3:], ticket)


def mail_seal(arrived: float, mail: str, client: str, sender: str, silent: str, size: int, file: str | None) -> int:
    """The seal of a mail, of its columns. Times count in milliseconds: SQL writes other digits of them."""
    text = f"{int(arrived * 1000)}\n{mail}\n{client}\n{sender}\n{silent}\n{size}"
    return zlib.crc32((text if file is None else f"{text}\n{file}").encode())


def parcel_seal(mail: str, recipients: str) -> int:
    """The seal of a parcel, which names its mail, lest its recipients ever get another."""
    return zlib.crc32(f"{mail}\n{recipients}".encode())


@contextlib.contextmanager
def believed() -> Iterator[None]:
    """What is read here is damaged if it makes no sense: raises apsw.CorruptError then."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        # Of text that is no UTF-8, or no JSON, or none of our words
        raise apsw.CorruptError(f"a row cannot be read: {type(error).__name__}") from error


def _parcel(row: Row, ticket: int) -> Spooled:
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


def mail_values(mail: Mail, file: str | None) -> dict[str, Any]:
    """The columns of a mail whose content is in a row, or in that file."""
    client, envelope = mail.client, mail.envelope
    fields = {name: getattr(client, name) for name in ("session", "peer", "name", "user", "helo", "tls")}
    client_text, silent = json.dumps(fields), json.dumps(sorted(envelope.silent))
    return {
        "id": mail.id,
        "arrived": mail.arrived,
        "client": client_text,
        "sender": envelope.sender,
        "silent": silent,
        "size": mail.size,
        "file": file,
        "seal": mail_seal(mail.arrived, mail.id, client_text, envelope.sender, silent, mail.size, file),
    }


def checksum(content: Buffer) -> int:
    """The column that tells whether a content is still what it was.

    CRC-32: it is to find what disks do, not what somebody does on purpose, and costs next to nothing (half a
    microsecond for 2 kB, 6 ms for 40 MB); other threads go on meanwhile where a content is large.
    """
    return zlib.crc32(content)


def part_values(part: Part, mail: str) -> dict[str, Any]:
    """The columns of a parcel that its part decides; `mail` is the id."""
    recipients = json.dumps(part.recipients)
    return {
        "recipients": recipients,
        "seal": parcel_seal(mail, recipients),
        "due": part.due,
        "lane": part.lane,
        "attempts": part.attempts,
        "lost": part.lost,
        "warned": int(part.warned),
        "last": None if part.last is None else verdict_text(part.last),
    }


def addressees(parts: Sequence[Part]) -> str:
    """The column that tells whom a mail of several parcels is for, if some of them are ever lost."""
    return json.dumps([recipient for part in parts for recipient in part.recipients])


def verdict_text(verdict: Verdict) -> str:
    """The column of a verdict."""
    reply = verdict.reply
    return json.dumps([verdict.at, reply.code, reply.enhanced, reply.text, verdict.cause, verdict.detail])


def _verdict(text: str | None) -> Verdict | None:
    if text is None:
        return None
    at, code, enhanced, words, cause, detail = json.loads(text)
    return Verdict(at, Reply(code, enhanced, words), Cause(cause), detail)
