"""What the log says of the spool's file: which mails it concerns, and where what is left lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from relay.observe.log import Journal
from relay.observe.metrics import Metrics
from relay.spool.interface import State, Total

OLD = Path("/var/spool.db.damaged-7")


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1")


@pytest.fixture
def journal(log: CapturingLogger, metrics: Metrics) -> Journal:
    return Journal(log, metrics)


def only(log: CapturingLogger) -> tuple[str, dict[str, Any]]:
    """The level of the one line, and its fields."""
    [call] = log.calls
    return call.method_name, dict(call.kwargs)


def test_a_start_that_misses_contents_names_their_mails(journal: Journal, log: CapturingLogger) -> None:
    journal.spool_opened("spool.db", leases=1, rubbish=2, missing=[f"m{n}" for n in range(23)], aside=None)

    level, fields = only(log)
    assert level == "error"
    assert (fields["contents_missing"], fields["mails_not_named"]) == (23, 3)
    assert fields["mails"] == [f"m{n}" for n in range(20)]


def test_a_start_that_misses_nothing_names_nobody(journal: Journal, log: CapturingLogger) -> None:
    journal.spool_opened("spool.db", leases=1, rubbish=2, missing=(), aside=None)

    assert only(log) == ("info", {"path": "spool.db", "leases_ended": 1, "contents_missing": 0, "files_removed": 2})


def test_files_that_are_kept_for_a_while_are_counted(journal: Journal, log: CapturingLogger) -> None:
    """They may be mail whose row was restored away."""
    journal.spool_opened("spool.db", leases=0, rubbish=0, missing=(), aside=None, kept=3)

    assert only(log)[1]["files_kept"] == 3


def test_what_a_start_finds_wrong_with_the_files_is_an_error(journal: Journal, log: CapturingLogger) -> None:
    """Each may be lost mail."""
    journal.spool_database_missing("spool.db", None, rebuilt=False)
    journal.spool_database_missing("spool.db", OLD, rebuilt=True)
    journal.spool_log_missing("spool.db")
    journal.spool_log_damaged("spool.db", OLD)

    assert [(call.method_name, *call.args, call.kwargs) for call in log.calls] == [
        ("error", "spool_database_missing", {"path": "spool.db"}),
        ("error", "spool_database_missing", {"path": "spool.db", "old_log": str(OLD), "rebuilt": True}),
        ("error", "spool_log_missing", {"path": "spool.db"}),
        ("error", "spool_log_damaged", {"path": "spool.db", "old_log": str(OLD)}),
    ]


def test_a_file_that_was_mended_says_what_is_lost(journal: Journal, log: CapturingLogger) -> None:
    journal.spool_mended(4, ["a", "b"], OLD, Path("/var/spool.db.lost-7"), unreadable=False)

    assert only(log) == (
        "error",
        {
            "parcels": 4, "old_file": str(OLD), "mails_lost": 2, "mails": ["a", "b"],
            "lost_files": "/var/spool.db.lost-7-*",
        },
    )  # fmt: skip


def test_a_file_that_lost_nothing_is_a_warning(journal: Journal, log: CapturingLogger) -> None:
    journal.spool_mended(4, (), OLD, None, unreadable=False)

    assert only(log) == ("warning", {"parcels": 4, "old_file": str(OLD), "mails_lost": 0})


def test_a_file_that_could_not_be_read_has_no_number_of_lost_mails(journal: Journal, log: CapturingLogger) -> None:
    """0 would look as if nothing were lost."""
    journal.spool_mended(0, (), OLD, None, unreadable=True)

    assert only(log) == ("error", {"parcels": 0, "old_file": str(OLD), "unreadable": True})


@pytest.mark.parametrize(("oldest", "age"), [(40.0, 60.0), (100.0, 0.0), (5000.0, 0.0)])
def test_no_age_is_negative(journal: Journal, metrics: Metrics, oldest: float, age: float) -> None:
    """The clock may have been set back since the mail came."""
    journal.queue_is([Total(State.QUEUED, 1, oldest), Total(State.DEAD, 1, 0.0)], 100.0)

    assert f"ses_relay_queue_oldest_seconds {age}" in metrics.render()[0].decode()
