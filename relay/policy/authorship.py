"""Who a message says it is from, whether this client and sender may say so, and by which ARN.

Owns the header From. SES checks it against the From ARN only, which covers a whole domain; here it is also held
to the client's own list, so that no client writes in the name of another one. An address that the operator
configured (`replace_from`, `replace_sender`) is not the client's word and only has to be covered.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.address import split
from relay.arn import IdentityArn
from relay.errors import Rejection
from relay.model import Identity
from relay.policy.admission import ClientRule
from relay.policy.fields import Section
from relay.policy.mailboxes import parse_mailboxes
from relay.policy.routing import Router
from relay.replies import BAD_FROM, HEADER_FROM_NOT_ALLOWED


@dataclass(frozen=True, slots=True)
class Author:
    """The mailboxes of the From header that SES will see, and the ARN that covers them.

    `added` is the address of the From header that the relay writes itself, None where the client's stays.
    """

    mailboxes: tuple[str, ...]
    arn: IdentityArn
    added: str | None


@dataclass(frozen=True, slots=True)
class Authority:
    """What decides on the header From: the identity of the sender, all rules, and the client's rule."""

    identity: Identity
    router: Router
    client_rule: ClientRule

    def author(self, section: Section, sender: str, *, add_missing: bool) -> Author:
        """Settle the From header of a message.

        Args:
            section: The client's header section.
            sender: The envelope sender towards SES, for a message without From.
            add_missing: Whether such a message gets one.

        Raises:
            Rejection: BAD_FROM or HEADER_FROM_NOT_ALLOWED.
        """
        written = section.named("from")
        added = self.identity.replace_from or (sender if add_missing and not written else None)
        if len(written) > 1 or not (written or added):
            raise Rejection(BAD_FROM)
        mailboxes = _parsed(added.encode()) if added else self._of_client(section.value(written[0]))
        return Author(mailboxes, self._arn(mailboxes), added)

    def permits(self, value: bytes, arn: IdentityArn) -> bool:
        """Whether an address header such as Sender holds nothing that the From header might not hold."""
        try:
            return self._covers(arn, self._of_client(value))
        except Rejection:
            return False

    def _of_client(self, value: bytes) -> tuple[str, ...]:
        mailboxes = _parsed(value)
        if not all(map(self.client_rule.may_send_as, mailboxes)):
            raise Rejection(HEADER_FROM_NOT_ALLOWED)
        return mailboxes

    def _arn(self, mailboxes: tuple[str, ...]) -> IdentityArn:
        arn = self.identity.from_arn or self._arn_by_rule(mailboxes[0])
        if not self._covers(arn, mailboxes):
            raise Rejection(HEADER_FROM_NOT_ALLOWED)
        return arn

    def _arn_by_rule(self, mailbox: str) -> IdentityArn:
        """`from_arn: header`: the source ARN of the rule that the mailbox matches."""
        rule = self.router.covering(mailbox)
        if rule is None and self.identity.header_from == "any":
            return self.identity.source_arn
        if rule is None:
            raise Rejection(HEADER_FROM_NOT_ALLOWED)
        return rule.source_arn

    def _covers(self, arn: IdentityArn, mailboxes: tuple[str, ...]) -> bool:
        if self.identity.header_from == "any":
            return True
        return all(arn.covers(*split(mailbox)) for mailbox in mailboxes)


def _parsed(value: bytes) -> tuple[str, ...]:
    """The mailboxes of a From, ours or the client's: one that others could read differently is refused."""
    try:
        return parse_mailboxes(value)
    except ValueError:
        raise Rejection(BAD_FROM) from None
