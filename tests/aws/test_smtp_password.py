"""SMTP passwords derived from secret access keys, and the command that prints them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.aws.smtp_password import derive
from relay.cli.smtp_password import smtp_password

AWS_SAMPLE = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
VECTORS = [
    ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
    ("some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
    (AWS_SAMPLE, "us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
    (AWS_SAMPLE, "us-west-2", "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd"),
]


@pytest.mark.parametrize(("secret", "region", "password"), VECTORS)
def test_known_passwords(secret: str, region: str, password: str) -> None:
    """The derivation agrees with published vectors."""
    assert derive(secret, region) == password


@pytest.mark.parametrize(("secret", "region", "password"), VECTORS)
def test_command_reads_standard_input(secret: str, region: str, password: str) -> None:
    """A secret that is piped in gives the password and nothing else on standard output."""
    result = CliRunner().invoke(smtp_password, ["--region", region], input=secret + "\n")

    assert (result.exit_code, result.stdout) == (0, password + "\n")


def test_command_reads_a_file(tmp_path: Path) -> None:
    """--secret-file is read, with or without a line ending."""
    file = tmp_path / "secret"
    file.write_bytes(b"some+secret+key\r\n")

    result = CliRunner().invoke(smtp_password, ["--region", "us-west-1", "--secret-file", str(file)])

    assert (result.exit_code, result.stdout) == (0, VECTORS[1][2] + "\n")


AT_A_TERMINAL = """
import os
os.setsid()
os.open(os.ttyname(0), os.O_RDWR)  # becomes the terminal of this session, which prompts without echo want
from relay.cli.smtp_password import smtp_password
smtp_password(["--region", "us-west-1"])
"""


def test_command_asks_without_echo() -> None:
    """At a terminal the secret is asked for and not shown; the password goes to standard output alone."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    ) as it:
        shown = b""
        while b"key:" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, b"some+secret+key\n")
        output = it.communicate(timeout=20)[0]
    shown += os.read(ours, 1024)
    os.close(ours)
    os.close(theirs)

    assert output.decode() == VECTORS[1][2] + "\n"
    assert b"some+secret+key" not in shown


@pytest.mark.parametrize(
    ("arguments", "secret", "complaint"),
    [
        (["--region", "us-west-1"], "", "empty"),
        (["--region", "us-west-1"], "AKIAIOSFODNN7EXAMPLE", "access key id"),
        (["--region", "us-west-1"], "two words", "one word"),
        (["--region", "us-west-1"], "schlüssel", "ASCII"),
        (["--region", "Oregon"], "some+secret+key", "not the name of a region"),
        ([], "some+secret+key", "--region"),
        (["--region", "us-west-1", "some+secret+key"], "", "unexpected extra argument"),
    ],
)
def test_command_refuses(arguments: list[str], secret: str, complaint: str) -> None:
    """What cannot be right is a usage error, and nothing is printed that a script would take for a password."""
    result = CliRunner().invoke(smtp_password, arguments, input=secret)

    assert result.exit_code == 2
    assert complaint in result.output
    assert result.stdout == ""
