"""The end of an attempt at a spooled parcel: what has been decided is written down, and who must be told is told.

Guarantees: a parcel is settled only by what SES has said or its lifetime; the letter about a parcel that is given up
is in the spool in the same step, so that neither is without the other; a decision that the disk does not take is
tried again until it does, as long as the relay lives: what SES has taken is not sent once more because of a disk.
Refuses to write about letters of our own: those end with the postmaster, or nowhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Final

from relay import replies
from relay.delivery.healing import OURSELVES
from relay.delivery.leases import Lease
from relay.delivery.pace import Clock
from relay.model import Buffer, Cause, Deferred, Delivered, Envelope, Failed, Identity, Outcome
from relay.observe.log import Journal
from relay.policy import bounces, notices, spool_notices
from relay.policy.bounces import Fate, Report
from relay.policy.letters import Letter, Letterhead
from relay.policy.retrying import Again, GiveUp, History, Schedule, decide, is_late
from relay.spool.interface import Mail, Part, Posting, Spool, Spooled, Verdict
from relay.spool.trouble import SpoolTrouble

# What an attempt comes to that is cut short: SES may have taken the message
STOPPED: Final = Deferred(replies.INTERNAL, Cause.LOST_ANSWER, "the relay was stopped during the attempt")
_NEVER_TRIED: Final = Deferred(replies.SENDING_AT_LIMIT, Cause.PACE, "its turn has not come", tried=False)
_REFUSED: Final = (
    "Amazon SES does not take mail of the identity {identity} at the moment:",
    "",
    "    {reply}",
    "",
    (
        "What it refuses waits in the queue. As soon as it refuses several messages in a row, the others wait too, and "
        "one message asks again every five minutes; when it gets through, they follow."
    ),
    "",
    "ses-relay doctor tells what is wrong and what mends it, ses-relay queue list shows what waits.",
)
TELL_AGAIN_S: Final = 3600.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says: how long to try, who writes letters (None: nobody), the lane of an address."""

    schedule: Schedule
    letterhead: Letterhead | None
    lane: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Note:
    """A letter on its way into the spool: what it is called in the log, and about what it is."""

    posting: Posting
    subject: str
    about: str


