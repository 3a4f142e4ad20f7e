"""Everything the relay says to its operator: one method per event, one line per message.

`relay.observe.events` is the whole list, `queue_log` says what is said of the spool, `log_output` where lines go. They
carry the session id that clients' errors can be traced by, and never a secret or a piece of a message.
`addresses="masked"` hides local parts (`masking`). Native structlog, not through the standard library's logging: it
is on the path of every message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relay.model import Cause, Client, Deferred, Delivered, Envelope, Failed, Identity, Outcome, Parcel, Reply
from relay.observe.events import Event
from relay.observe.masking import mask_address, mask_command, mask_text
from relay.observe.metrics import Metrics
from relay.observe.queue_log import QueueLog
from relay.policy.headers import Message

_USER_LOGGED = 256  # characters: a stranger may log in by a name of any length
_ADDRESSES = frozenset({"sender", "recipients", "user", "message_id"})


@dataclass(slots=True)
class Receipt:
    """What is known of one message so far; the one line about it is written from this."""

    id: str
    client: Client
    envelope: Envelope
    size: int
    began: float
    identity: Identity | None = None
    message: Message | None = None
    outcome: Outcome | None = None
    dry_run: bool = False
    queued: bool = False

    def verdict(self, reply: Reply) -> str:
        """One word for logs and metrics."""
        if self.queued:
            return "queued"
        if isinstance(self.outcome, Delivered):
            return "delivered"
        if self.dry_run and reply.positive:
            return "dry_run"
        if isinstance(self.outcome, Deferred):
            return "deferred"
        if isinstance(self.outcome, Failed):
            return "failed"
        return "error" if reply.temporary else "refused"


class Journal(QueueLog):
    """Writes events and counts what is counted."""

    def __init__(self, log: Any, metrics: Metrics, *, masked: bool = False) -> None:
        self._log = log
        self._metrics = metrics
        self._masked = masked

    def change(self, log: Any, *, masked: bool) -> None:
        """Write on to another log."""
        self._log, self._masked = log, masked

    # The relay's life

    def started(self, version: str, config: str, identities: int) -> None:
        """The configuration is read; nothing listens yet."""
        self._log.info(Event.STARTED, version=version, config=config, identities=identities)

    def configuration(self, problem: str) -> None:
        """`check` would warn about this."""
        self._log.warning(Event.CONFIGURATION, problem=problem)

    def listening(self, address: str) -> None:
        """One socket accepts connections."""
        self._log.info(Event.LISTENING, address=address)

    def sockets_unused(self, names: Sequence[str]) -> None:
        """Systemd has handed over sockets that no listener names: nobody will answer there."""
        self._log.warning(Event.SOCKETS_UNUSED, names=list(names))

    def cannot_listen(self, reason: str) -> None:
        """An address cannot be had: the relay ends."""
        self._log.error(Event.CANNOT_LISTEN, reason=reason)

    def ready(self) -> None:
        """All listeners are up."""
        self._log.info(Event.READY)

    def reloaded(self, identities: int) -> None:
        """The new rules hold from the next message on."""
        self._log.info(Event.RELOADED, identities=identities)

    def reload_refused(self, problems: list[str]) -> None:
        """The configuration is bad; the old rules stay."""
        self._log.error(Event.RELOAD_REFUSED, problems=problems)

    def reload_needs_restart(self, keys: list[str]) -> None:
        """These keys have changed and only a restart reads them."""
        self._log.warning(Event.RELOAD_NEEDS_RESTART, keys=keys)

    def draining(self, connections: int, messages: int) -> None:
        """No new connections; what is under way may finish."""
        self._log.info(Event.DRAINING, connections=connections, messages=messages)

    def drain_cut(self, connections: int, messages: int) -> None:
        """`drain_s` is over with this much still under way: its clients are told to try again."""
        self._log.warning(Event.DRAIN_CUT, connections=connections, messages=messages)

    def stopped(self) -> None:
        """The last line."""
        self._log.info(Event.STOPPED)

    # Sessions

    def connection_refused(self, peer: str, reply: Reply) -> None:
        """Turned away before the greeting."""
        self._metrics.rejected(reply)
        self._log.warning(Event.CONNECTION_REFUSED, peer=peer, reply=str(reply))

    def session_closed(self, client: Client, reply: Reply) -> None:
        """The relay ended a session."""
        self._metrics.rejected(reply)
        self._log.info(Event.SESSION_CLOSED, session=client.session, peer=client.peer, reply=str(reply))

    def connection_broken(self, client: Client, error: Exception) -> None:
        """A TLS handshake or a PROXY header failed, or the network did."""
        about = f"{type(error).__name__}: {error}"[:300]
        self._log.info(Event.CONNECTION_BROKEN, session=client.session, peer=client.peer, error=about)

    def login_failed(self, client: Client, user: str) -> None:
        """Wrong user name or password."""
        self._log.warning(Event.LOGIN_FAILED, session=client.session, peer=client.peer, user=self._user(user))

    def login_unchecked(self, client: Client, user: str, reason: str) -> None:
        """A login was answered 454: too many failures, or a hash that cannot be checked."""
        self._log.error(
            Event.LOGIN_UNCHECKED, session=client.session, peer=client.peer, user=self._user(user), reason=reason
        )

    def refused(self, client: Client, reply: Reply, command: str) -> None:
        """A command got a 4yz or 5yz."""
        self._metrics.rejected(reply)
        self._log.info(
            Event.REFUSED, session=client.session, client=client.name, peer=client.peer,
            command=mask_command(command) if self._masked else command, reply=self._hide(str(reply)),
        )  # fmt: skip

    # Messages

    def answered(self, receipt: Receipt, reply: Reply, *, gone: bool) -> None:
        """The line about a message, written when its client is answered (`gone`: no longer listened)."""
        seconds = time.perf_counter() - receipt.began
        verdict = receipt.verdict(reply)
        self._count(receipt, reply, verdict, seconds)
        fields = _about(receipt)
        if gone:
            fields["client_gone"] = True
        if self._masked:
            fields = {key: _masked(key, value) for key, value in fields.items()}
        write = self._log.info if reply.positive else self._log.warning
        write(Event.MESSAGE, outcome=verdict, reply=self._hide(str(reply)), seconds=round(seconds, 4), **fields)

    def _count(self, receipt: Receipt, reply: Reply, verdict: str, seconds: float) -> None:
        identity, outcome = receipt.identity, receipt.outcome
        if identity is not None:
            self._metrics.message(
                identity.name, identity.region, identity.transport, verdict,
                recipients=len(receipt.envelope.recipients), size=receipt.size, seconds=seconds,
            )  # fmt: skip
        if not reply.positive:
            self._metrics.rejected(reply)
        if isinstance(outcome, Deferred | Failed) and not receipt.queued:  # the spool's own attempt counts it
            self._metrics.cause(outcome.cause)

    def attempt_deferred(self, parcel: Parcel, outcome: Deferred, pause_s: float) -> None:
        """An attempt failed and another follows while the client waits."""
        self._metrics.cause(outcome.cause)
        self._log.info(
            Event.ATTEMPT_DEFERRED, id=parcel.id, identity=parcel.identity, region=parcel.region,
            cause=outcome.cause, detail=self._hide(outcome.detail), pause_s=round(pause_s, 3),
        )  # fmt: skip

    # Between us and SES

    def slowed(self, credentials: str, region: str, rate: float, detail: str) -> None:
        """SES throttles, so that we send `rate` recipients per second for now; at most once a minute."""
        self._log.warning(
            Event.SLOWED, credentials=credentials, region=region, recipients_per_second=round(rate, 2),
            detail=self._hide(detail),
        )  # fmt: skip

    def paused(self, parcel: Parcel, outcome: Deferred) -> None:
        """Nothing like this parcel gets through, or the day's quota is used up: from now on one probe at a time."""
        event = Event.QUOTA_USED_UP if outcome.cause is Cause.QUOTA else Event.PAUSED
        self._log.error(event, **_way(parcel), cause=outcome.cause, detail=self._hide(outcome.detail))

    def resumed(self, parcel: Parcel, reason: Deferred) -> None:
        """A probe got through; `reason` is what had stopped the others."""
        self._log.info(Event.RESUMED, **_way(parcel), cause=reason.cause)

    def credentials_not_renewed(self, credentials: str, detail: str) -> None:
        """Keys that are about to end could not be renewed; while they last mail goes on."""
        self._log.warning(Event.CREDENTIALS_NOT_RENEWED, credentials=credentials, detail=self._hide(detail))

    def quota_read(self, credentials: str, region: str, **quota: float | str | None) -> None:
        """The account's sending limits as SES tells them, when they are new."""
        self._log.info(Event.QUOTA_READ, credentials=credentials, region=region, **quota)

    def quota_unknown(self, credentials: str, region: str, detail: str) -> None:
        """The account's sending limits may not or cannot be read: the pace is learnt."""
        self._log.info(Event.QUOTA_UNKNOWN, credentials=credentials, region=region, detail=self._hide(detail))

    def watch_pace(self, credentials: str, region: str, rate: Callable[[], float]) -> None:
        """Show what `rate` says whenever somebody looks at the metrics."""
        self._metrics.watch_pace(credentials, region, rate)

    def unreachable(self, region: str, detail: str) -> None:
        """Somebody asked whether SES is up in an idle region, and no connection is to be had."""
        self._log.warning(Event.UPSTREAM_UNREACHABLE, region=region, detail=self._hide(detail))

    def reachable(self, region: str) -> None:
        """What was down before can be connected to; mail has not tried yet."""
        self._log.info(Event.UPSTREAM_REACHABLE, region=region)

    # Our own faults

    def internal_error(self, where: str, error: Exception) -> None:
        """Something was raised that never should be; `where` is a session's or a message's id."""
        self._log.error(Event.ERROR, where=where, exc_info=error)

    def _hide(self, text: str) -> str:
        return mask_text(text) if self._masked else text

    def _user(self, name: str) -> str:
        shown = name[:_USER_LOGGED]
        return mask_address(shown) if self._masked else shown


