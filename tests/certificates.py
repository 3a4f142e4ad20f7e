"""Certificates for listeners under test."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from relay.smtp.tls import Profile, server_context


@dataclass
class Pki:
    """An authority, and a certificate of it for localhost and 127.0.0.1 in files."""

    folder: Path

    def __post_init__(self) -> None:
        self.authority = trustme.CA()
        self.certificate, self.private_key = self.folder / "cert.pem", self.folder / "key.pem"
        self.issue()

    def issue(self) -> None:
        """Write another certificate over the one before."""
        leaf = self.authority.issue_cert("localhost", "127.0.0.1")
        self.private_key.write_bytes(leaf.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))

    def server(self, profile: Profile = "modern") -> ssl.SSLContext:
        """A listener's context."""
        return server_context(self.certificate, self.private_key, profile)

    def client(self) -> ssl.SSLContext:
        """A client that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
