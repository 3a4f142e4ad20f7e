"""A world of two accounts for tests of assumed roles: an owner with two roles, and a delegate who may assume the first.

The second role trusts the first one only, so that it takes a chain to get there.
"""

from __future__ import annotations

from typing import Any

from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, AccessKey
from relay.simulator.policy_document import VERSION, permit, read, trusting
from relay.simulator.policy_language import Policy
from relay.simulator.world import Account, Principal, World

OWNER = "123456789012"
EXTERNAL_ID = "shops-of-example"
SEND = f"arn:aws:iam::{OWNER}:role/mail/send"
SECOND = f"arn:aws:iam::{OWNER}:role/second"
SPARE = AccessKey("AKIASPAREEXAMPLE", "spare", DELEGATE.account, DELEGATE.principal)
REGIONS = ("us-east-1", "eu-west-1")

BASE = CredentialSource(
    "base", access_key_id=DELEGATE.access_key_id, secret_access_key=DELEGATE.secret_access_key
)  # fmt: skip


def role(name: str = "owner", **changes: Any) -> CredentialSource:
    """An entry that assumes the first role with the delegate's keys, unless told otherwise."""
    fields = {"assume_role": SEND, "external_id": EXTERNAL_ID, "session_name": "relay-7", "source": "base"}
    return CredentialSource(name, **(fields | changes))


def a_world() -> World:
    """Who is who; everybody may do everything in its own account."""
    principals = (
        Principal(DELEGATE.principal, (permit("everything", "*", "*"),)),
        Principal(SEND, (permit("everything", "*", "*"),), _trust(DELEGATE.principal, EXTERNAL_ID)),
        Principal(SECOND, (permit("everything", "*", "*"),), _trust(SEND, None)),
    )
    return World(
        regions=REGIONS,
        accounts={one: Account(one) for one in (OWNER, DELEGATE.account)},
        principals={one.arn: one for one in principals},
        keys=(DELEGATE, SPARE),
    )


def _trust(principal: str, external_id: str | None) -> Policy:
    return read("trust", {"Version": VERSION, "Statement": [trusting([principal], external_id)]}, "trust")