def _masked(key: str, value: Any) -> Any:
    mask = mask_address if key in _ADDRESSES else mask_text
    if isinstance(value, str):
        return mask(value)
    return [mask(item) for item in value] if isinstance(value, list) else value


def _way(parcel: Parcel) -> dict[str, str]:
    return {"credentials": parcel.credentials, "region": parcel.region, "transport": parcel.transport}


def _about(receipt: Receipt) -> dict[str, Any]:
    client, envelope = receipt.client, receipt.envelope
    fields: dict[str, Any] = {
        "id": receipt.id, "session": client.session, "client": client.name, "peer": client.peer,
        "sender": envelope.sender, "recipients": list(envelope.recipients), "bytes": receipt.size,
    }  # fmt: skip
    if client.user:
        fields["user"] = client.user
    if receipt.identity is not None:
        identity = receipt.identity
        fields |= {"identity": identity.name, "region": identity.region, "transport": identity.transport}
    if receipt.message is not None:
        message = receipt.message
        fields |= {
            "source_arn": message.source_arn, "from_arn": message.from_arn,
            "return_path_arn": message.return_path_arn, "message_id": message.message_id,
        }  # fmt: skip
    if isinstance(receipt.outcome, Delivered):
        fields["ses_message_id"] = receipt.outcome.message_id
    elif receipt.outcome is not None:
        fields |= {"cause": receipt.outcome.cause, "detail": receipt.outcome.detail}
    return fields
