"""What the relay says to its operator about its spool: a part of the journal.

One `delivery` line for each attempt at a spooled parcel, which carries the id that its client heard as "queued as".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay.model import Deferred, Delivered, Identity, Outcome
from relay.observe.events import Event
from relay.observe.metrics import Metrics
from relay.policy.lanes import BELOW
from relay.policy.spool_notices import named
from relay.spool.interface import Spooled, State, Total


class QueueLog:
    """The journal's methods on the spool."""

    _log: Any
    _metrics: Metrics

    def _hide(self, text: str) -> str:
        raise NotImplementedError

    # The spool's file

    def spool_opened(
        self, path: str, *, leases: int, rubbish: int, missing: Sequence[str], aside: Path | None, kept: int = 0
    ) -> None:
        """The spool is open: so many leases of an earlier relay were ended, files removed, mails found without content.

        `kept`: files that belong to no mail, and are not old enough to be removed. `aside`: where such files are of a
        new or mended database; they may be mail that is lost.
        """
        fields: dict[str, Any] = {"leases_ended": leases, "contents_missing": len(missing), **_by_name(missing)}
        fields |= {"files_removed": rubbish} if aside is None else {"files_put_aside": rubbish, "aside": str(aside)}
        fields |= {"files_kept": kept} if kept else {}
        (self._log.error if missing or aside else self._log.info)(Event.SPOOL_OPENED, path=path, **fields)

    def spool_database_missing(self, path: str, old_log: Path | None, *, rebuilt: bool) -> None:
        """There was a spool, but its database was removed or emptied; its log, where there was one, is `old_log` now.

        `rebuilt`: a new database was made of that log.
        """
        fields = {} if old_log is None else {"old_log": str(old_log), "rebuilt": rebuilt}
        self._log.error(Event.SPOOL_DATABASE_MISSING, path=path, **fields)

    def spool_log_missing(self, path: str) -> None:
        """The database was there without its log: mail that stood only in it is lost."""
        self._log.error(Event.SPOOL_LOG_MISSING, path=path)

    def spool_log_damaged(self, path: str, kept: Path) -> None:
        """The log was damaged and is mended; as it was it is `kept`."""
        self._log.error(Event.SPOOL_LOG_DAMAGED, path=path, old_log=str(kept))

    def spool_refused(self, reason: str) -> None:
        """The spool cannot be used: the relay ends."""
        self._log.error(Event.SPOOL_REFUSED, reason=reason)

    def spool_mended(
        self, parcels: int, lost: Sequence[str], old: Path, remains: Path | None, *, unreadable: bool
    ) -> None:
        """A damaged or untrusted file was replaced, which is `old` now; `lost` mails could not be read whole.

        What is left of those is in files whose names begin with `remains`. `unreadable`: nothing of the old file could
        be read, and how many mails are lost is not known.
        """
        fields: dict[str, Any] = {"parcels": parcels, "old_file": str(old)}
        fields |= {"unreadable": True} if unreadable else {"mails_lost": len(lost), **_by_name(lost)}
        if remains is not None:
            fields["lost_files"] = f"{remains}-*"
        (self._log.error if lost or unreadable else self._log.warning)(Event.SPOOL_MENDED, **fields)

    def spool_trouble(self, detail: str) -> None:
        """No mail is taken in until the spool is well again."""
        self._log.error(Event.SPOOL_TROUBLE, detail=detail)

    def spool_well(self) -> None:
        """Mail is taken in again."""
        self._log.info(Event.SPOOL_WELL)

    # What is in it

    def attempted(
        self, parcel: Spooled, identity: Identity | None, outcome: Outcome, verdict: str, now: float, due: float | None
    ) -> None:
        """An attempt at a spooled parcel has ended as `verdict`; it is `due` again then."""
        fields: dict[str, Any] = {
            "outcome": verdict, "id": parcel.id, "client": parcel.client.name,
            "sender": self._hide(parcel.envelope.sender),
            "recipients": [self._hide(recipient) for recipient in parcel.part.recipients],
            "attempts": parcel.part.attempts, "age_s": round(max(now - parcel.since, 0), 1),
        }  # fmt: skip
        if identity is not None:
            fields |= {"identity": identity.name, "region": identity.region, "transport": identity.transport}
        if due is not None:
            fields["again_s"] = round(max(due - now, 0), 1)
        write = self._log.error if verdict == "dead" else self._log.info
        write(Event.DELIVERY, **fields, **self._of(outcome))
        if identity is not None and verdict in {"delivered", "dead"}:
            self._metrics.left_queue(
                identity.name, identity.region, identity.transport, verdict, len(parcel.part.recipients)
            )

    def _of(self, outcome: Outcome) -> dict[str, Any]:
        if isinstance(outcome, Delivered):
            return {"ses_message_id": outcome.message_id}
        self._metrics.cause(outcome.cause)
        return {
            "reply": self._hide(str(outcome.reply)), "cause": outcome.cause, "detail": self._hide(outcome.detail)
        }  # fmt: skip

    def notice(self, mail: str, about: str, recipient: str, subject: str) -> None:
        """The relay writes to a sender or to the postmaster: a bounce, a warning, trouble."""
        self._log.info(Event.NOTICE, id=mail, about=about, recipient=self._hide(recipient), subject=subject)

    def content_damaged(self, mail: str, detail: str) -> None:
        """The message of a mail is not what was taken in: it is not sent."""
        self._log.error(Event.CONTENT_DAMAGED, id=mail, detail=detail)

    def held(self, lane: str, reason: Deferred) -> None:
        """SES refuses mail in a row: that of the lane waits, and one message asks again every few minutes."""
        self._log.error(Event.HELD, **self._whose(lane), cause=reason.cause, detail=self._hide(reason.detail))

    def queue_is(self, totals: Sequence[Total], now: float) -> None:
        """What the spool holds at this moment, for the metrics."""
        self._metrics.queue({total.state: total.parcels for total in totals}, _oldest(totals, now))

    def released(self, lane: str) -> None:
        """SES takes the lane's mail again."""
        self._log.info(Event.RELEASED, **self._whose(lane))

    def _whose(self, lane: str) -> dict[str, str]:
        """An identity's whole mail, or what one client sends as one sender of it."""
        return dict(zip(("identity", "client", "sender"), map(self._hide, lane.split(BELOW)), strict=False))


def _by_name(mails: Sequence[str]) -> dict[str, Any]:
    """The first ids, and how many there are besides."""
    some, more = named(mails)
    return ({"mails": some} if some else {}) | ({"mails_not_named": more} if more else {})


def _oldest(totals: Sequence[Total], now: float) -> float:
    """Age in seconds of what has waited longest for its delivery; none is negative, to whatever the clock was set."""
    return max([0.0, *(now - total.oldest for total in totals if total.state is State.QUEUED)])
