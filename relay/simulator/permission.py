"""May this caller send by this identity, set or recipient? The policies' part of a decision, pure.

Sources: SES developer guide, "Policy anatomy" (condition keys) and "Controlling access to Amazon SES" (SMTP counts
as API version 2); reports of what IAM is asked about besides. The action is `ses:SendRawEmail` on every interface:
reports symfony/symfony 51461, aws/aws-actionmailer-ses-ruby 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.header import decode_header, make_header
from functools import lru_cache
from typing import Final

from relay.simulator.claims import authors, feedback
from relay.simulator.condition_keys import uncertain
from relay.simulator.explanation import Chain, Rank
from relay.simulator.facts import CONDITION_KEY, ENCODED_NAME, MANY_VALUES, POLICY, SEVERAL_FROM, Fact
from relay.simulator.headers import Section
from relay.simulator.policy_conditions import Context
from relay.simulator.policy_language import Access, Ask, Effect, Policy, decide
from relay.simulator.refusals import ACCESS_DENIED, Refused
from relay.simulator.standing import actor, circumstances, of_resource
from relay.simulator.words import Caller, Interface, Submission
from relay.simulator.world import World

ACTION: Final = "ses:SendRawEmail"
_VERSIONS: Final[Mapping[Interface, str]] = {"v1": "1", "v2": "2", "smtp": "2"}
_AUTHOR: Final = frozenset({("ses:fromaddress", ""), ("ses:fromdisplayname", "")})


@dataclass(frozen=True, slots=True)
class Target:
    """A resource that policies are asked about: its ARN, its account, the policies that hang on it.

    `attached` is None where none can. `shown` is the ARN that a refusal names, `fact` why IAM is asked at all.
    """

    arn: str
    owner: str
    attached: tuple[Policy, ...] | None
    shown: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class Permission:
    """What policies are asked about one message; one context for each mailbox of From, since each needs leave."""

    world: World
    caller: Caller
    own: tuple[Policy, ...]
    contexts: tuple[Context, ...]
    encoded: bool

    def ask(self, chain: Chain, target: Target) -> None:
        """Ask about one resource, and add to the chain what the policies say."""
        access = self._access(target)
        doubt = next(self._doubts(target), None)
        if access.by_resource and target.owner != self.caller.account:
            self._note_policy(chain, target, access, doubt)
            allowed, why = access.by_actor.effect == "Allow", access.by_actor.why
            keys = self._keys_in_doubt(target, lambda other: other.by_actor.effect == "Allow", self.own)
        else:
            allowed, why, keys = access.allowed, access.by_actor.why, self._keys_in_doubt(target, _allowed)
            if access.by_resource and target.attached:
                why = f"{why}; on the identity itself: {access.by_resource.why}"
        what = f"IAM policies of {self.caller.principal} for {target.arn}"
        fact = CONDITION_KEY if keys else doubt or target.fact
        self._note(chain, what, target, allowed=allowed, why=_with(why, keys), fact=fact)

    def _note_policy(self, chain: Chain, target: Target, access: Access, doubt: Fact | None) -> None:
        """Add what the policies on somebody else's identity say."""
        ruling = access.by_resource
        if ruling is not None:
            keys = self._keys_in_doubt(target, _allowed_by_resource, target.attached or ())
            fact, why = CONDITION_KEY if keys else doubt or POLICY, _with(ruling.why, keys)
            what = f"sending authorization policy on {target.arn}"
            self._note(chain, what, target, allowed=ruling.effect == "Allow", why=why, fact=fact)

    def _access(self, target: Target, lean: Effect | None = None) -> Access:
        """The verdict on the first mailbox that is denied, else on the last."""
        for context in self.contexts:
            ask = Ask(actor(self.caller), ACTION, target.arn, {**context, **of_resource(self.world, target.owner)})
            access = decide(ask, self.own, target.owner, target.attached, lean)
            if not access.allowed:
                break
        return access

    def _keys_in_doubt(
        self, target: Target, verdict: Callable[[Access], bool], policies: tuple[Policy, ...] | None = None
    ) -> tuple[str, ...]:
        """The condition keys of some policies, by default of all, on whose value at AWS the verdict hangs."""
        policies = self.own + (target.attached or ()) if policies is None else policies
        context = {**self.contexts[0], **of_resource(self.world, target.owner)}
        keys = uncertain((key for key, _ in _keys(policies)), context)
        if keys and verdict(self._access(target, "Allow")) != verdict(self._access(target, "Deny")):
            return keys
        return ()

    def _doubts(self, target: Target) -> Iterator[Fact]:
        """What these policies look at although nobody knows how SES does."""
        keys = _keys(self.own + (target.attached or ()))
        if len(self.contexts) > 1 and keys & _AUTHOR:
            yield SEVERAL_FROM
        if ("ses:recipients", "") in keys and len(self.contexts[0]["ses:recipients"]) > 1:
            yield MANY_VALUES
        if ("ses:fromdisplayname", "") in keys and self.encoded:
            yield ENCODED_NAME

    def _note(self, chain: Chain, what: str, target: Target, *, allowed: bool, why: str, fact: Fact) -> None:
        if allowed:
            chain.passed(what, why, fact)
            return
        words = f"User `{self.caller.principal}' is not authorized to perform `{ACTION}' on resource `{target.shown}'"
        chain.failed(what, why, fact, Rank.DENIED, Refused(ACCESS_DENIED, words))


def _allowed(access: Access) -> bool:
    return access.allowed


def _allowed_by_resource(access: Access) -> bool:
    return access.by_resource is not None and access.by_resource.effect == "Allow"


def _with(why: str, keys: tuple[str, ...]) -> str:
    """A reason, and what makes it doubtful."""
    return f"{why}; what AWS has for {', '.join(keys)} is not known here" if keys else why


@lru_cache(maxsize=4096)
def _keys(policies: tuple[Policy, ...]) -> frozenset[tuple[str, str]]:
    """Every condition key that some policies look at, and under which set operator."""
    statements = (statement for policy in policies for statement in policy.statements)
    return frozenset((one.key, one.over) for statement in statements for one in statement.conditions)


def permission(
    world: World, submission: Submission, section: Section, recipients: tuple[str, ...], now: datetime
) -> Permission:
    """What the policies need to know of a message. Raises Refused for a Return-Path that cannot be parsed."""
    caller = submission.caller
    common = circumstances(world, caller, now) | {
        "ses:recipients": recipients,
        "ses:apiversion": (_VERSIONS[submission.interface],),
        "ses:feedbackaddress": (feedback(submission, section),),
    }
    mailboxes = authors(submission, section)
    contexts = tuple(common | _author(name, address) for name, address in mailboxes)
    encoded = any("=?" in name for name, _ in mailboxes)
    return Permission(world, caller, world.policies_of(caller.role or caller.principal), contexts, encoded)


def _author(name: str, address: str) -> dict[str, tuple[str, ...]]:
    author: dict[str, tuple[str, ...]] = {"ses:fromaddress": (address,)}
    if name:
        author["ses:fromdisplayname"] = (_decoded(name),)
    return author


def _decoded(name: str) -> str:
    """A display name as people read it."""
    if "=?" not in name:
        return name
    try:
        return str(make_header(decode_header(name)))
    except (ValueError, LookupError):
        return name
