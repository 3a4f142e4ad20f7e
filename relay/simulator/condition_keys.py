"""Which condition keys there are, and which of them this SES knows as AWS would: pure.

Sources: IAM user guide, "AWS global condition context keys"; SES developer guide, "Policy anatomy"; service
authorization reference, "Amazon Simple Email Service v2" and "AWS Security Token Service". A key that is none of them
may be misspelt: AWS takes such a policy, and the condition then sees no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from relay.simulator.policy_conditions import Context

_AWS: Final = """
    AssumedRoot CalledVia CalledViaAWSMCP CalledViaFirst CalledViaLast ChatbotSourceArn CurrentTime
    Ec2InstanceSourcePrivateIPv4 Ec2InstanceSourceVpc EpochTime FederatedProvider IsMcpServiceAction MultiFactorAuthAge
    MultiFactorAuthPresent PrincipalAccount PrincipalArn PrincipalIsAWSService PrincipalOrgID PrincipalOrgPaths
    PrincipalServiceName PrincipalServiceNamesList PrincipalType Referer RequestedRegion ResourceAccount ResourceOrgID
    ResourceOrgPaths SecureTransport SourceAccount SourceArn SourceIdentity SourceIp SourceOrgID SourceOrgPaths
    SourceVpc SourceVpcArn SourceVpce TagKeys TokenIssueTime UserAgent userid username ViaAWSService VpceAccount
    VpceOrgID VpceOrgPaths VpcSourceIp
"""
_SES: Final = """
    ApiVersion ExportSourceType FeedbackAddress FromAddress FromDisplayName MailManagerIngressPointType
    MailManagerRuleSetArn MailManagerTrafficPolicyArn MultiRegionEndpointId Recipients ReplicaRegion TenantName
"""
_STS: Final = """
    AWSServiceName DurationSeconds ExternalId RequestContextProviders RoleSessionName SourceIdentity TaskPolicyArn
    TransitiveTagKeys
"""
_TAGS: Final = ("aws:principaltag/", "aws:requesttag/", "aws:resourcetag/", "sts:requestcontext/")
_SERVICES: Final = {"aws": _AWS, "ses": _SES, "sts": _STS}
_WRITTEN: Final[Mapping[str, str]] = {
    f"{service}:{name}".lower(): f"{service}:{name}" for service, names in _SERVICES.items() for name in names.split()
}

# What AWS leaves out of a call such as these: by no service and through none, by nobody federated, of no MFA device;
# and what a message, a call to STS or an account has or has not got
_ABSENT: Final = """
    aws:calledvia aws:calledviafirst aws:calledvialast aws:federatedprovider aws:multifactorauthage
    aws:multifactorauthpresent aws:principalorgid aws:principalservicename aws:principalservicenameslist
    aws:resourceorgid aws:sourceaccount aws:sourcearn aws:sourceidentity aws:sourceorgid aws:sourceorgpaths
    aws:username ses:apiversion ses:feedbackaddress ses:fromaddress ses:fromdisplayname ses:recipients sts:externalid
"""
_MAY_BE_ABSENT: Final = frozenset(_ABSENT.split())
_OF_SESSIONS: Final = "aws:tokenissuetime"  # when that was is not kept here
_ALIKE: Final = 0.75
_MADE_UP: Final = "aws:userid"  # has a value here, but AWS's ids are others


def is_certain(key: str, context: Context) -> bool:
    """Whether a condition on this key (in lower case) sees here what it would see at AWS."""
    if key == _OF_SESSIONS:
        return context.get("aws:principaltype") == ("User",)
    return key != _MADE_UP and (key in context or key in _MAY_BE_ABSENT)


def uncertain(keys: Iterable[str], context: Context) -> tuple[str, ...]:
    """Those of the keys of which that is not so, as AWS writes them."""
    return tuple(_WRITTEN.get(key, key) for key in sorted(set(keys)) if not is_certain(key, context))


def correction(key: str) -> str | None:
    """None for a key that there is, else the nearest one that there is, or "".

    Other services than SES, STS and AWS in general may have any.
    """
    key = key.lower()
    service, colon, _ = key.partition(":")
    if key in _WRITTEN or key.startswith(_TAGS) or (colon and service not in _SERVICES):
        return None
    alike = [one for one in _WRITTEN if not colon or one.startswith(f"{service}:")]
    near = get_close_matches(key, alike, n=1, cutoff=_ALIKE)
    return _WRITTEN[near[0]] if near else ""
