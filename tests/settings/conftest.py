"""A configuration written in a test, and loaded from a directory of its own."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from settings_samples import Load, Pair, Refuse, Write

from relay.settings.load import Loaded, load
from relay.settings.problems import ConfigurationError


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file that nobody else may read, and go to its directory, so that problems show a short path."""
    monkeypatch.chdir(tmp_path)

    def written(text: str, name: str = "relay.yaml", mode: int = 0o600) -> Path:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)
        return path

    return written


@pytest.fixture(scope="session")
def pair() -> Pair:
    """What a listener with TLS can use."""
    leaf = trustme.CA().issue_cert("localhost")
    certificates = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return Pair(certificates.decode(), leaf.private_key_pem.bytes().decode())


@pytest.fixture
def load_text(write: Write) -> Load:
    """Load a configuration that must be well."""

    def loaded(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        return load(write(text), environ or {})

    return loaded


@pytest.fixture
def refuse_text(write: Write) -> Refuse:
    """Load a configuration that must be refused, and return the problems as lines."""

    def refused(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load(write(text), environ or {})
        return [str(problem) for problem in caught.value.problems]

    return refused
