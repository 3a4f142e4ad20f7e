"""`ses-relay explain`: who asks, from where, and what becomes of it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.explain import explain

CONFIG = """identities:
  - senders: ["@example.com"]
    source_arn: arn:aws:ses:us-west-2:123456789012:identity/example.com
clients:
  - name: here
    networks: ["127.0.0.0/8", "fe80::/10"]
    unix: true
"""


def run(folder: Path, *arguments: str) -> Result:
    path = folder / "relay.yaml"
    path.touch(0o600)
    path.write_text(CONFIG, "utf-8")
    return CliRunner().invoke(explain, ["app@example.com", "--config", str(path), *arguments])


@pytest.mark.parametrize("client", ["127.0.0.1", "::ffff:127.0.0.1", "fe80::1%eth0", "unix"])
def test_a_client_is_named_by_where_it_comes_from(tmp_path: Path, client: str) -> None:
    result = run(tmp_path, "--client", client)
    assert result.exit_code == 0
    assert "client           here\n" in result.output


@pytest.mark.parametrize("client", ["192.0.2.1", "unknown"])
def test_a_client_from_elsewhere_is_refused(tmp_path: Path, client: str) -> None:
    """`unknown` is one that a proxy cannot name: no network holds it, however trusted the proxy's own."""
    result = run(tmp_path, "--client", client)
    assert result.exit_code == 1
    assert "550 5.7.1" in result.output


@pytest.mark.parametrize("client", ["bogus", "", "127.0.0.1/8", "UNIX", "1.2.3", "localhost"])
def test_a_client_that_is_no_address_is_a_usage_error(tmp_path: Path, client: str) -> None:
    """Not a refusal of mail: 1 would say that the relay had looked at it."""
    result = run(tmp_path, "--client", client)
    assert result.exit_code == 2
    assert "an IP address, unix, or unknown" in result.output
