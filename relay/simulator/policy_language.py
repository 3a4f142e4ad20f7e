"""Policies and what they say about one request: the evaluation of IAM, pure.

Sources: IAM user guide, "Policy evaluation logic", "Cross-account policy evaluation logic" and "AWS JSON policy
elements: Principal"; SES developer guide, "Policy anatomy". An explicit deny wins; whoever is of the resource's
own account needs one policy that allows, whoever is of another account needs both: the resource's policy and an IAM
policy of its own. What does not depend on the message (principal, action, resource) is found once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from relay.simulator.condition_keys import is_certain
from relay.simulator.policy_conditions import Condition, Context, like, resource_like

Effect = Literal["Allow", "Deny"]
Reach = Literal["no", "account", "direct"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: account, ARN of the user or of the role's session, and the role behind a session."""

    account: str
    arn: str
    role: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """A `Principal` element: the values under "AWS" and under "Service"; `negated` for `NotPrincipal`."""

    aws: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    negated: bool = False

    def reach(self, actor: Actor) -> Reach:
        """Whether the actor is meant: by name, only as one of its account, or not at all."""
        found = {_meant(text, actor) for text in self.aws}
        best: Reach = "direct" if "direct" in found else "account" if "account" in found else "no"
        if self.negated:
            return "direct" if best == "no" else "no"
        return best


def _meant(text: str, actor: Actor) -> Reach:
    if text in ("*", actor.arn) or (actor.role and text == actor.role):
        return "direct"
    root = text.split(":")
    is_root = len(root) == 6 and root[2] == "iam" and root[5] == "root"
    return "account" if actor.account == (root[4] if is_root else text) else "no"


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement; `who` is None in policies of principals. `but_*` are NotAction and NotResource.

    Without any resource it is about whatever it hangs on, as in the trust policy of a role.
    """

    sid: str
    effect: Effect
    who: Who | None
    actions: tuple[str, ...] = ()
    but_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    but_resources: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def concerns(self, action: str, resource: str) -> bool:
        """Whether it speaks of this action, in any case, on this resource."""
        action = action.lower()
        acts = any(like(action, pattern.lower()) for pattern in self.actions or self.but_actions)
        lies = any(resource_like(resource, pattern) for pattern in self.resources or self.but_resources)
        return acts == bool(self.actions) and lies == bool(self.resources)

    def holds(self, context: Context, lean: Effect | None = None) -> bool:
        """Whether its conditions hold; `lean`: those that nobody knows of hold exactly if that is its effect."""
        sure = self.conditions if lean is None else [one for one in self.conditions if is_certain(one.key, context)]
        in_doubt = len(sure) < len(self.conditions)
        return all(one.holds(context) for one in sure) and (not in_doubt or self.effect == lean)


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A policy, read; `document` is its JSON, as its owner would see it again."""

    name: str
    statements: tuple[Statement, ...]
    document: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """May this actor do that there? `context` has the condition keys of the request."""

    actor: Actor
    action: str
    resource: str
    context: Context


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a set of policies says: allow, deny, or nothing; and why, in words for the policies' author."""

    effect: Effect | None
    direct: bool
    why: str


@lru_cache(maxsize=8192)
def _applicable(policy: Policy, actor: Actor, action: str, resource: str) -> tuple[tuple[Statement, Reach], ...]:
    """The statements about this actor, action and resource, whatever the message; policies compare by identity."""
    found = []
    for statement in policy.statements:
        reach: Reach = "direct" if statement.who is None else statement.who.reach(actor)
        if reach != "no" and statement.concerns(action, resource):
            found.append((statement, reach))
    return tuple(found)


def rule(policies: Iterable[Policy], ask: Ask, lean: Effect | None = None) -> Ruling:
    """What these policies say together: a deny wins, then an allow that names the actor, then one of its account.

    `lean` decides the conditions of which nobody knows what AWS sees; by default they see what is known here.
    """
    allowed: Ruling | None = None
    policies = tuple(policies)
    for policy in policies:
        for statement, reach in _applicable(policy, ask.actor, ask.action, ask.resource):
            if not statement.holds(ask.context, lean):
                continue
            if statement.effect == "Deny":
                return Ruling("Deny", True, f"{_label(policy, statement)} denies it")
            if allowed is None or reach == "direct":
                allowed = Ruling("Allow", reach == "direct", f"{_label(policy, statement)} allows it")
    return allowed or Ruling(None, False, "; ".join(_misses(policies, ask)) or "there is no policy that allows it")


def _misses(policies: Iterable[Policy], ask: Ask) -> Iterator[str]:
    """Why each statement that allows something does not allow this."""
    for policy in policies:
        for statement in policy.statements:
            if statement.effect == "Allow":
                yield f"{_label(policy, statement)} {_miss(statement, ask)}"


def _miss(statement: Statement, ask: Ask) -> str:
    if statement.who is not None and statement.who.reach(ask.actor) == "no":
        return f"is for {_listed(statement.who.aws + statement.who.services)}, not {ask.actor.arn}"
    if not statement.concerns(ask.action, ask.resource):
        acts = _listed(statement.actions) or f"all but {_listed(statement.but_actions)}"
        lies = _listed(statement.resources) or f"all but {_listed(statement.but_resources)}"
        return f"is about {acts} on {lies}"
    unmet = next((one for one in statement.conditions if not one.holds(ask.context)), statement.conditions[0])
    return f"asks for {unmet}, but there is {_listed(ask.context.get(unmet.key, ())) or 'none'}"


def _label(policy: Policy, statement: Statement) -> str:
    number = policy.statements.index(statement) + 1
    return f"policy {policy.name}, statement {statement.sid or number},"


def _listed(values: Iterable[str]) -> str:
    return " or ".join(values)


@dataclass(frozen=True, slots=True)
class Access:
    """The verdict on one request, of both sides; `by_resource` is None where no policy hangs on the resource."""

    allowed: bool
    by_actor: Ruling
    by_resource: Ruling | None


def decide(
    ask: Ask, own: Iterable[Policy], owner: str, attached: Iterable[Policy] | None, lean: Effect | None = None
) -> Access:
    """Whether the actor's own policies and those attached to a resource of account `owner` allow the request."""
    by_actor = rule(own, ask, lean)
    by_resource = None if attached is None else rule(attached, ask, lean)
    effects = (by_actor.effect, by_resource.effect if by_resource else None)
    if "Deny" in effects:
        return Access(False, by_actor, by_resource)
    by_both = all(effect == "Allow" for effect in effects)
    if owner != ask.actor.account:
        return Access(by_both, by_actor, by_resource)
    named = by_resource is not None and by_resource.effect == "Allow" and by_resource.direct
    return Access(by_actor.effect == "Allow" or named, by_actor, by_resource)
