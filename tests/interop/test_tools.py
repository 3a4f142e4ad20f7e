"""The clients and servers of other makers are there and start, so that a failure elsewhere is about mail."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["swaks", "--version"], "swaks version"),
        (["swaks", "--support"], "TLS supported"),
        (["msmtp", "--version"], "TLS/SSL library"),
        (["haproxy", "-v"], "HAProxy version"),
        (["nmap", "--script-help", "smtp-open-relay"], "smtp-open-relay"),
        (["testssl", "--help"], "testssl"),
        (["command-injection-tester", "--help"], "STARTTLS"),
        (["smtp-source"], "usage: "),
        (["smtp-sink"], "usage: "),
        (["curl", "--version"], " smtp "),
        (["node", "-e", "console.log(typeof require('nodemailer').createTransport)"], "function"),
        (["node", "-e", "console.log(typeof require('smtp-server').SMTPServer)"], "function"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_the_tool_starts(command: list[str], says: str) -> None:
    """`make test-interop` has put it on PATH (what is for Node.js: on NODE_PATH)."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert says in result.stdout + result.stderr


def test_make_test_interop_runs_every_test_that_is_marked_so() -> None:
    """It collects this folder alone, and `make test` leaves out what is marked."""
    here = Path(__file__).parent
    marked = [path for path in here.parent.rglob("test_*.py") if "mark.interop" in path.read_text("utf-8")]
    assert {path.parent for path in marked} == {here}
