"""Which regions Amazon SES is in, as far as the installed AWS SDK knows.

The list ages with the SDK, and boto3 itself makes a host name of any region that looks like one: so this is for
warnings, never for refusals.
"""

from functools import cache

import boto3


@cache
def known_regions() -> frozenset[str]:
    """Every region of every partition that boto3 lists for SES (endpoint data, no network)."""
    session = boto3.Session()
    partitions = session.get_available_partitions()
    return frozenset(region for name in partitions for region in session.get_available_regions("ses", name))
