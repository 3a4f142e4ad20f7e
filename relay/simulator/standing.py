"""What any request says of its caller: the actor of policies, and the `aws:` condition keys.

Source: IAM user guide, "AWS global condition context keys" and "IAM identifiers". `aws:SecureTransport` is always
true: SES takes nothing without TLS, whatever this SES is reached by. Nobody here is a service, has an MFA device or
tags. Which keys are then as at AWS is in `relay.simulator.condition_keys`.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

from relay.simulator.policy_language import Actor
from relay.simulator.words import Caller
from relay.simulator.world import World


def actor(caller: Caller) -> Actor:
    """The caller, as policies see it."""
    return Actor(caller.account, caller.principal, caller.role)


def circumstances(world: World, caller: Caller, now: datetime) -> dict[str, tuple[str, ...]]:
    """The `aws:` keys of a request, but for those of its resource; keys without a value are left out."""
    values = {
        "aws:currenttime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now.timestamp())),
        "aws:securetransport": "true",
        "aws:sourceip": world.source_ip or caller.source_ip,
        "aws:useragent": caller.user_agent,
        "aws:principalarn": caller.role or caller.principal,
        "aws:principalaccount": caller.account,
        "aws:principalorgid": world.account(caller.account).organization,
        "aws:principaltype": "AssumedRole" if caller.role else "User",
        "aws:principalisawsservice": "false",
        "aws:userid": user_id(caller),
        "aws:username": None if caller.role else caller.principal.rpartition("/")[2],
        "aws:multifactorauthpresent": "false" if caller.role else None,
        "aws:viaawsservice": "false",
        "aws:requestedregion": caller.region,
    }
    return {key: (value,) for key, value in values.items() if value}


def of_resource(world: World, owner: str) -> dict[str, tuple[str, ...]]:
    """The `aws:` keys of a resource that belongs to account `owner`."""
    values = {"aws:resourceaccount": owner, "aws:resourceorgid": world.account(owner).organization}
    return {key: (value,) for key, value in values.items() if value}


def user_id(caller: Caller) -> str:
    """The caller's unique id, made up in IAM's form: that of the user, or of the role with the session's name."""
    if caller.role:
        return f"{unique_id('AROA', caller.role)}:{caller.principal.rpartition('/')[2]}"
    return unique_id("AIDA", caller.principal)


def unique_id(prefix: str, arn: str) -> str:
    """An id in IAM's form, the same for the same ARN."""
    return prefix + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]
