"""Looking into the spool's file: questions that change nothing, on whatever connection."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import apsw

from relay.policy.patterns import ANY, NULL
from relay.policy.retrying import CONFIGURATION
from relay.spool.interface import Lane, Query, Spooled, State, Tally, Total
from relay.spool.rows import CAUSE, COLUMNS, believed, spooled

JOINED: Final = "parcels p JOIN mails m ON m.number = p.mail"

# Steps from each lane to the next through the index, however many parcels there are in them
_AGENDA: Final = """
    WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM parcels WHERE state = 'queued'
        UNION ALL
        SELECT (SELECT min(lane) FROM parcels WHERE state = 'queued' AND lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane, (SELECT min(due) FROM parcels WHERE state = 'queued' AND lane = lanes.lane),
        (SELECT at FROM marks WHERE name = ? || lane)
    FROM lanes WHERE lane IS NOT NULL
"""

RETRIED: Final = "retried "  # before a lane, in `marks`: when an operator has asked for another try of its mail

# A pattern as LIKE compares it, without case, and what must stand before the @ just so
_MATCHES: Final = "{0} LIKE :{1} ESCAPE '!' AND substr({0}, 1, length(:{1}_local)) = :{1}_local"

_TOP_LANE: Final = "substr(p.lane, 1, ifnull(nullif(instr(p.lane, char(31)), 0) - 1, length(p.lane)))"

_CRITERIA: Final = {
    "ids": """p.number IN (
        SELECT parcels.number FROM json_each(:ids) AS wanted
        JOIN mails ON mails.id = wanted.value ->> 0
        JOIN parcels ON parcels.mail = mails.number AND parcels.position = ifnull(wanted.value ->> 1, position))""",
    "state": "p.state = :state",
    "lane": "(p.lane = :lane OR substr(p.lane, 1, length(:lane) + 1) = :lane || char(31))",
    "sender": _MATCHES.format("m.sender", "sender"),
    "recipient": f"EXISTS (SELECT 1 FROM json_each(p.recipients) WHERE {_MATCHES.format('value', 'recipient')})",  # noqa: S608 - ours
    "arrived_before": "m.arrived < :arrived_before",
    "arrived_since": "m.arrived >= :arrived_since",
}


def agenda(connection: apsw.Connection) -> tuple[Lane, ...]:
    """Every lane with queued parcels, and when the first of each is due."""
    with believed():
        return tuple(Lane(*lane) for lane in connection.execute(_AGENDA, (RETRIED,)))


def inspect(connection: apsw.Connection, query: Query) -> tuple[Spooled, ...]:
    """The parcels of a query."""
    where, values = criteria(query)
    sql = f"SELECT {COLUMNS} FROM {JOINED} WHERE {where} ORDER BY p.number LIMIT :limit"  # noqa: S608 - our own words
    with believed():
        return tuple(map(spooled, connection.execute(sql, values)))


def totals(connection: apsw.Connection) -> tuple[Total, ...]:
    """Parcels by state."""
    sql = "SELECT state, count(*), min(since) FROM parcels NOT INDEXED GROUP BY state ORDER BY state"
    return tuple(Total(State(state), count, oldest) for state, count, oldest in connection.execute(sql))


def tally(connection: apsw.Connection, query: Query) -> tuple[Tally, ...]:
    """The parcels of a query by lane and state."""
    where, values = criteria(query)
    sql = f"""SELECT p.state, {_TOP_LANE} AS top, count(*), sum(json_array_length(p.recipients)), min(m.arrived),
            total({CAUSE} IN (SELECT value FROM json_each(:refusals)))
        FROM {JOINED} WHERE {where} GROUP BY top, p.state ORDER BY top, p.state"""  # noqa: S608 - our own words
    with believed():
        found = connection.execute(sql, values | {"refusals": json.dumps(sorted(CONFIGURATION))})
        return tuple(
            Tally(State(state), lane, parcels, recipients, oldest, int(refused))
            for state, lane, parcels, recipients, oldest, refused in found
        )


def content(connection: apsw.Connection, mail: str) -> tuple[str | None, bytes | None, int, int | None] | None:
    """Where the content of a mail is: the name of its file, or else the content itself; its size and checksum.

    Older spools knew no checksum. None: there is no such mail.
    """
    sql = """SELECT m.file, c.content, m.size, m.checksum FROM mails m LEFT JOIN contents c ON c.mail = m.number
        WHERE m.id = ?"""
    with believed():
        row: tuple[str | None, bytes | None, int, int | None] | None = connection.execute(sql, (mail,)).get
    return row


def files(connection: apsw.Connection) -> dict[str, str]:
    """The names of all files that hold contents, the oldest first, and the ids of their mails."""
    return dict(connection.execute("SELECT file, id FROM mails WHERE file IS NOT NULL ORDER BY number"))


def criteria(query: Query) -> tuple[str, dict[str, Any]]:
    """The condition of a query, and its values."""
    values = {name: getattr(query, name) for name in _CRITERIA if getattr(query, name) not in (None, ())}
    where = [_CRITERIA[name] for name in values]
    if query.ids:
        values["ids"] = json.dumps([pair for one in query.ids for pair in _meanings(one)])
    for name in ("sender", "recipient"):
        if name in values:
            values |= dict(zip((name, f"{name}_local"), _compared(values[name]), strict=True))
    return " AND ".join(["p.number > :after", *where]), values | {"after": query.after, "limit": query.limit}


def _compared(pattern: str) -> tuple[str, str]:
    """A pattern for LIKE, and the local part that it asks for.

    Addresses of the spool are canonical, as patterns are: letter case in the domain is all that may differ.
    """
    if pattern == NULL:
        return "", ""
    if pattern == ANY:
        return "_%", ""
    local, at, domain = pattern.rpartition("@")
    start = "%" if pattern.startswith("@") else ""
    at = "" if domain.startswith(".") else at  # in some subdomain: anything may stand before the dot
    escaped = re.sub(r"[!%_]", r"!\g<0>", f"{local}{at}{domain}")
    return f"{start}{escaped}", local


def _meanings(identifier: str) -> list[tuple[str, int | None]]:
    """Mail and position: an id is that of a mail, or that of one parcel of it."""
    mail, _, position = identifier.rpartition(".")
    whole: tuple[str, int | None] = (identifier, None)
    return [whole, (mail, int(position))] if position.isdecimal() and len(position) < 10 else [whole]
