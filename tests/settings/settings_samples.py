"""The smallest configuration, and the types of the fixtures that load one."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from relay.settings.load import Loaded

ARN = "arn:aws:ses:us-west-2:123456789012:identity/example.com"
IDENTITY = f"""identities:
  - senders: ["@example.com"]
    source_arn: {ARN}
"""
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g"
USERS = f"users: {{billing: '{HASH}'}}\n"


class Pair(NamedTuple):
    """A certificate with its chain, and its key: texts of PEM files."""

    certificate: str
    private_key: str


Write = Callable[..., Path]
Load = Callable[..., Loaded]
Refuse = Callable[..., list[str]]
