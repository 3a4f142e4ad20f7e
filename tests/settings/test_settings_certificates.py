"""A certificate and its key are tried before anything depends on them: `check`, start and reload name the file."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from settings_samples import IDENTITY, Load, Pair, Refuse, Write

from relay.app import door_of
from relay.settings.addresses import TcpAddress
from relay.settings.model import Listener

LISTENER = "{bind: 'localhost:25', tls: implicit, certificate: cert.pem, private_key: key.pem, tls_profile: %s}"
TLS = f"{IDENTITY}listeners:\n  - {LISTENER}\n"
NO_CERTIFICATE = "certificate: found cert.pem (no certificate); allowed PEM, the certificate first and then its chain"
NO_KEY = "private_key: found key.pem (no private key); allowed PEM, a private key without a passphrase"
PLAIN = NoEncryption()


def encrypted(pair: Pair) -> str:
    """The key as nobody can read it without a passphrase."""
    key = load_pem_private_key(pair.private_key.encode(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")).decode()


def foreign() -> str:
    """A key that belongs to another certificate."""
    return trustme.CA().issue_cert("localhost").private_key_pem.bytes().decode()


def old() -> Pair:
    """As old printers have them: a short RSA key."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - short on purpose
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began, ends = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, began, ends)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN)
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), private.decode())


def wrong(pair: Pair, kind: str) -> tuple[str, str, str]:
    """What stands in cert.pem, in key.pem, and what is said of it."""
    begun = pair.certificate[:300]
    mismatch = "private_key: found key.pem (the key of another certificate); allowed the one of "
    wanted = "private_key: found key.pem (an encrypted key); allowed one without a passphrase"
    return {
        "junk": ("junk", pair.private_key, NO_CERTIFICATE),
        "empty": ("", pair.private_key, NO_CERTIFICATE),
        "cut off": (begun, pair.private_key, NO_CERTIFICATE),
        "no certificate inside": (
            f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'x' * 60).decode()}\n-----END CERTIFICATE-----\n",
            pair.private_key,
            NO_CERTIFICATE,
        ),
        "swapped": (pair.private_key, pair.certificate, NO_CERTIFICATE),
        "a key that is junk": (pair.certificate, "junk", NO_KEY),
        "a key that is none": (pair.certificate, pair.certificate, NO_KEY),
        "a foreign key": (pair.certificate, foreign(), mismatch),
        "an encrypted key": (pair.certificate, encrypted(pair), wanted),
    }[kind]


KINDS = [
    *("junk", "empty", "cut off", "no certificate inside", "swapped"),
    *("a key that is junk", "a key that is none", "a foreign key", "an encrypted key"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_that_no_listener_can_use_is_refused(write: Write, refuse_text: Refuse, pair: Pair, kind: str) -> None:
    certificate, private_key, said = wrong(pair, kind)
    write(certificate, "cert.pem")
    write(private_key, "key.pem")

    [problem] = refuse_text(TLS % "modern")

    assert problem.startswith(f"relay.yaml:5: error: listeners[0].{said}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_listener_that_reads_them_again_names_the_file(write: Write, pair: Pair, kind: str) -> None:
    """On a reload they may be others than when they were checked; nobody is asked for a passphrase."""
    certificate, private_key, said = wrong(pair, kind)
    files = {"certificate": write(certificate, "cert.pem"), "private_key": write(private_key, "key.pem")}
    listener = Listener(TcpAddress("localhost", 25), "implicit", files["certificate"], files["private_key"])
    key, _, found = said.partition(": ")

    with pytest.raises(OSError, match="found") as caught:
        door_of(listener)

    what = found.partition("(")[2].partition(")")[0]
    assert str(caught.value).startswith(f"{files[key]}: found {what}; allowed ")


def test_a_listener_whose_certificate_has_gone_names_the_file() -> None:
    listener = Listener(TcpAddress("localhost", 25), "implicit", Path("/nowhere/cert.pem"), Path("/nowhere/key.pem"))

    with pytest.raises(OSError, match=r"/nowhere/cert\.pem or /nowhere/key\.pem: no such file or directory"):
        door_of(listener)


def test_a_pair_is_good_for_the_profile_that_it_is_meant_for(
    write: Write, load_text: Load, refuse_text: Refuse
) -> None:
    """A short key is what `legacy` is there for."""
    certificate, private_key = old()
    write(certificate, "cert.pem")
    write(private_key, "key.pem")

    [problem] = refuse_text(TLS % "modern")

    assert "certificate: found cert.pem (what OpenSSL refuses (ee key too small)); allowed" in problem
    assert load_text(TLS % "legacy").warnings == ()
