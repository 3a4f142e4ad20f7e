"""When a session has taken too long: deadlines as arithmetic, without a clock or a timer.

RFC 5321 section 4.5.3.2 asks a server to wait at least five minutes for a command and between blocks of data;
`idle_s` restarts with every byte. A message as a whole has `data_s`, must arrive at `data_bytes_per_s` on
average after a grace, and a session that is not in a message ends after `session_s`. A message that is in the
relay's own hands has no deadline here: the transports have theirs.
"""

from dataclasses import dataclass

from relay import replies
from relay.model import Reply

SLOW_START_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds, and bytes per second; see `limits` in config/relay.yaml."""

    idle_s: float
    data_s: float
    data_bytes_per_s: float
    session_s: float


@dataclass(frozen=True, slots=True)
class Deadline:
    """At `when` (seconds of the loop's clock) the client is told `reply` and the connection closed."""

    when: float
    reply: Reply


def between_messages(limits: SessionLimits, opened: float, last_byte: float) -> Deadline:
    """The deadline of a session that waits for a command."""
    return Deadline(min(last_byte + limits.idle_s, opened + limits.session_s), replies.IDLE)


def inside_data(limits: SessionLimits, began: float, last_byte: float, received: int) -> Deadline:
    """The deadline of a session in DATA that has sent `received` bytes since `began`."""
    idle = last_byte + limits.idle_s
    whole = began + limits.data_s
    if limits.data_bytes_per_s > 0:
        whole = min(whole, began + SLOW_START_GRACE_S + received / limits.data_bytes_per_s)
    return Deadline(idle, replies.IDLE) if idle <= whole else Deadline(whole, replies.TOO_SLOW)