class Settlement:
    """One per relay.

    Args:
        spool: where parcels are.
        journal: told of every attempt and letter.
        clock: how to pause, and chance.
        wall: seconds since 1970.
        new_id: of a mail.
        terms: swapped on reload.
    """

    def __init__(
        self, spool: Spool, journal: Journal, clock: Clock, wall: Callable[[], float], new_id: Callable[[], str],
        terms: Terms,
    ) -> None:  # fmt: skip
        self.terms = terms
        self.ending = False
        self._spool, self._journal, self._clock = spool, journal, clock
        self._wall, self._new_id = wall, new_id
        self._told_of: dict[str, float] = {}  # identities, and when the postmaster was told that they are held
        self._told_damaged: set[str] = set()  # mails, likewise

    async def conclude(
        self, lease: Lease, outcome: Outcome, identity: Identity | None = None, lane: str | None = None
    ) -> bool:
        """End a lease with what came of the attempt; False when it was void or nothing was written.

        `lane`: where the parcel goes on waiting, if it does; else that of its identity.
        """
        parcel = lease.parcel
        now, part = self._wall(), parcel.part
        history = History(parcel.since, parcel.envelope.sender, part.recipients, part.attempts, part.lost)
        next_step = decide(history, outcome, now, self.terms.schedule, self._clock.chance())
        if isinstance(outcome, Delivered) or next_step is None:
            done = await self._written(lease, self._spool.settle)
            self._journal.attempted(parcel, identity, outcome, "delivered", now, None)
            return done
        verdict = Verdict(now, outcome.reply, outcome.cause, outcome.detail)
        if isinstance(next_step, GiveUp):
            done = await self._give_up(lease, next_step, verdict)
            self._journal.attempted(parcel, identity, outcome, "dead", now, None)
            return done
        if lane is None:
            lane = part.lane if identity is None else identity.name
        done = await self._again(lease, next_step, verdict, lane)
        if isinstance(outcome, Failed) or outcome.tried:
            self._journal.attempted(parcel, identity, outcome, "deferred", now, next_step.due)
        return done

    async def give_back(self, lease: Lease, lane: str) -> bool:
        """End a lease without an attempt; what was counted as one is none, and its place is that of its age."""
        parcel = lease.parcel
        due = min(parcel.since, self._wall())
        part = replace(parcel.part, due=due, lane=lane, attempts=max(parcel.part.attempts - 1, 0))
        return await self._rescheduled(lease, [part])

    async def expire(self, lease: Lease) -> bool:
        """Give up a leased parcel whose lifetime has passed while its turn did not come."""
        now, parcel = self._wall(), lease.parcel
        verdict = self._reason(parcel)
        outcome = Deferred(verdict.reply, verdict.cause, verdict.detail, tried=False)
        fate = Fate.UNCERTAIN if parcel.part.lost else Fate.EXPIRED
        done = await self._give_up(lease, GiveUp(fate), replace(verdict, at=now))
        self._journal.attempted(parcel, None, outcome, "dead", now, None)
        return done

    async def warn(self, lease: Lease) -> bool:
        """Tell the sender of a leased parcel that it waits, and give it back as it was."""
        parcel = lease.parcel
        part = replace(parcel.part, warned=True)
        notes = await self._letters(parcel, Fate.DELAYED, self._reason(parcel))
        return await self._rescheduled(lease, [part], notes)

    async def tell_of_refusal(self, identity: str, reason: Deferred) -> None:
        """SES refuses mail of an identity: tell the postmaster, if there is one, at once and then now and again."""
        now = self._clock.now()
        if self.terms.letterhead is None or now - self._told_of.get(identity, -inf) < TELL_AGAIN_S:
            return
        self._told_of[identity] = now
        lines = [line.format(identity=identity, reply=reason.reply) for line in _REFUSED]
        await self.tell(f"Amazon SES refuses mail of {identity}", lines, identity)

    async def tell_of_damage(self, parcel: Spooled, detail: str) -> None:
        """The message of a mail is damaged or gone: tell the log and the postmaster, once."""
        if parcel.mail in self._told_damaged:
            return
        self._told_damaged.add(parcel.mail)
        self._journal.content_damaged(parcel.mail, detail)
        news = spool_notices.content_damaged(parcel.mail, detail, _at(parcel.since + self.terms.schedule.lifetime))
        if not await self.tell(news.subject, news.lines, parcel.mail):
            self._told_damaged.discard(parcel.mail)  # an ill disk: at the next attempt

    async def tell(self, subject: str, lines: Sequence[str], about: str = "spool") -> bool:
        """Write to the postmaster, if there is one; `lines` are paragraphs. False when the disk does not take it."""
        letterhead = self.terms.letterhead
        if letterhead is None:
            return True
        letter = notices.trouble_notice(subject, lines, letterhead, self._when(), self._new_id())
        return letter is None or await self._put(self._note(letter, "trouble", about))

    async def _put(self, note: _Note) -> bool:
        try:
            await self._spool.put(note.posting)
        except SpoolTrouble as trouble:
            self._journal.spool_trouble(f"a notice was not kept: {trouble}")
            return False
        self._tell_log([note])
        return True

    async def _again(self, lease: Lease, step: Again, verdict: Verdict, lane: str) -> bool:
        parcel = lease.parcel
        late = is_late(parcel.since, verdict.at, self.terms.schedule, warned=parcel.part.warned)
        notes = await self._letters(parcel, Fate.DELAYED, verdict) if late else []
        part = replace(
            parcel.part, due=step.due, lane=lane, attempts=step.attempts, lost=step.lost, last=verdict,
            warned=parcel.part.warned or late,
        )  # fmt: skip
        parts = [replace(part, recipients=(one,)) for one in part.recipients] if step.split else [part]
        return await self._rescheduled(lease, parts, notes)

    async def _give_up(self, lease: Lease, step: GiveUp, verdict: Verdict) -> bool:
        notes = await self._letters(lease.parcel, step.fate, verdict)
        letters = [note.posting for note in notes]
        done = await self._written(lease, lambda leased: self._spool.settle(leased, dead=verdict, notices=letters))
        self._tell_log(notes if done else ())
        return done

    async def _rescheduled(self, lease: Lease, parts: Sequence[Part], notes: Sequence[_Note] = ()) -> bool:
        letters = [note.posting for note in notes]
        done = await self._written(lease, lambda leased: self._spool.reschedule(leased, parts, notices=letters))
        self._tell_log(notes if done else ())
        return done

    def _tell_log(self, notes: Sequence[_Note]) -> None:
        """Of letters that are in the spool, and of no others."""
        for note in notes:
            mail = note.posting.mail
            self._journal.notice(mail.id, note.about, mail.envelope.recipients[0], note.subject)

    # Letters

    async def _letters(self, parcel: Spooled, fate: Fate, verdict: Verdict) -> list[_Note]:
        """What is to be said to whom; a letter that cannot be written keeps no parcel from its end."""
        letterhead = self.terms.letterhead
        if letterhead is None:
            return []
        try:
            report = self._report(parcel, fate, verdict, await self._original(parcel))
            token, when = self._new_id(), self._when()
            letter = bounces.bounce(report, letterhead, when, token)
            if letter is None and fate is not Fate.DELAYED:
                letter = notices.dead_letter_notice(report, letterhead, when, token)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the letter, the parcel is given up
            self._journal.internal_error(parcel.id, error)
            return []
        return [] if letter is None else [self._note(letter, fate, parcel.id)]

    async def _original(self, parcel: Spooled) -> Buffer:
        """The client's message; a bounce without its headers is better than none."""
        try:
            return await self._spool.content(parcel.mail) or b""
        except SpoolTrouble:
            return b""

    def _report(self, parcel: Spooled, fate: Fate, verdict: Verdict, original: Buffer) -> Report:
        until = parcel.since + self.terms.schedule.lifetime
        return Report(
            mail=parcel.mail, parcel=parcel.id, arrived=_at(parcel.arrived), sender=parcel.envelope.sender,
            recipients=parcel.part.recipients, silent=parcel.envelope.silent, fate=fate, reply=verdict.reply,
            attempted=_at(verdict.at), until=_at(until) if fate is Fate.DELAYED else None, original=original,
        )  # fmt: skip

    def _note(self, letter: Letter, subject: str, about: str) -> _Note:
        letterhead = self.terms.letterhead
        author = letterhead.author if letterhead else ""
        mail = Mail(self._new_id(), self._wall(), OURSELVES, Envelope(author, (letter.recipient,)), letter.content)
        part = Part((letter.recipient,), due=mail.arrived, lane=self.terms.lane(author))
        return _Note(Posting(mail, (part,)), subject, about)

    def _reason(self, parcel: Spooled) -> Verdict:
        """The last answer, or that there was none yet."""
        never = _NEVER_TRIED
        return parcel.part.last or Verdict(self._wall(), never.reply, never.cause, never.detail)

    def _when(self) -> datetime:
        return _at(self._wall())

    async def _written(self, lease: Lease, write: Callable[[Spooled], Awaitable[bool]]) -> bool:
        """Write until it is written; once only when the relay is ending. With a newer ticket a lease is not void."""
        pause = _FIRST_PAUSE_S
        while True:
            parcel = lease.parcel
            try:
                done = await write(parcel)
                if done:
                    lease.ended = parcel
                if done or lease.parcel is parcel:
                    return done
                continue
            except SpoolTrouble as trouble:
                self._journal.spool_trouble(str(trouble))
                if self.ending:
                    return False
            await self._clock.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
