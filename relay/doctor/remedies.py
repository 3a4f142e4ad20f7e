"""What mends things, as people can paste it: statements of policies, and names to put into commands. Pure."""

from __future__ import annotations

import json
import re
from shlex import quote
from typing import Final

from relay.aws.identity_of import Caller
from relay.settings.model import CredentialSource

SIMULATOR: Final = "success@simulator.amazonses.com"  # SES developer guide, "Using the mailbox simulator"

_SESSION: Final = re.compile(r"arn:aws[a-z-]*:sts::([0-9]{12}):")


def allow(action: str, resource: str = "*") -> str:
    """The statement of an IAM policy that allows one thing."""
    return json.dumps({"Effect": "Allow", "Action": action, "Resource": resource})


def trust(principal: str, external_id: str | None) -> str:
    """The statement of a role's trust policy that lets `principal` assume it."""
    statement: dict[str, object] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return json.dumps(statement)


def delegate_of(caller: Caller | None, source: CredentialSource) -> str:
    """Whom an owner's policy must name for a caller: a role, a user, or the account of what is neither."""
    if source.assume_role:
        return source.assume_role
    return "ACCOUNT_OR_ARN" if caller is None else lasting(caller.arn)


def lasting(arn: str) -> str:
    """The user of an ARN; of a session, whose role may have a path that it does not show, the account."""
    session = _SESSION.match(arn)
    return session[1] if session else arn


def proof_of(identity: str) -> str:
    """The command that proves everything about an identity that cannot be looked at."""
    return f"ses-relay doctor --identity {quote(identity)} --send-to {SIMULATOR}"


def identity_command(action: str, name: str, region: str) -> str:
    """The command that does something with an identity: get-email-identity, create-email-identity."""
    return f"aws sesv2 {action} --email-identity {quote(name)} --region {region}"
