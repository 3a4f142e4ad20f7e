"""SES identity ARNs: `arn:PARTITION:ses:REGION:ACCOUNT:identity/NAME`.

Owns the grammar (SES developer guide, "Identity owner tasks for sending authorization"). Refuses every other
resource, because people paste configuration sets, templates and IAM principals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.address import check_address, to_a_labels

_IDENTITY = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):ses:(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+|\*):(?P<account>[0-9]{12})"
    r":identity/(?P<name>[!-~]+)"
)
_RESOURCE = re.compile(r"arn:[^:]*:(?P<service>[^:]*):[^:]*:[^:]*:(?P<kind>[^/:]*)")


@dataclass(frozen=True, slots=True)
class IdentityArn:
    """A verified SES identity. `region` is "*" for identities that the owner has in several regions."""

    partition: str
    region: str
    account: str
    name: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:ses:{self.region}:{self.account}:identity/{self.name}"

    @property
    def is_address(self) -> bool:
        """Whether the identity is one address rather than a domain."""
        return "@" in self.name

    def covers(self, local: str, domain: str) -> bool:
        """Whether SES lets this identity send as local@domain: the address, or the domain and its subdomains.

        Domains compare without case, on label boundaries (SES developer guide, "Creating and verifying
        identities"); a `+label` of an address identity is covered, its local part compares exactly.
        """
        own_local, _, own_domain = self.name.rpartition("@")
        domain, own_domain = domain.lower(), own_domain.lower()
        if self.is_address:
            return domain == own_domain and own_local in (local, local.partition("+")[0])
        return domain == own_domain or domain.endswith("." + own_domain)


def parse_identity_arn(text: str) -> IdentityArn:
    """Parse an identity ARN; ValueError says what is wrong in words for an operator."""
    match = _IDENTITY.fullmatch(text)
    if match:
        _check_name(match["name"])
        return IdentityArn(**match.groupdict())
    resource = _RESOURCE.match(text)
    if resource and (resource["service"], resource["kind"]) != ("ses", "identity"):
        kind = f"{resource['service']} {resource['kind']}"
        raise ValueError(f"this ARN names something else ({kind}), not an SES identity")
    raise ValueError("not an SES identity ARN; expected arn:aws:ses:REGION:ACCOUNT:identity/DOMAIN-OR-ADDRESS")


def _check_name(name: str) -> None:
    """A domain or an address, and nothing that only looks like one."""
    try:
        _ = check_address(name) if "@" in name else to_a_labels(name)
    except ValueError as error:
        raise ValueError(f"the identity of this ARN is neither a domain nor an address: {error}") from None
