"""`ses-relay queue export`: a message as a file that mail programs open, and that can be sent again."""

from __future__ import annotations

import email
import email.policy
import json
import os
import pty
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from queue_parts import CONTENT, Kit, posting, some_mail

from relay.cli.queue_export import with_envelope


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.chdir(tmp_path)
    return Kit(tmp_path)


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_it_is_the_client_s_message_byte_for_byte(kit: Kit, tmp_path: Path, size: int) -> None:
    """Small or large, for its owner alone, under the name of its mail."""
    content = CONTENT + b"\x00\xff\r\n.\r\n" + b"x" * size
    kit.fill(posting("aaaa", content=content))

    result = kit.queue("export", "aaaa")

    assert result.exit_code == 0
    assert (tmp_path / "aaaa.eml").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "aaaa.eml").stat().st_mode) == 0o600


def test_how_to_send_it_again_is_told(kit: Kit) -> None:
    """The envelope of a mail is that of all its parcels, or of the one that is named; for a shell, and for programs."""
    some_mail(kit)

    lines = kit.queue("export", "aaaa", "--to", "a mail.eml").output.splitlines()

    assert lines[0] == f"a mail.eml: {len(CONTENT)} bytes"
    assert shlex.split(lines[1].removeprefix("to send it again: ")) == [
        "ses-relay", "send", "--from", "app@example.com", "--to", "ann@customer.example", "--to",
        "bob@customer.example", "--to", "cy@other.example", "--file", "a mail.eml",
    ]  # fmt: skip
    assert kit.told("export", "aaaa.2") == {
        "file": "aaaa.2.eml", "size": len(CONTENT), "sender": "app@example.com", "recipients": ["cy@other.example"],
    }  # fmt: skip
    assert lines[2:] == ["but drop it first: it is in the queue yet, and will be delivered from there"]
    dead = kit.queue("export", "cccc").output
    assert "--from '' --to" in dead
    assert "drop it first" not in dead


def test_standard_output_has_the_message_and_nothing_else(kit: Kit) -> None:
    kit.fill(posting("aaaa", content=CONTENT + b"\xff\x00"))

    result = kit.queue("export", "aaaa", "--to", "-")

    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, CONTENT + b"\xff\x00", "")


def test_a_terminal_is_not_written_to(kit: Kit) -> None:
    """A message may hold what commands it."""
    kit.fill(posting("aaaa", content=b"\x1b]0;owned\x07"))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "relay", "queue", "export", "aaaa", "--to", "-", "--config", str(kit.config)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60, cwd=root)
    os.close(theirs)
    with pytest.raises(OSError, match="Input/output"):
        os.read(ours, 100)
    os.close(ours)

    assert ended.returncode == 2
    assert b"a message does not go to a terminal" in ended.stderr


def test_no_file_is_overwritten_unless_that_is_asked_for(kit: Kit, tmp_path: Path) -> None:
    """And then it is replaced as a whole, with its owner's permissions only."""
    kit.fill(posting("aaaa"))
    path = tmp_path / "aaaa.eml"
    path.write_bytes(b"precious")
    path.chmod(0o644)

    refused = kit.queue("export", "aaaa")
    kept = path.read_bytes()
    forced = kit.queue("export", "aaaa", "--force")

    assert (refused.exit_code, kept) == (2, b"precious")
    assert "aaaa.eml is there already; --force overwrites it" in refused.output
    assert forced.exit_code == 0
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (CONTENT, 0o600)
    assert sorted(one.name for one in tmp_path.glob("*aaaa*")) == ["aaaa.eml"]


def test_a_device_is_never_replaced(kit: Kit, tmp_path: Path) -> None:
    """As root, --to /dev/null --force would leave a file there."""
    kit.fill(posting("aaaa"))
    os.mkfifo(tmp_path / "pipe")

    for words in (["--to", "pipe"], ["--to", "pipe", "--force"]):
        assert kit.queue("export", "aaaa", *words).exit_code == 2
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_place_that_cannot_be_written_to_is_1(kit: Kit, tmp_path: Path) -> None:
    kit.fill(posting("aaaa"))

    result = kit.queue("export", "aaaa", "--to", "nowhere/aaaa.eml")

    assert (result.exit_code, result.output) == (1, "Error: cannot write nowhere/aaaa.eml: No such file or directory\n")


def test_a_disk_that_fails_leaves_no_half_of_a_file(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --force the old file is still there."""
    kit.fill(posting("aaaa"))
    (tmp_path / "old.eml").write_bytes(b"precious")

    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relay.cli.queue_export.os.fsync", fails)
    results = [kit.queue("export", "aaaa", *words) for words in ([], ["--to", "old.eml", "--force"])]

    assert [one.exit_code for one in results] == [1, 1]
    assert "No space left on device" in results[0].output
    assert [one.name for one in tmp_path.glob("*.eml*")] == ["old.eml"]
    assert (tmp_path / "old.eml").read_bytes() == b"precious"


def test_an_unknown_id_is_1(kit: Kit, tmp_path: Path) -> None:
    kit.fill()

    result = kit.queue("export", "nobody")

    assert (result.exit_code, result.output) == (
        1,
        "Error: there is no nobody in the queue; what was delivered is in the log\n",
    )
    assert list(tmp_path.glob("*.eml")) == []


def test_the_envelope_may_stand_on_top(kit: Kit, tmp_path: Path) -> None:
    """For archives; a mail program reads it as fields of the message."""
    some_mail(kit)
    kit.queue("export", "aaaa", "--envelope")
    message = email.message_from_bytes((tmp_path / "aaaa.eml").read_bytes(), policy=email.policy.SMTP)

    assert message["Return-Path"] == "<app@example.com>"
    assert message["X-Envelope-To"].split(", ") == ["ann@customer.example", "bob@customer.example", "cy@other.example"]
    assert (tmp_path / "aaaa.eml").read_bytes().endswith(CONTENT)
    assert json.loads(kit.queue("export", "bbbb", "--envelope", "--json").output)["size"] > len(CONTENT)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", b"body\r\n"),
        (b"body: not\r\n", b""),
        (b"no header\r\n\r\nbody\r\n", b"no header\r\n\r\nbody\r\n"),
        (b"\r\nbody\r\n", b"body\r\n"),
        (b" folded onto nothing\r\n", b" folded onto nothing\r\n"),
        (b"", b""),
        (b"From app Mon Jan 1 2026\r\nSubject: x\r\n\r\nbody\r\n", b"body\r\n"),
        (b"Subject: x\r\nnot a field\r\n\r\nbody\r\n", None),
    ],
)
def test_the_envelope_changes_neither_body_nor_fields(content: bytes, body: bytes | None) -> None:
    """What has no header fields, or begins like a folded line or an mbox, must not grow into ours."""
    whole = b"".join(with_envelope(content, "app@example.com", ["ann@customer.example"]))
    head, _, rest = whole.partition(b"\r\n\r\n")

    assert head.startswith(b"Return-Path: <app@example.com>\r\nX-Envelope-To: ann@customer.example")
    assert body is None or rest == body
    assert body is not None or whole.endswith(content)
