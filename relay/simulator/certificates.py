"""TLS for the simulator: a certificate authority of its own, made afresh for each run and good for loopback only."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certificates:
    """The server's TLS context, and the authority that clients need to believe it."""

    context: ssl.SSLContext
    authority: bytes

    def write_authority(self, path: Path) -> None:
        """Write the authority as PEM, the form that AWS_CA_BUNDLE wants."""
        path.write_bytes(self.authority)


def issue() -> Certificates:
    """A new authority, and a certificate for localhost, 127.0.0.1 and ::1."""
    authority = trustme.CA(organization_name="ses-relay simulator")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return Certificates(context, authority.cert_pem.bytes())
