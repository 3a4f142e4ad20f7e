"""Changing the spool's file: each method is one step that happens as a whole, inside a transaction of the writer.

Guarantees that a parcel never loses a recipient, that only a valid ticket moves a parcel, and that a mail is there for
as long as one of its parcels is. Files of contents that nothing needs any more are only noted in `removed`: they may go
when the transaction is on disk, not before.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

import apsw

from relay.policy.retrying import CONFIGURATION, LOST_APART_S
from relay.spool.interface import Action, Part, Posting, Query, Spooled, State, Verdict
from relay.spool.reading import JOINED, RETRIED, criteria
from relay.spool.rows import (
    ANSWERED_AT,
    CAUSE,
    COLUMNS,
    addressees,
    believed,
    checksum,
    mail_values,
    part_values,
    spooled,
    verdict_text,
)

_SLACK_PAGES: Final = 2000  # of 4 KiB: free pages that the file keeps, and the most that go back to the disk at once

_MAIL: Final = """
    INSERT INTO mails (id, arrived, client, sender, silent, size, parcels_made, file, checksum, parcels_left, seal)
    VALUES (:id, :arrived, :client, :sender, :silent, :size, :parcels_made, :file, :checksum, :parcels_left,
        :seal)
"""
_PARCEL: Final = """
    INSERT INTO parcels (mail, position, since, state, lane, due, ticket, recipients, attempts, lost, warned, last,
        seal)
    VALUES (:mail, :position, :since, :state, :lane, :due, :ticket, :recipients, :attempts, :lost, :warned, :last,
        :seal)
"""
_RETURN: Final = """
    UPDATE parcels SET ticket = 0, lane = :lane, due = :due, recipients = :recipients, attempts = :attempts,
        lost = :lost, warned = :warned, last = :last, seal = :seal WHERE number = :number
"""
# Counted of mails that have several parcels, so that it shows when some are lost; older versions did not
_SPLIT: Final = """
    UPDATE mails SET parcels_made = parcels_made + :more,
        parcels_left = ifnull(parcels_left + :more, (SELECT count(*) FROM parcels WHERE mail = :number))
    WHERE number = :number
"""
_ADDRESSEES: Final = "INSERT OR IGNORE INTO addressees VALUES (?, ?)"
# What SES may have is not sent again any sooner because somebody asks for it
_SOON: Final = f"iif(lost > 0, max(:now, ifnull({ANSWERED_AT}, 0) + :apart), :now)"
_ALTER: Final = {
    Action.HOLD: (
        "p.state = 'queued'",
        "UPDATE parcels SET state = 'held' WHERE number = :number",
    ),
    Action.RELEASE: (
        "p.state = 'held'",
        f"UPDATE parcels SET state = 'queued', due = iif(ticket = 0, {_SOON}, due) WHERE number = :number",  # noqa: S608
    ),
    Action.RETRY: (
        "p.state != 'held' AND p.ticket = 0",
        f"""UPDATE parcels SET due = {_SOON}, since = iif(state = 'dead', :now, since),
            attempts = iif(state = 'dead', 0, attempts),
            lost = iif(state = 'dead', 0, lost), warned = iif(state = 'dead', 0, warned),
            state = 'queued' WHERE number = :number""",  # noqa: S608 - our own words
    ),
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A posting whose content, if it is large, lies synced in `file` already, and has its `checksum`."""

    posting: Posting
    file: str | None = None
    checksum: int | None = None

    @property
    def adds(self) -> int:
        """Bytes that go through the log."""
        return 0 if self.file else self.posting.mail.size


