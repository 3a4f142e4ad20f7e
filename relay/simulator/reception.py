"""The way of one message through this SES: faults, judgement, ledger.

The three interfaces meet here, so that a message is judged alike however it came.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from relay.simulator import headers, rules
from relay.simulator.authorization import judge
from relay.simulator.explanation import decision
from relay.simulator.faults import Faults, HungUp, Occasion
from relay.simulator.ledger import Ledger
from relay.simulator.refusals import Refused
from relay.simulator.usage import Usage
from relay.simulator.words import Arns, Received, Submission, TurnedAway
from relay.simulator.world import World

Clock = Callable[[], datetime]


class Reception:
    """Takes submissions, or refuses them in the words of SES."""

    def __init__(self, world: World, usage: Usage, faults: Faults, ledger: Ledger, clock: Clock) -> None:
        self._world = world
        self._usage = usage
        self._faults = faults
        self._ledger = ledger
        self._clock = clock

    async def accept(self, submission: Submission) -> str:
        """The message id of a message that is now kept; Refused, HungUp or ProxyPage otherwise."""
        section = headers.section(submission.raw)
        recipients = rules.recipients_in_force(submission, section)
        try:
            lost = await self._faults.strike(_occasion(submission, recipients))
            arns = self._judge(submission, section, recipients)
        except Refused as refused:
            self._ledger.refuse(self._turned_away(submission, recipients, refused))
            raise
        message = self._keep(submission, recipients, arns, answered=not lost)
        if lost:
            raise HungUp
        return message.message_id

    def _judge(self, submission: Submission, section: headers.Section, recipients: tuple[str, ...]) -> Arns:
        """Decide and count; the decision is kept. The ARNs in force come back. Raises Refused."""
        now, caller = self._clock(), submission.caller
        judgement = judge(self._world, self._usage, submission, section, recipients, now)
        self._ledger.decide(decision(submission, recipients, judgement, now))
        if judgement.refused:
            raise judgement.refused
        rate = self._world.account(caller.account).sending_in(caller.region).max_send_rate
        self._usage.count(caller.account, caller.region, rate, recipients, now)
        return judgement.arns

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
        return f"01{self._world.regions.index(region):02x}{int(now.timestamp() * 1000):012x}-{uuid.uuid4()}-000000"

    def _turned_away(self, submission: Submission, recipients: tuple[str, ...], refused: Refused) -> TurnedAway:
        answer = refused.on(submission.interface)
        caller = submission.caller
        sender = submission.sender or ""
        at = self._clock()
        return TurnedAway(at, submission.interface, caller.region, caller.access_key_id, sender, recipients, answer)


def _occasion(submission: Submission, recipients: tuple[str, ...]) -> Occasion:
    return Occasion("final", submission.interface, submission.caller.region, submission.sender or "", recipients)
