"""May this caller send this message? The whole judgement, pure: a world and a message in, a chain of checks out.

Owns the order of the checks; the source of each is in `relay.simulator.facts`. Everything is looked at even when
something has failed, so that a person sees all that is wrong; SES answers one thing, by `Rank`. What was sent before
is read from `Usage`, and whoever takes the message counts it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from relay.simulator import facts, rules
from relay.simulator.claims import claims
from relay.simulator.explanation import Chain, Judgement, Rank
from relay.simulator.headers import Section
from relay.simulator.identification import find, parse
from relay.simulator.permission import Permission, Target, permission
from relay.simulator.refusals import ACCOUNT_PAUSED, INVALID, REJECTED, SET_MISSING, SET_PAUSED, THROTTLED, Refused
from relay.simulator.usage import Usage, is_mailbox_simulator, towards_quota
from relay.simulator.words import Arns, Submission
from relay.simulator.world import Identity, Sending, World, partition_of

_INBOX: Final = "For more information, please check the inbox of the email address associated with your AWS account."


def judge(
    world: World, usage: Usage, submission: Submission, section: Section, recipients: tuple[str, ...], now: datetime
) -> Judgement:
    """The judgement on one message; `recipients` are those in force."""
    chain = Chain(submission.interface, submission.caller.region)
    arns = rules.arns_in_force(submission, section)
    message = _Message(world, usage, submission, section, recipients, now, chain)
    try:
        message.check_form()
        message.check_arns(arns)
        asked = permission(world, submission, section, recipients, now)
        message.check_account()
        message.check_configuration_set(asked)
        used = message.check_senders(arns, asked)
        message.check_sandbox(used, asked)
        message.check_limits()
    except Refused as refused:
        chain.failed("form of the message", refused.text, facts.FORM, Rank.FORM, refused)
    return chain.judgement(arns)


@dataclass(frozen=True, slots=True)
class _Message:
    """One message on its way through the checks."""

    world: World
    usage: Usage
    submission: Submission
    section: Section
    recipients: tuple[str, ...]
    now: datetime
    chain: Chain

    @property
    def _sending(self) -> Sending:
        caller = self.submission.caller
        return self.world.account(caller.account).sending_in(caller.region)

    def check_form(self) -> None:
        """Size, recipients, header fields. Raises Refused."""
        rules.check_size(self.submission.interface, len(self.submission.raw))
        rules.check_recipients(self.recipients)
        rules.check_headers(self.section, self.submission)
        why = f"{len(self.submission.raw)} bytes, recipients: {len(self.recipients)}"
        self.chain.passed("form of the message", why, facts.FORM)

    def check_arns(self, arns: Arns) -> None:
        """Each that is given must be one, whether or not the message comes to need it."""
        given = self.submission.arns
        for name, parameter, text in (
            ("X-SES-SOURCE-ARN", given.source, arns.source),
            ("X-SES-FROM-ARN", given.from_, arns.from_),
            ("X-SES-RETURN-PATH-ARN", given.return_path, arns.return_path),
        ):
            if text is None:
                continue
            if parse(text) is None:
                refused = Refused(INVALID, f"Invalid ARN <{text}>.")
                self.chain.failed(name, f"<{text}> is no identity ARN", facts.ARN_GRAMMAR, Rank.ARN, refused)
            elif parameter is not None:
                self.chain.passed(name, f"{text}, from the parameter of the call", facts.ARN_CHOICE)
            else:
                as_documented = any(field == name for field, _ in self.section.fields)
                fact = facts.ARN_CHOICE if as_documented else facts.ARN_HEADER_CASE
                self.chain.passed(name, f"{text}, from the first header of this name", fact)

    def check_account(self) -> None:
        """Whether the caller's account may send at all."""
        what = f"account {self.submission.caller.account}"
        if self._sending.paused:
            refused = Refused(ACCOUNT_PAUSED, "Email sending is disabled for your entire Amazon SES account.")
            self.chain.failed(what, "its sending is paused in this region", facts.ACCOUNT_PAUSED, Rank.PAUSED, refused)
        elif self._sending.enforcement == "SHUTDOWN":
            refused = Refused(REJECTED, f"Sending paused for this account. {_INBOX}")
            self.chain.failed(what, "AWS has shut its sending down", facts.ACCOUNT_PAUSED, Rank.PAUSED, refused)
        else:
            self.chain.passed(what, "its sending is not paused", facts.ACCOUNT_PAUSED)
        tenant = self.submission.tenant or self.section.first("X-SES-TENANT")
        if tenant:
            self.chain.skipped(f"tenant {tenant}", "tenants are not simulated", facts.TENANT)

    def check_configuration_set(self, asked: Permission) -> None:
        """The set that is named: the caller's own, by parameter or else by header."""
        name = self.submission.configuration_set
        name = self.section.first("X-SES-CONFIGURATION-SET") if name is None else name
        if name is None:
            return
        caller, what = self.submission.caller, f"configuration set {name}"
        found = self.world.configuration_set(caller.account, caller.region, name)
        if found is None:
            refused = Refused(SET_MISSING, f"Configuration set <{name}> does not exist.")
            why = f"account {caller.account} has none of this name in {caller.region}"
            self.chain.failed(what, why, facts.SET_MISSING, Rank.CONFIGURATION_SET, refused)
        elif found.paused:
            refused = Refused(SET_PAUSED, f"Email sending is disabled for the configuration set <{name}>.")
            self.chain.failed(what, "its sending is paused", facts.SET_PAUSED, Rank.CONFIGURATION_SET, refused)
        else:
            self.chain.passed(what, "it exists and sends", facts.SET_EXISTS)
        arn = f"arn:{partition_of(caller.region)}:ses:{caller.region}:{caller.account}:configuration-set/{name}"
        asked.ask(self.chain, Target(arn, caller.account, None, arn, facts.IAM_SET))

    def check_senders(self, arns: Arns, asked: Permission) -> list[Identity]:
        """Every address that SES checks, by its identity; then the policies on each identity, which are returned."""
        enough = self.world.disputed.source_arn_alone == "enough"
        targets: dict[str, Target] = {}
        used = []
        for claim in claims(self.submission, self.section, arns, source_is_enough=enough):
            identity = find(self.world, self.submission.caller, claim, arns, self.chain)
            if identity is not None and identity.arn not in targets:
                used.append(identity)
                shown = claim.arn or identity.arn
                target = Target(identity.arn, identity.account, identity.policies, shown, facts.IAM)
                targets[identity.arn] = target
        for target in targets.values():
            asked.ask(self.chain, target)
        return used

    def check_sandbox(self, used: list[Identity], asked: Permission) -> None:
        """In the sandbox mail goes to verified addresses of the caller's account and the mailbox simulator only."""
        caller, chain = self.submission.caller, self.chain
        owners = {one.account for one in used} - {caller.account}
        boxed = [one for one in sorted(owners) if not self.world.account(one).sending_in(caller.region).production]
        counts = self.world.disputed.owner_in_sandbox == "counts"
        for owner in boxed if not counts else ():
            chain.skipped(f"sandbox of account {owner}", "it owns the identity; ignored here", facts.OWNER_SANDBOX)
        if self._sending.production and not (boxed and counts):
            chain.passed("sandbox", f"account {caller.account} is out of it in {caller.region}", facts.SANDBOX)
            return
        fact = facts.OWNER_SANDBOX if self._sending.production else facts.SANDBOX
        for recipient in self.recipients:
            identity = self.world.covering(caller.account, caller.region, recipient)
            if is_mailbox_simulator(recipient):
                chain.passed(f"recipient {recipient}", "the mailbox simulator takes mail out of the sandbox", fact)
            elif identity is None:
                why = f"the sandbox: no verified identity of account {caller.account} in {caller.region} covers it"
                chain.not_verified(f"recipient {recipient}", why, fact, recipient)
            else:
                chain.passed(f"recipient {recipient}", f"{identity.arn} covers it", fact)
                target = Target(identity.arn, identity.account, identity.policies, identity.arn, facts.IAM_RECIPIENT)
                asked.ask(chain, target)

    def check_limits(self) -> None:
        """Quota and rate of the caller's account in this region, in recipients."""
        caller, sending = self.submission.caller, self._sending
        more, sent = towards_quota(self.recipients), self.usage.sent(caller.account, caller.region, self.now)
        if 0 <= sending.max_24_hour_send < sent + more:
            why = f"{sent} in 24 hours and {more} more, of {sending.max_24_hour_send:g}"
            refused = Refused(THROTTLED, "Daily message quota exceeded.")
            self.chain.failed("quota of 24 hours", why, facts.QUOTA, Rank.LIMIT, refused)
        elif not self.usage.room(caller.account, caller.region, sending.max_send_rate, self.now):
            refused = Refused(THROTTLED, "Maximum sending rate exceeded.")
            why = f"more than {sending.max_send_rate:g} recipients per second"
            self.chain.failed("sending rate", why, facts.RATE, Rank.LIMIT, refused)
        else:
            self.chain.passed("quota and rate", f"{sent} in 24 hours and {more} more", facts.RATE)
