"""TLS contexts of listeners.

`modern` is TLS 1.2 and later with the ciphers of Python's defaults. `legacy` is for printers and old Javas: TLS
1.0 and the ciphers of that time, forward secrecy first; it weakens that listener and no other. No client is asked
for a certificate. Files are read again on reload; new sessions get the new certificate.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

Profile = Literal["modern", "legacy"]

_LEGACY_CIPHERS = "DEFAULT:@SECLEVEL=0:!aNULL:!eNULL:!EXPORT:!RC4:!MD5"


def server_context(certificate: Path, private_key: Path, profile: Profile) -> ssl.SSLContext:
    """A context for one listener; raises OSError (ssl.SSLError among them) when the files are not a pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_SINGLE_ECDH_USE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if profile == "legacy":
        context.set_ciphers(_LEGACY_CIPHERS)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(certificate, private_key)
    return context
