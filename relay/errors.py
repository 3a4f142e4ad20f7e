"""What clients are told: a reply, and the one error that carries one.

A `Rejection` carries the whole reply, so that the place that knows why a message is refused also decides
what the client hears, and the place that catches it only writes it down. Anything else that is raised on
the path of a message is our own fault and becomes 451 4.3.0 (`relay.replies.INTERNAL`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply: a code, an enhanced status code (RFC 3463) and a text of printable ASCII."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"

    @property
    def positive(self) -> bool:
        """Whether this is a 2yz reply."""
        return self.code < 300

    @property
    def temporary(self) -> bool:
        """Whether this is a 4yz reply: the client may try again."""
        return 400 <= self.code < 500


class Rejection(Exception):
    """This command or message is refused with `reply` (RFC 5321 section 4.2, RFC 3463)."""

    __slots__ = ("reply",)

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply
