"""Which certificate authorities calls to SES believe."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from botocore.httpsession import get_cert_path

from relay.aws.trust import ca_bundle, tls_context


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with one authority that nobody else knows."""
    path = tmp_path / "ca.pem"
    trustme.CA(organization_name="Ours").cert_pem.write_to_path(str(path))
    return path


def organizations(context: ssl.SSLContext) -> set[str]:
    """Who is believed."""
    found = set()
    for certificate in context.get_ca_certs():
        for ((key, value),) in certificate["subject"]:  # type: ignore[misc, str-unpack]  # typeshed has them too wide
            found |= {str(value)} if key == "organizationName" else set()
    return found


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_environment(variable: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle of the environment is believed alone."""
    monkeypatch.setenv(variable, str(bundle))

    assert organizations(tls_context()) == {"Ours"}


def test_configuration_file(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ca_bundle` of the shared configuration file is stronger than REQUESTS_CA_BUNDLE, as for boto3."""
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {bundle}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")

    assert organizations(tls_context()) == {"Ours"}


def test_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting botocore's own bundle is believed, which is there in the smallest image too."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)

    assert ca_bundle() == str(get_cert_path(verify=True))
    assert len(tls_context().get_ca_certs()) > 50


def test_directory(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of hashed certificates is taken as well."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle.parent))

    assert organizations(tls_context()) == set()  # such directories are read when a certificate is to be verified


def test_missing_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is not there is an error, never a silent fall-back to other authorities."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent/ca.pem")

    with pytest.raises(FileNotFoundError):
        tls_context()


def test_verification(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates and names are verified, and nothing older than TLS 1.2 is spoken."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))

    context = tls_context()

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
