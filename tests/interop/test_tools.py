"""The clients and servers of other makers are there and start, so that a failure elsewhere is about mail."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["swaks", "--version"], "swaks version"),
        (["swaks", "--support"], "TLS supported"),
        (["msmtp", "--version"], "TLS/SSL library"),
        (["smtp-source"], "usage: "),
        (["smtp-sink"], "usage: "),
        (["curl", "--version"], " smtp "),
        (["node", "-e", "console.log(typeof require('nodemailer').createTransport)"], "function"),
        (["node", "-e", "console.log(typeof require('smtp-server').SMTPServer)"], "function"),
    ],
    ids=["swaks", "swaks with TLS", "msmtp with TLS", "smtp-source", "smtp-sink", "curl", "nodemailer", "smtp-server"],
)
def test_the_tool_starts(command: list[str], says: str) -> None:
    """`make test-interop` has put it on PATH (what is for Node.js: on NODE_PATH)."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert says in result.stdout + result.stderr
