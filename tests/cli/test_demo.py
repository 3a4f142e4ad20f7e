"""The demo is what strangers see first: it says what it shows, and shows what it says."""

import json
import os
import socket
import subprocess
import sys


def test_the_demo_ends_well_and_ses_saw_what_it_should() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay", "demo", "--json"], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    shown = told["mails"]

    assert [one["answer"][:9] for one in shown] == ["250 2.0.0"] * 4 + ["550 5.7.1"] + ["554 5.7.1"] * 3
    taken = [one["received"] for one in shown if one["received"]]
    assert [(one["interface"], one["region"]) for one in taken] == [
        ("v1", "us-east-1"), ("smtp", "eu-west-1"), ("v1", "us-east-1"), ("v2", "us-east-1"),
    ]  # fmt: skip
    for one in taken:
        names = [name for name, _ in one["headers"]]
        assert names[:3] == ["X-SES-SOURCE-ARN", "X-SES-FROM-ARN", "X-SES-RETURN-PATH-ARN"]
        assert "Bcc" not in names
        assert sum(name.lower() == "x-ses-source-arn" for name in names) == 1
    assert [one["refusal"] is not None for one in shown] == [False] * 5 + [True] * 3
    outage = told["outage"]
    assert [answer.rpartition(" ")[0] for answer in outage["answers"]] == ["250 2.0.0 Ok queued as"] * 5
    assert outage["taken_meanwhile"] == 0
    assert outage["arrived"] == {f"Order {number}": 1 for number in range(1, 6)}


def test_a_port_in_use_is_one_line() -> None:
    """Which address, and status 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-W", "always", "-m", "relay", "demo", "--port", port],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: cannot listen: ")
    assert f"127.0.0.1:{port}" in line
