"""What SES would say to one message of a relay, without any network: `ses-relay explain --simulate`.

Owns who of a world an entry of the relay's credentials is: by its role, access key, SMTP user name or profile, else
(for boto3's chain, whose keys are not in the configuration) by the key of the environment, else the holder of the
world's first key. The judgement is the one that the simulator's interfaces use.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relay.model import Identity as Rule
from relay.settings.model import CredentialSource
from relay.simulator import headers, rules
from relay.simulator.authorization import judge
from relay.simulator.explanation import Decision, decision
from relay.simulator.usage import Usage
from relay.simulator.words import Arns, Caller, Interface, Submission
from relay.simulator.world import World
from relay.simulator.worlds.profiles import profile


class NotInTheWorld(ValueError):
    """The world does not know who would call; says whom."""


def rehearse(
    world: World, caller: Caller, rule: Rule, sender: str, recipients: tuple[str, ...], raw: bytes, now: datetime
) -> Decision:
    """The decision on one message, `raw` as the relay hands it to SES, by a caller who has not sent anything yet."""
    interface: Interface = "smtp" if rule.transport == "smtp" else "v2" if rule.tenant else "v1"
    arns = Arns(return_path=str(rule.return_path_arn)) if interface == "v2" else Arns()
    submission = Submission(interface, caller, sender, recipients, raw, arns, tenant=rule.tenant)
    section = headers.section(raw)
    envelope = rules.recipients_in_force(submission, section)
    return decision(submission, envelope, judge(world, Usage(), submission, section, envelope, now), now)


def caller(world: World, source: CredentialSource, region: str, environ: Mapping[str, str]) -> Caller:
    """Who of the world would call with these credentials. Raises NotInTheWorld."""
    if source.assume_role:
        return _session(world, source.assume_role, source.session_name, region)
    name = source.access_key_id or source.smtp_username
    written = profile(source.profile, environ).get("aws_access_key_id") if source.profile else None
    key = name or written or environ.get("AWS_ACCESS_KEY_ID", "")
    found: list[Any] = [one for one in world.keys if one.access_key_id == key]
    found += [one for one in world.logins if one.username == key]
    if not found and name:
        raise NotInTheWorld(f"nobody in this world has the access key or SMTP user name of credentials {source.name!r}")
    one = found[0] if found else world.keys[0]
    return Caller(key, one.account, one.principal, region, getattr(one, "role", ""))


def _session(world: World, role: str, name: str, region: str) -> Caller:
    if role not in world.principals:
        raise NotInTheWorld(f"this world has no role {role}")
    _, partition, _, _, account, resource = role.split(":", 5)
    principal = f"arn:{partition}:sts::{account}:assumed-role/{resource.rpartition('/')[2]}/{name}"
    return Caller("", account, principal, region, role)
