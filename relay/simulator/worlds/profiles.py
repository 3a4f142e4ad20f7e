"""Keys of the shared credentials file (AWS SDKs and tools reference guide, "Shared config and credentials files").

Only keys that are written down: whatever a program or a service would have to be asked for is not looked for.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

_PLACE = "AWS_SHARED_CREDENTIALS_FILE"
_USUAL = "~/.aws/credentials"


def profile(name: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The settings of a profile, such as aws_access_key_id; none if there is no such file or profile."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(Path(environ.get(_PLACE, _USUAL)).expanduser(), "utf-8")
        return dict(parser[name])
    except (configparser.Error, OSError, UnicodeError, KeyError):
        return {}
