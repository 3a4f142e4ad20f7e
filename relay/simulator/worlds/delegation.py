"""The simplest world: identities of their owners, and callers that may use them, in a line or two of Python.

Whoever holds a key may do everything in its own account. Each identity of another account carries one policy, which
allows exactly those callers to send, as an owner's policy should (SES developer guide, "Identity owner tasks for
Amazon SES sending authorization").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relay.arn import IdentityArn
from relay.simulator.policy_document import permit
from relay.simulator.words import AccessKey, SmtpLogin
from relay.simulator.world import Account, ConfigurationSet, Identity, Principal, World, identity_arn

POLICY = "ses-relay"
ACTIONS = ("ses:SendEmail", "ses:SendRawEmail")


def delegate(
    regions: Sequence[str],
    identities: Iterable[IdentityArn],
    keys: Sequence[AccessKey],
    logins: Sequence[SmtpLogin],
    configuration_sets: Iterable[str] = (),
) -> World:
    """A world in which every key and login may send as every identity; an ARN with region "*" is in each region.

    The configuration sets are those of each caller's account, in each region.
    """
    arns = list(identities)
    callers = {one.role or one.principal: one.account for one in keys}
    callers |= {one.principal: one.account for one in logins}
    partitions = {arn.account: arn.partition for arn in arns}
    accounts = {*callers.values(), *partitions}
    return World(
        regions=tuple(regions),
        accounts={one: Account(one, partitions.get(one, "aws")) for one in sorted(accounts)},
        principals={arn: Principal(arn, (permit("everything", "*", "*"),)) for arn in callers},
        keys=tuple(keys),
        logins=tuple(logins),
        identities=tuple(one for arn in arns for one in delegated(arn, regions, callers)),
        configuration_sets=tuple(
            ConfigurationSet(account, region, name)
            for account in dict.fromkeys(callers.values())
            for region in regions
            for name in configuration_sets
        ),
    )


def delegated(arn: IdentityArn, regions: Sequence[str], callers: Iterable[str]) -> Iterable[Identity]:
    """The identity of an ARN, verified, with a policy that lets these principals send."""
    for region in regions if arn.region == "*" else (arn.region,):
        resource = identity_arn(arn.partition, region, arn.account, arn.name)
        policy = permit(POLICY, ACTIONS, resource, callers)
        yield Identity(arn.account, region, arn.name, policies=(policy,), partition=arn.partition)
