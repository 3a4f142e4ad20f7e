"""STS: `AssumeRole` and `GetCallerIdentity`, as far as a relay needs them.

Source: STS API reference. A role is assumed when its trust policy names the caller and, where it asks for one, the
external id is right; a caller of another account, or one that the trust policy names by its account only, also needs
`sts:AssumeRole` of its own (IAM user guide, "Cross-account policy evaluation logic"). Session policies and tags, MFA
and source identities are refused rather than ignored.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from relay.simulator.keys import KeyRing
from relay.simulator.policy_language import Ask, decide
from relay.simulator.refusals import ACCESS_DENIED, MISSING, STS_INVALID, Refused
from relay.simulator.standing import actor, circumstances, of_resource, unique_id, user_id
from relay.simulator.words import AccessKey, Caller
from relay.simulator.world import Principal, World

VERSION: Final = "2011-06-15"
NAMESPACE: Final = f"https://sts.amazonaws.com/doc/{VERSION}/"

_ROLE = re.compile(r"arn:aws(?:-[a-z]+)*:iam::([0-9]{12}):role/(?:[!-~]+/)?([\w+=,.@-]+)")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_PARAMETERS = {"Action", "Version", "RoleArn", "RoleSessionName", "ExternalId", "DurationSeconds"}
_SHORTEST_S, _LONGEST_S, _CHAINED_S, _USUAL_S = 900, 43_200, 3600, 3600

Answer = Mapping[str, Any]


class Sts:
    """Answers the two calls; a session is a temporary key in the ring."""

    def __init__(self, world: World, ring: KeyRing) -> None:
        self._world = world
        self._ring = ring
        self.calls: Mapping[str, Callable[[Mapping[str, str], Caller, datetime], Answer]] = {
            "AssumeRole": self._assume_role,
            "GetCallerIdentity": self._caller_identity,
        }

    def _caller_identity(self, _: Mapping[str, str], caller: Caller, __: datetime) -> Answer:
        """Needs no permission."""
        return {"Arn": caller.principal, "UserId": user_id(caller), "Account": caller.account}

    def _assume_role(self, form: Mapping[str, str], caller: Caller, now: datetime) -> Answer:
        name, found = _checked(form)
        role = self._world.principals.get(form["RoleArn"])
        permitted, _ = may_assume(self._world, caller, form["RoleArn"], form.get("ExternalId"), now)
        if role is None or not permitted:
            raise not_assumed(caller, form["RoleArn"])
        session = f"arn:{role.arn.split(':')[1]}:sts::{found[1]}:assumed-role/{found[2]}/{name}"
        key = AccessKey(
            access_key_id="ASIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
            secret_access_key=base64.b64encode(secrets.token_bytes(30)).decode(),
            account=found[1],
            principal=session,
            session_token=base64.b64encode(secrets.token_bytes(96)).decode(),
            expires=now.replace(microsecond=0) + timedelta(seconds=_duration(form, caller, role)),
            role=role.arn,
        )
        self._ring.add_session(key, now)
        return {"Credentials": _shown(key), "AssumedRoleUser": {"AssumedRoleId": _role_id(key), "Arn": session}}


def may_assume(world: World, caller: Caller, role_arn: str, external_id: str | None, now: datetime) -> tuple[bool, str]:
    """Whether a caller may assume a role, and why or why not in words for the policies' authors."""
    role = world.principals.get(role_arn)
    if role is None or role.trust is None:
        return False, f"this world has no role {role_arn}"
    owner = role_arn.split(":")[4]
    context = circumstances(world, caller, now) | of_resource(world, owner)
    if external_id is not None:
        context["sts:externalid"] = (external_id,)
    ask = Ask(actor(caller), "sts:AssumeRole", role.arn, context)
    access = decide(ask, world.policies_of(caller.role or caller.principal), owner, (role.trust,))
    if access.by_resource is None or access.by_resource.effect != "Allow":
        return False, access.by_resource.why if access.by_resource else "nobody is trusted"
    return access.allowed, access.by_resource.why if access.allowed else access.by_actor.why


def not_assumed(caller: Caller, role_arn: str) -> Refused:
    """What STS says then."""
    words = f"User: {caller.principal} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
    return Refused(ACCESS_DENIED, words)


def _checked(form: Mapping[str, str]) -> tuple[str, re.Match[str]]:
    """The session's name and the parts of the role's ARN; Refused when the call is malformed."""
    for parameter in ("RoleArn", "RoleSessionName"):
        if parameter not in form:
            raise Refused(MISSING, f"1 validation error detected: Value null at '{parameter}' must not be null")
    unknown = sorted(set(form) - _PARAMETERS)
    if unknown:
        raise Refused(STS_INVALID, f"This STS does not simulate {', '.join(unknown)}")
    found = _ROLE.fullmatch(form["RoleArn"])
    if found is None:
        raise Refused(STS_INVALID, f"{form['RoleArn']} is invalid")
    if not _SESSION_NAME.fullmatch(form["RoleSessionName"]):
        raise Refused(
            STS_INVALID, "1 validation error detected: Value at 'roleSessionName' failed to satisfy constraint"
        )
    return form["RoleSessionName"], found


def _duration(form: Mapping[str, str], caller: Caller, role: Principal) -> int:
    """How long the session lasts, in seconds; one that a session asks for lasts an hour at most (role chaining)."""
    text = form.get("DurationSeconds", str(min(_USUAL_S, role.max_session_s)))
    seconds = int(text) if text.isascii() and text.isdigit() else 0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise Refused(
            STS_INVALID, "1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint"
        )
    if seconds > role.max_session_s:
        raise Refused(STS_INVALID, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if caller.role and seconds > _CHAINED_S:
        words = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        raise Refused(STS_INVALID, words)
    return seconds


def _shown(key: AccessKey) -> Answer:
    expires = f"{key.expires:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key,
        "SessionToken": key.session_token, "Expiration": expires,
    }  # fmt: skip


def _role_id(key: AccessKey) -> str:
    return f"{unique_id('AROA', key.role)}:{key.principal.rpartition('/')[2]}"
