"""What an account may look at: its quota, itself, its identities and its configuration sets.

Sources: SES API reference (v1), GetSendQuota; SES API v2 reference, GetAccount, GetEmailIdentity and
GetConfigurationSet. Nobody sees what another account owns. Each call needs the IAM permission of its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from relay.simulator.policy_language import Ask, Policy, decide
from relay.simulator.refusals import ACCESS_DENIED, NOT_FOUND, UNKNOWN_ACTION, Refused
from relay.simulator.standing import actor, circumstances, of_resource
from relay.simulator.usage import Usage
from relay.simulator.words import Caller
from relay.simulator.world import Identity, World, identity_arn, partition_of

Answer = Mapping[str, Any]


class Reads:
    """Answers the four calls for whoever may ask."""

    def __init__(self, world: World, usage: Usage) -> None:
        self._world = world
        self._usage = usage

    def send_quota(self, caller: Caller, now: datetime) -> Answer:
        """GetSendQuota."""
        self._check("ses:GetSendQuota", "*", caller, now)
        return self._quota(caller, now)

    def get(self, path: str, caller: Caller, now: datetime) -> tuple[str, Callable[[], Answer]]:
        """The name of a GET call of the v2 API and what answers it, by the path below /v2/email/."""
        kind, _, quoted = path.partition("/")
        name = unquote(quoted)
        if path == "account":
            return "GetAccount", lambda: self._account(caller, now)
        if kind == "identities" and name and "/" not in quoted:
            return "GetEmailIdentity", lambda: self._identity(name, caller, now)
        if kind == "configuration-sets" and name and "/" not in quoted:
            return "GetConfigurationSet", lambda: self._configuration_set(name, caller, now)
        raise Refused(UNKNOWN_ACTION, f"This SES does not know GET /v2/email/{path}")

    def _account(self, caller: Caller, now: datetime) -> Answer:
        self._check("ses:GetAccount", "*", caller, now)
        sending = self._world.account(caller.account).sending_in(caller.region)
        return {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": sending.enforcement,
            "ProductionAccessEnabled": sending.production,
            "SendingEnabled": not sending.paused and sending.enforcement != "SHUTDOWN",
            "SendQuota": self._quota(caller, now),
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        }

    def _quota(self, caller: Caller, now: datetime) -> Answer:
        sending = self._world.account(caller.account).sending_in(caller.region)
        return {
            "Max24HourSend": sending.max_24_hour_send,
            "MaxSendRate": sending.max_send_rate,
            "SentLast24Hours": float(self._usage.sent(caller.account, caller.region, now)),
        }

    def _identity(self, name: str, caller: Caller, now: datetime) -> Answer:
        arn = identity_arn(partition_of(caller.region), caller.region, caller.account, name)
        identity = self._world.identity(caller.account, caller.region, name)
        self._check("ses:GetEmailIdentity", arn, caller, now, identity.policies if identity else ())
        if identity is None:
            raise Refused(NOT_FOUND, f"Email identity <{name}> does not exist.")
        return _shown(identity)

    def _configuration_set(self, name: str, caller: Caller, now: datetime) -> Answer:
        found = self._world.configuration_set(caller.account, caller.region, name)
        arn = f"arn:{partition_of(caller.region)}:ses:{caller.region}:{caller.account}:configuration-set/{name}"
        self._check("ses:GetConfigurationSet", arn, caller, now)
        if found is None:
            raise Refused(NOT_FOUND, f"Configuration set <{name}> does not exist.")
        return {"ConfigurationSetName": found.name, "SendingOptions": {"SendingEnabled": not found.paused}, "Tags": []}

    def _check(
        self, action: str, resource: str, caller: Caller, now: datetime, attached: tuple[Policy, ...] = ()
    ) -> None:
        """Refused unless IAM lets the caller; identity policies may allow and deny as well."""
        context = circumstances(self._world, caller, now) | of_resource(self._world, caller.account)
        ask = Ask(actor(caller), action, resource, context)
        own = self._world.policies_of(caller.role or caller.principal)
        if not decide(ask, own, caller.account, attached).allowed:
            words = f"User `{caller.principal}' is not authorized to perform `{action}' on resource `{resource}'"
            raise Refused(ACCESS_DENIED, words)


def _shown(identity: Identity) -> Answer:
    return {
        "IdentityType": "EMAIL_ADDRESS" if identity.is_address else "DOMAIN",
        "FeedbackForwardingStatus": True,
        "VerifiedForSendingStatus": identity.verified,
        "VerificationStatus": "SUCCESS" if identity.verified else "PENDING",
        "Policies": {policy.name: policy.document for policy in identity.policies},
        "Tags": [],
    }
