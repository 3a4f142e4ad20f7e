"""Whether a certificate and its private key are a pair that a listener can use.

Guarantees that somebody who reads the problem knows which file to mend. Asks OpenSSL itself, so that nothing passes
here that it refuses later; never asks for a passphrase, for which OpenSSL would wait at the terminal.
"""

import ssl
from pathlib import Path
from typing import Literal

Profile = Literal["modern", "legacy"]

_LEGACY = "DEFAULT:@SECLEVEL=0"  # short keys and old digests, as a listener with `tls_profile: legacy` takes them


class Unfit(OSError):
    """A listener cannot use the pair: `found` in the file of `key`, where `allowed` is. Both are for an operator."""

    def __init__(self, path: Path, key: Literal["certificate", "private_key"], found: str, allowed: str) -> None:
        super().__init__(f"{path}: found {found}; allowed {allowed}")
        self.key = key
        self.found = found
        self.allowed = allowed


class _Encrypted(Exception):
    """OpenSSL wants a passphrase."""


def check_pair(certificate: Path, private_key: Path, profile: Profile) -> None:
    """Raise Unfit when no listener of this profile could use the pair, or OSError when it cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if profile == "legacy":
        context.set_ciphers(_LEGACY)
    try:
        context.load_cert_chain(certificate, private_key, password=_no_passphrase)
    except _Encrypted:
        raise Unfit(private_key, "private_key", "an encrypted key", "one without a passphrase") from None
    except ssl.SSLError as error:
        raise _told(certificate, private_key, error) from None
    except OSError as error:
        raise OSError(f"{certificate} or {private_key}: {(error.strerror or 'cannot be read').lower()}") from None


def _no_passphrase() -> str:
    raise _Encrypted


def _told(certificate: Path, private_key: Path, error: ssl.SSLError) -> Unfit:
    """Which of the two it is: OpenSSL calls most of what is wrong with either "PEM lib"."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return Unfit(private_key, "private_key", "the key of another certificate", f"the one of {certificate}")
    if not _holds_certificates(certificate):
        return Unfit(certificate, "certificate", "no certificate", "PEM, the certificate first and then its chain")
    reason = (error.reason or "").replace("_", " ").lower()
    if reason in ("pem lib", ""):
        return Unfit(private_key, "private_key", "no private key", "PEM, a private key without a passphrase")
    return Unfit(certificate, "certificate", f"what OpenSSL refuses ({reason})", "a certificate that it takes")


def _holds_certificates(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except OSError:
        return False
    return True
