"""Checks between sections: keys that are right by themselves and wrong together."""

import stat
from collections.abc import Iterable
from urllib.parse import urlsplit

from relay.model import Identity
from relay.policy.patterns import PatternIndex
from relay.settings.addresses import TcpAddress
from relay.settings.model import Bounces, Delivery, Limits, Ses, Spool
from relay.settings.source import Source

_PATIENCE_S = 300.0  # of clients that wait for an answer to their message; RFC 5321 section 4.5.3.2.6 asks for 600


def check_ses(source: Source, ses: Ses) -> None:
    """Refuse SMTP without TLS to other machines; warn of plain HTTP to them."""
    if ses.smtp_tls == "none" and not (ses.smtp_endpoint and ses.smtp_endpoint.loopback):
        source.error(("ses", "smtp_tls"), "starttls or implicit; none only with an smtp_endpoint on loopback")
    if ses.api_endpoint and not _safe(ses.api_endpoint):
        source.warn(("ses", "api_endpoint"), "https, or http on loopback: mail would travel readable")


def _safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or TcpAddress(parts.hostname or "", 0).loopback


def check_delivery(source: Source, delivery: Delivery, spool: Spool | None) -> None:
    """Refuse to acknowledge by a spool that is not there; warn of an answer that clients do not wait for."""
    if delivery.hold_s > _PATIENCE_S:
        source.warn(("delivery", "hold_s"), "at most 5m: who waits no longer for an answer sends the mail once more")
    if delivery.acknowledge == "on_spool" and spool is None and not source.unsound("spool"):
        source.error(("delivery", "acknowledge"), "on_delivery, or a section spool")


def check_bounces(source: Source, bounces: Bounces | None, identities: Iterable[Identity]) -> None:
    """Refuse bounces from an address that no identity may send as."""
    if not bounces or source.unsound("identities"):
        return
    senders = PatternIndex((pattern, identity.name) for identity in identities for pattern in identity.senders)
    if senders.match(bounces.from_) is None:
        source.error(("bounces", "from"), "an address that an identity has in its senders")


def check_limits(source: Source, limits: Limits) -> None:
    """Refuse a memory limit into which the largest message does not fit."""
    if limits.in_flight_bytes != "auto" and limits.in_flight_bytes < limits.message_bytes:
        source.error(("limits", "in_flight_bytes"), f"at least message_bytes, {limits.message_bytes}")


def warn_of_writers(source: Source) -> None:
    """Warn when others than the owner may change the file, and with it who sends as whom."""
    if source.mode & (stat.S_IWGRP | stat.S_IWOTH):
        source.warn((), "one that only its owner may write (chmod go-w)", f"mode {stat.S_IMODE(source.mode):04o}")
