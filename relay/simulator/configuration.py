"""What to tell a relay so that it uses the simulator: a configuration, or the endpoints for its own; an environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from relay.arn import IdentityArn
from relay.simulator.words import AccessKey

CREDENTIALS = "simulator"


def relay_config(
    identities: Iterable[IdentityArn], regions: Sequence[str], api_url: str, smtp_address: tuple[str, int]
) -> dict[str, Any]:
    """A relay configuration as its YAML file would have it; of identities with the same name, the first serves.

    Its credentials come from the environment below, so that they serve the API and SMTP alike.
    """
    rules: dict[str, dict[str, Any]] = {}
    for arn in identities:
        rules.setdefault(arn.name, _rule(arn, regions))
    return {
        "identities": list(rules.values()),
        "credentials": {
            CREDENTIALS: {"access_key_id": "${AWS_ACCESS_KEY_ID}", "secret_access_key": "${AWS_SECRET_ACCESS_KEY}"}
        },
        "ses": endpoints(api_url, smtp_address, "starttls"),
    }


def endpoints(api_url: str, smtp_address: tuple[str, int], tls: str) -> dict[str, Any]:
    """The keys of the section `ses` that lead to it."""
    host, port = smtp_address
    smtp = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {"api_endpoint": api_url, "smtp_endpoint": smtp, "smtp_tls": tls}


def _rule(arn: IdentityArn, regions: Sequence[str]) -> dict[str, Any]:
    senders = [arn.name if arn.is_address else f"@{arn.name}"]
    rule = {"name": arn.name, "senders": senders, "source_arn": str(arn), "credentials": CREDENTIALS}
    return rule if arn.region != "*" else {**rule, "region": regions[0]}


def relay_environment(key: AccessKey | None, ca_file: Path | None, api_url: str) -> dict[str, str]:
    """Credentials, where the configuration and boto3's chain find them, where STS is, and whom to believe."""
    environment = {}
    if key is not None:
        environment = {"AWS_ACCESS_KEY_ID": key.access_key_id, "AWS_SECRET_ACCESS_KEY": key.secret_access_key}
    if key is not None and key.session_token is not None:
        environment["AWS_SESSION_TOKEN"] = key.session_token
    environment["AWS_ENDPOINT_URL_STS"] = api_url
    if ca_file is not None:
        environment["AWS_CA_BUNDLE"] = str(ca_file)
    return environment
