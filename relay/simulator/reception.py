"""The way of one message through this SES: faults, rules, verdict, ledger.

The three interfaces meet here, so that a message is judged alike however it came.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from relay.arn import IdentityArn
from relay.simulator import headers, rules, verdict
from relay.simulator.faults import Faults, HungUp, Occasion
from relay.simulator.ledger import Ledger
from relay.simulator.refusals import Refused
from relay.simulator.words import Arns, Received, Submission, TurnedAway

Clock = Callable[[], datetime]


class Reception:
    """Takes submissions, or refuses them in the words of SES."""

    def __init__(
        self, regions: Sequence[str], identities: Sequence[IdentityArn], faults: Faults, ledger: Ledger, clock: Clock
    ) -> None:
        self._regions = regions
        self._identities = identities
        self._faults = faults
        self._ledger = ledger
        self._clock = clock

    async def accept(self, submission: Submission) -> str:
        """The message id of a message that is now kept; Refused, HungUp or ProxyPage otherwise."""
        fields = headers.read(submission.raw)
        recipients = rules.recipients_in_force(submission, fields)
        try:
            lost = await self._faults.strike(_occasion(submission, recipients))
            arns = self._check(submission, fields, recipients)
        except Refused as refused:
            self._ledger.refuse(self._turned_away(submission, recipients, refused))
            raise
        message = self._keep(submission, recipients, arns, answered=not lost)
        if lost:
            raise HungUp
        return message.message_id

    def _check(self, submission: Submission, fields: headers.Fields, recipients: tuple[str, ...]) -> Arns:
        """Everything that SES checks, in its order: form first, rights last. The ARNs in force come back."""
        rules.check_size(submission.interface, len(submission.raw))
        rules.check_recipients(recipients)
        rules.check_headers(fields, submission)
        arns = rules.arns_in_force(submission, fields)
        verdict.check_arns(arns)
        verdict.judge(verdict.claims(submission, fields, arns), submission.caller, self._identities)
        return arns

    def _keep(self, submission: Submission, recipients: tuple[str, ...], arns: Arns, *, answered: bool) -> Received:
        now = self._clock()
        message = Received(
            message_id=self._message_id(submission.caller.region, now),
            at=now,
            interface=submission.interface,
            region=submission.caller.region,
            access_key_id=submission.caller.access_key_id,
            sender=submission.sender or "",
            recipients=recipients,
            arns=arns,
            raw=submission.raw,
            answered=answered,
            visible_from=submission.visible_from,
            visible_reply_to=submission.visible_reply_to,
        )
        self._ledger.add(message)
        return message

    def _message_id(self, region: str, now: datetime) -> str:
        """An id in SES's form: region and milliseconds in hexadecimal, a UUID, six digits."""
        return f"01{self._regions.index(region):02x}{int(now.timestamp() * 1000):012x}-{uuid.uuid4()}-000000"

    def _turned_away(self, submission: Submission, recipients: tuple[str, ...], refused: Refused) -> TurnedAway:
        answer = refused.reply
        if submission.interface != "smtp":
            v1 = submission.interface == "v1"
            answer = f"{refused.spelling.code if v1 else refused.spelling.v2_code}: {refused.text}"
        caller = submission.caller
        sender = submission.sender or ""
        at = self._clock()
        return TurnedAway(at, submission.interface, caller.region, caller.access_key_id, sender, recipients, answer)


def _occasion(submission: Submission, recipients: tuple[str, ...]) -> Occasion:
    return Occasion("final", submission.interface, submission.caller.region, submission.sender or "", recipients)
