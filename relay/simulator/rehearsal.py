"""What SES would say to one message of a relay, without any network: `ses-relay explain --simulate`.

Who calls, and whether it is let in, comes first (`relay.simulator.callers`); the judgement after that is the one that
the simulator's interfaces use.
"""

from __future__ import annotations

from datetime import datetime

from relay.model import Identity as Rule
from relay.simulator import headers, rules
from relay.simulator.authorization import judge
from relay.simulator.callers import Introduction, interface_of
from relay.simulator.explanation import Decision, Judgement, decision
from relay.simulator.usage import Usage
from relay.simulator.words import Arns, Submission
from relay.simulator.world import World


def rehearse(
    world: World, who: Introduction, rule: Rule, sender: str, recipients: tuple[str, ...], raw: bytes, now: datetime
) -> Decision:
    """The decision on one message, `raw` as the relay hands it to SES, by a caller who has not sent anything yet."""
    interface = interface_of(rule)
    arns = Arns(return_path=str(rule.return_path_arn)) if interface == "v2" else Arns()
    submission = Submission(interface, who.caller, sender, recipients, raw, arns, tenant=rule.tenant)
    section = headers.section(raw)
    envelope = rules.recipients_in_force(submission, section)
    judgement = who.judgement
    if judgement.refused is None:
        judgement = _both(judgement, judge(world, Usage(), submission, section, envelope, now))
    return decision(submission, envelope, judgement, now)


def _both(let_in: Judgement, judged: Judgement) -> Judgement:
    """All checks; of a refusal it matters only how well that one is known."""
    verified = judged.verified and (judged.refused is not None or let_in.verified)
    return Judgement(let_in.checks + judged.checks, judged.refused, verified, judged.arns)
