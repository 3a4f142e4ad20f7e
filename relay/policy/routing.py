"""Routing: which identity an envelope sender is sent as.

Owns the choice among `identities` by the most specific pattern of their `senders` (`relay.policy.patterns`), at a
cost that does not grow with their number. Refuses a sender without a rule: nobody sends as an identity that no
rule gives them.
"""

from collections.abc import Sequence

from relay.errors import Rejection
from relay.model import Identity
from relay.policy.patterns import PatternIndex
from relay.replies import NO_RULE, NO_RULE_NULL


class Router:
    """The rules of `identities`, compiled.

    Raises:
        ValueError: A pattern is malformed or stands in two places.
    """

    __slots__ = ("_senders",)

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._senders = PatternIndex((pattern, identity) for identity in identities for pattern in identity.senders)

    def route(self, sender: str) -> Identity:
        """Return the identity for a canonical envelope sender, "" for the null sender.

        Raises:
            Rejection: NO_RULE, or NO_RULE_NULL for the null sender: no pattern matches.
        """
        identity = self._senders.match(sender)
        if identity is None:
            raise Rejection(NO_RULE if sender else NO_RULE_NULL)
        return identity

    def covering(self, address: str) -> Identity | None:
        """Return the identity whose rule a header From address matches, for `from_arn: header`."""
        return self._senders.match(address) if address else None