@dataclass(slots=True)
class Ledger:
    """The file, for whoever writes."""

    connection: apsw.Connection
    removed: list[str] = field(default_factory=list)
    _tickets: Iterator[int] = field(default_factory=lambda: count(secrets.randbits(48) + 1))

    def put(self, prepared: Prepared) -> tuple[Spooled, ...]:
        """Take a mail and its parts in."""
        posting, mail = prepared.posting, prepared.posting.mail
        _check_parts(mail.envelope.recipients, posting.parts, whole=False)
        made, several = len(posting.parts), len(posting.parts) > 1
        values = mail_values(mail, prepared.file)
        values |= {"parcels_made": made, "parcels_left": made if several else None}
        values["checksum"] = checksum(mail.content) if prepared.checksum is None else prepared.checksum
        self.connection.execute(_MAIL, values)
        number = self.connection.last_insert_rowid()
        if prepared.file is None:
            self.connection.execute("INSERT INTO contents VALUES (?, ?)", (number, mail.content))
        if several:
            self.connection.execute(_ADDRESSEES, (number, addressees(posting.parts)))
        return tuple(
            self._add((number, mail.id, position), part, mail.arrived, State.QUEUED, posting.leased)
            for position, part in enumerate(posting.parts, 1)
        )

    def claim(self, lane: str, now: float, until: float, limit: int) -> tuple[Spooled, ...]:
        """Lease what is due in a lane."""
        sql = """SELECT number FROM parcels WHERE state = 'queued' AND lane = ? AND due <= ?
            ORDER BY due, number LIMIT ?"""
        numbers = [number for (number,) in self.connection.execute(sql, (lane, now, limit))]
        return tuple(self._lease(number, until) for number in numbers)

    def claim_old(self, since: float, now: float, until: float, limit: int, *, unwarned: bool) -> tuple[Spooled, ...]:
        """Lease what has waited for long; what is leased has its turn anyway."""
        sql = """SELECT number, due FROM parcels WHERE state = 'queued' AND since <= ?
            AND (ticket = 0 OR due <= ?) AND (NOT ? OR warned = 0) ORDER BY since, number LIMIT ?"""
        found = list(self.connection.execute(sql, (since, now, unwarned, limit)))
        return tuple(self._lease_as_it_is(number, due, until) for number, due in found)

    def renew(self, parcel: Spooled, until: float) -> bool:
        """Move the end of a lease."""
        self.connection.execute(
            "UPDATE parcels SET due = ? WHERE number = ? AND ticket = ?", (until, parcel.number, parcel.ticket)
        )
        return self.connection.changes() == 1

    def settle(self, parcel: Spooled, dead: Verdict | None, notices: Sequence[Prepared]) -> bool:
        """End a leased parcel."""
        if self._leased(parcel) is None:
            return False
        if dead is None:
            self._remove(parcel.number)
        else:
            self.connection.execute(
                "UPDATE parcels SET state = 'dead', ticket = 0, due = ?, last = ? WHERE number = ?",
                (dead.at, verdict_text(dead), parcel.number),
            )
        for notice in notices:
            self.put(notice)
        return True

    def reschedule(self, parcel: Spooled, parts: Sequence[Part], notices: Sequence[Prepared]) -> bool:
        """Give a leased parcel back, whole or split."""
        found = self._leased(parcel)
        if found is None:
            return False
        mail, made, state = found
        _check_parts(parcel.part.recipients, parts, whole=True)
        first, *others = parts
        self.connection.execute(_RETURN, part_values(first, parcel.mail) | {"number": parcel.number})
        for position, part in enumerate(others, made + 1):
            self._add((mail, parcel.mail, position), part, parcel.since, state, None)
        if others:
            self.connection.execute(_SPLIT, {"number": mail, "more": len(others)})
            self.connection.execute(_ADDRESSEES, (mail, addressees(parts)))  # those of its first split are all
        for notice in notices:
            self.put(notice)
        return True

    def alter(self, query: Query, action: Action, now: float) -> int:
        """Do what an operator asks for."""
        applies, change = _ALTER.get(action, ("TRUE", ""))
        where, values = criteria(query)
        sql = f"SELECT p.number FROM {JOINED} WHERE {where} AND {applies} ORDER BY p.number LIMIT :limit"  # noqa: S608 - ours
        numbers = [number for (number,) in self.connection.execute(sql, values)]
        for number in numbers:
            if action is Action.DROP:
                self._remove(number)
            else:
                self.connection.execute(change, {"number": number, "now": now, "apart": LOST_APART_S})
        if action in (Action.RETRY, Action.RELEASE):
            self._mark_retried(where, values | {"now": now, "retried": RETRIED})
        return len(numbers)

    def _mark_retried(self, where: str, values: dict[str, Any]) -> None:
        """Note for which lanes somebody is in a hurry, also of mail that is in hand: that may be waiting there."""
        lanes = f"SELECT DISTINCT :retried || p.lane, :now FROM {JOINED} WHERE {where} AND p.state = 'queued'"  # noqa: S608 - ours
        self.connection.execute(f"INSERT OR REPLACE INTO marks {lanes}", values)

    def forget(self, died_before: float) -> int:
        """Remove what has been dead for long, and give some of the file's free room back to the disk."""
        sql = "SELECT number FROM parcels WHERE state = 'dead' AND due < ?"
        numbers = [number for (number,) in self.connection.execute(sql, (died_before,))]
        for number in numbers:
            self._remove(number)
        spare = min(self.connection.pragma("freelist_count") - _SLACK_PAGES, _SLACK_PAGES)
        if spare > 0:
            self.connection.execute(f"PRAGMA incremental_vacuum({spare})").get  # noqa: B018 - runs it to its end
        return len(numbers)

    def release(self, now: float, latest: float) -> int:
        """End the leases of a process that is no more; nothing is due later than `latest`, whatever the clock did."""
        self.connection.execute("UPDATE parcels SET ticket = 0, due = min(due, ?) WHERE ticket != 0", (now,))
        released = self.connection.changes()
        self.connection.execute(
            "DELETE FROM marks WHERE substr(name, 1, length(:retried)) = :retried", {"retried": RETRIED}
        )
        self.hasten(latest)
        return released

    def hasten(self, latest: float) -> int:
        """Bring forward what is due later than that, but for leases."""
        sql = "UPDATE parcels SET due = ? WHERE state = 'queued' AND ticket = 0 AND due > ?"
        self.connection.execute(sql, (latest, latest))
        return self.connection.changes()

    def recall(self, lane: str, now: float) -> int:
        """Bring forward what was refused for its identity, and is not leased; in the order of its age."""
        where, values = criteria(Query(lane=lane, state=State.QUEUED))
        found = f"SELECT p.number FROM {JOINED} WHERE {where} AND {CAUSE} IN (SELECT value FROM json_each(:refusals))"  # noqa: S608 - ours
        sql = f"""UPDATE parcels SET due = min(since, :now)
            WHERE number IN ({found}) AND ticket = 0 AND lost = 0 AND due > :now"""  # noqa: S608 - likewise
        self.connection.execute(sql, values | {"now": now, "refusals": json.dumps(sorted(CONFIGURATION))})
        return self.connection.changes()

    def mark(self, now: float) -> None:
        """Write that it is `now`, for the sake of writing."""
        self.connection.execute("INSERT OR REPLACE INTO marks VALUES ('probe', ?)", (now,))

    def _add(
        self, place: tuple[int, str, int], part: Part, since: float, state: State, leased: float | None
    ) -> Spooled:
        """Make a parcel; `place` is its mail, that one's id, and its position there."""
        ticket = next(self._tickets) if leased is not None else 0
        due = part.due if leased is None else leased
        values: dict[str, Any] = part_values(replace(part, due=due), place[1])
        values |= {"mail": place[0], "position": place[2], "since": since, "state": state, "ticket": ticket}
        self.connection.execute(_PARCEL, values)
        return self._read(self.connection.last_insert_rowid(), ticket)

    def _lease(self, number: int, until: float) -> Spooled:
        ticket = next(self._tickets)
        self.connection.execute(
            "UPDATE parcels SET ticket = ?, due = ?, attempts = attempts + 1 WHERE number = ?",
            (ticket, until, number),
        )
        return self._read(number, ticket)

    def _lease_as_it_is(self, number: int, due: float, until: float) -> Spooled:
        ticket = next(self._tickets)
        self.connection.execute("UPDATE parcels SET ticket = ?, due = ? WHERE number = ?", (ticket, until, number))
        parcel = self._read(number, ticket)
        return replace(parcel, part=replace(parcel.part, due=due))

    def _read(self, number: int, ticket: int) -> Spooled:
        sql = f"SELECT {COLUMNS} FROM {JOINED} WHERE p.number = ?"  # noqa: S608 - our own words
        with believed():
            row = self.connection.execute(sql, (number,)).get
            return spooled(row, ticket)

    def _leased(self, parcel: Spooled) -> tuple[int, int, State] | None:
        """Mail, parcels made of it so far, and state; None when the ticket is void."""
        sql = f"SELECT m.number, m.parcels_made, p.state FROM {JOINED} WHERE p.number = ? AND p.ticket = ?"  # noqa: S608 - ours
        row = self.connection.execute(sql, (parcel.number, parcel.ticket)).get if parcel.ticket else None
        return None if row is None else (row[0], row[1], State(row[2]))

    def _remove(self, number: int) -> None:
        """Remove a parcel, and its mail when that was the last one."""
        mail = self.connection.execute("DELETE FROM parcels WHERE number = ? RETURNING mail", (number,)).get
        if self.connection.execute("SELECT EXISTS (SELECT 1 FROM parcels WHERE mail = ?)", (mail,)).get:
            self.connection.execute("UPDATE mails SET parcels_left = parcels_left - 1 WHERE number = ?", (mail,))
            return
        row = self.connection.execute("DELETE FROM mails WHERE number = ? RETURNING file, parcels_left", (mail,)).get
        file, left = row or (None, None)
        if left is not None and left > 1:
            raise apsw.CorruptError("parcels of a mail are missing")
        if file is not None:
            self.removed.append(file)


def _check_parts(recipients: Sequence[str], parts: Sequence[Part], *, whole: bool) -> None:
    """Refuse parts that are not made of these recipients, each once; `whole`: of all of them."""
    named = [recipient for part in parts for recipient in part.recipients]
    strangers = set(named) - set(recipients)
    missing = set(recipients) - set(named) if whole else set()
    if not parts or not all(part.recipients for part in parts) or len(named) != len(set(named)) or strangers or missing:
        raise ValueError("the parts of a parcel must have its recipients, each in one part")
