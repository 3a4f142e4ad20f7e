"""What any request says of its caller: the actor of policies, and the `aws:` condition keys.

Source: IAM user guide, "AWS global condition context keys"; SES developer guide, "Controlling access", for those
that SES knows. `aws:SecureTransport` is always true: SES takes nothing without TLS, whatever this SES is reached by.
"""

from __future__ import annotations

from datetime import UTC, datetime

from relay.simulator.policy_language import Actor
from relay.simulator.words import Caller
from relay.simulator.world import World


def actor(caller: Caller) -> Actor:
    """The caller, as policies see it."""
    return Actor(caller.account, caller.principal, caller.role)


def circumstances(world: World, caller: Caller, now: datetime) -> dict[str, tuple[str, ...]]:
    """The `aws:` keys of a request; keys that there is nothing for are left out."""
    account = world.accounts.get(caller.account)
    values = {
        "aws:currenttime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now.timestamp())),
        "aws:securetransport": "true",
        "aws:sourceip": world.source_ip or caller.source_ip,
        "aws:useragent": caller.user_agent,
        "aws:principalarn": caller.role or caller.principal,
        "aws:principalaccount": caller.account,
        "aws:principalorgid": account.organization if account else None,
        "aws:requestedregion": caller.region,
    }
    return {key: (value,) for key, value in values.items() if value}
