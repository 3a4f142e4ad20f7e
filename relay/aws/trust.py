"""Whom we believe to be Amazon: the TLS context for calls to SES.

Owns the choice of certificate authorities, which is boto3's: AWS_CA_BUNDLE or `ca_bundle` of the shared
configuration file, else REQUESTS_CA_BUNDLE, else the bundle that botocore brings. Guarantees verified
certificates and names, and TLS 1.2 or later (SES developer guide, "Security protocols").
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import botocore.session
from botocore.httpsession import get_cert_path


def ca_bundle() -> str:
    """The path of the PEM file, or directory of hashed files, with the authorities that boto3 would believe."""
    configured = botocore.session.Session().get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return str(configured or get_cert_path(verify=True))


def tls_context() -> ssl.SSLContext:
    """A context for SES. Reads files and takes some 20 ms: for a thread. Raises OSError, ssl.SSLError."""
    path = ca_bundle()
    is_directory = Path(path).is_dir()
    context = ssl.create_default_context(
        cafile=None if is_directory else path,
        capath=path if is_directory else None,
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
