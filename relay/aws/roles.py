"""Assuming a role: one call to STS, and the temporary keys that it answers (STS API reference, AssumeRole).

botocore makes the call, in a thread of the caller's: so where STS is (regional or global, AWS_ENDPOINT_URL_STS, FIPS),
which region signs, proxies, authorities and repetitions are what boto3 would choose, and a call or two in an hour need
no speed. Guarantees an end within bounded time, and that no secret is in what it raises. How long the session lasts is
the role's own choice, an hour unless its owner says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, UnknownRegionError

from relay.aws.keys import CredentialTrouble, Keys
from relay.policy.quoting import redact
from relay.settings.model import CredentialSource

_LIMITS: Final = Config(connect_timeout=5, read_timeout=10)  # seconds, for each try


@dataclass(frozen=True, slots=True)
class RoleSession:
    """The keys of an assumed role, and when they end (aware)."""

    keys: Keys
    ends: datetime


def assume(source: CredentialSource, keys: Keys, region: str) -> RoleSession:
    """Assume the role of `source` with the keys of the entry that assumes it. Blocks.

    Args:
        source: an entry with `assume_role`.
        keys: what its `source` has.
        region: where STS is asked, unless the role is of another partition.

    Raises:
        CredentialTrouble: STS refuses; `code` is its error code. botocore's own errors come through.
    """
    session = botocore.session.Session()
    client: Any = session.create_client(
        "sts",
        region_name=_region(session, str(source.assume_role), region),
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
        config=_LIMITS,
    )
    external_id = {"ExternalId": source.external_id} if source.external_id else {}
    try:
        answer = client.assume_role(RoleArn=source.assume_role, RoleSessionName=source.session_name, **external_id)
    except ClientError as error:
        raise _refusal(source, keys, error) from None  # its context has the request
    finally:
        client.close()
    found = answer["Credentials"]
    return RoleSession(Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]), found["Expiration"])


def _region(session: Any, role: str, region: str) -> str:
    """Where to ask STS: in `region`, or where the partition of the role has its global services."""
    partition = role.split(":")[1]
    try:
        if region and session.get_partition_for_region(region) == partition:
            return region
    except UnknownRegionError:
        pass
    homes = {one["id"]: one["outputs"]["implicitGlobalRegion"] for one in session.get_data("partitions")["partitions"]}
    return str(homes.get(partition, region))


def _refusal(source: CredentialSource, keys: Keys, error: ClientError) -> CredentialTrouble:
    """Whom STS has refused what, in words for an operator; STS's own name the caller."""
    said = error.response.get("Error", {})
    code = str(said.get("Code", ""))
    words = redact(f"{code}: {said.get('Message', '')}")
    return CredentialTrouble(
        f"credentials {source.name!r}: STS does not let credentials {source.source!r} ({keys.access_key}) assume "
        f"{source.assume_role}: {words}",
        code,
    )
