"""A relay that starts with an ill spool, as a process: the log names what is lost, and the postmaster gets a letter."""

from __future__ import annotations

import email
import email.policy
import signal
from pathlib import Path
from typing import Any

import pytest
from relay_process import Bench

from relay.model import Client, Envelope
from relay.spool.interface import Mail, Part, Posting
from relay.spool.opening import Opening
from relay.spool.sqlite import open_spool

OPS = "ops@example.com"
LARGE = b"From: shop@example.com\r\n\r\n" + b"x" * 200_000 + b"\r\n"


def settings(spool: Path) -> dict[str, Any]:
    return {
        "spool": {"path": str(spool), "min_free_bytes": "1KB"},
        "bounces": {"from": "mailer-daemon@example.com", "postmaster": OPS},
    }


async def fill(path: Path, *names: str) -> None:
    """Large mails that are due in a long time."""
    spool = open_spool(Opening(path), 0.0)
    people = ("ann@customer.example",)
    for name in names:
        mail = Mail(name, 4e9, Client("s", "192.0.2.1", "local"), Envelope("shop@example.com", people), LARGE)
        await spool.put(Posting(mail, (Part(people, 4e9, "example.com"),)))
    await spool.close()


def remove(folder: Path, pattern: str = "*") -> None:
    """All files of this pattern."""
    for file in folder.glob(pattern):
        if file.is_file():
            file.unlink()


async def letter(bench: Bench) -> tuple[str, str]:
    """Subject and text of the first letter that SES has got; it is to the postmaster."""
    await bench.ses.wait_for(1)
    received = bench.ses.received[0]
    assert received.recipients == (OPS,)
    message = email.message_from_bytes(received.raw, policy=email.policy.default)
    return message["Subject"], message.get_content()


async def test_contents_that_are_missing_at_the_start_are_told(bench: Bench, tmp_path: Path) -> None:
    spool = tmp_path / "spool.db"
    await fill(spool, "0123", "4567")
    remove(tmp_path / "spool.db.contents")

    relay = await bench.start(**settings(spool))
    line = await relay.event("spool_opened")
    subject, text = await letter(bench)
    relay.tell(signal.SIGTERM)
    await relay.end()

    assert (line["level"], line["contents_missing"], line["mails"]) == ("error", 2, ["0123", "4567"])
    assert subject == "2 mails in the spool without content"
    assert "0123" in text
    assert "4567" in text
    assert str(tmp_path / "spool.db.contents") in text


async def test_a_file_that_was_mended_at_the_start_is_told(bench: Bench, tmp_path: Path) -> None:
    """Nothing of it could be read; its large contents are all that is left."""
    spool = tmp_path / "spool.db"
    await fill(spool, "0123")
    spool.write_bytes(b"nothing that anybody could read" * 1000)

    relay = await bench.start(**settings(spool))
    line = await relay.event("spool_mended")
    subject, text = await letter(bench)
    relay.tell(signal.SIGTERM)
    await relay.end()

    assert (line["level"], line["unreadable"]) == ("error", True)
    assert "mails_lost" not in line
    assert subject == "The spool was damaged: all its mail is lost"
    assert line["old_file"] in text
    assert f"{line['old_file']}.contents" in text


@pytest.mark.parametrize(
    ("removed", "event", "title", "named"),
    [
        ("spool.db*", "spool_database_missing", "The database of the spool was gone", ".missing-"),
        ("spool.db-wal", "spool_log_missing", "The log of the spool was gone", "-wal"),
    ],
)
async def test_what_is_gone_at_the_start_is_told(
    bench: Bench, tmp_path: Path, removed: str, event: str, title: str, named: str
) -> None:
    """What stood only there cannot be known."""
    spool = tmp_path / "spool.db"
    await fill(spool, "0123")
    remove(tmp_path, removed)

    relay = await bench.start(**settings(spool))
    gone = await relay.event(event)
    line = await relay.event("spool_opened")
    subject, text = await letter(bench)
    relay.tell(signal.SIGTERM)
    await relay.end()

    assert (gone["level"], gone["path"]) == ("error", str(spool))
    assert subject == title
    assert f"{spool}{named}" in text
    assert ("aside" in line) == (removed == "spool.db*")
    assert line.get("aside", str(spool)) in text
