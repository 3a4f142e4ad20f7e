"""What reaches the stream: whole lines that no stranger has a say in the form of."""

import io
import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.observe.log_output import is_journal, open_log

CLEAR, UP, TITLE = "\x1b[2J", "\x1b[1A", "\x1b]0;root\x07"


def console(**fields: object) -> str:
    """One line as an operator gets it."""
    output = io.StringIO()
    open_log("console", "debug", output).info("login_failed", **fields)
    return output.getvalue()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (f"a{CLEAR}b", r"a\x1b[2Jb"),
        (f"{UP}{TITLE}", r"\x1b[1A\x1b]0;root\x07"),
        ("a\r\nforged", r"a\r\nforged"),
        ("a\x9b2J", r"a\x9b2J"),
        ("\u202eevil", r"\u202eevil"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("Jörg", "Jörg"),
    ],
)
def test_what_does_not_print_is_escaped_on_the_console(written: str, shown: str) -> None:
    assert f"user={shown}" in console(user=written)
    assert f"'{shown}'" in console(recipients=[written])


@given(st.text(), st.text())
def test_one_event_is_one_printable_line(user: str, command: str) -> None:
    line = console(user=user, command=command, names=[user])

    assert line.endswith("\n")
    assert line[:-1].isprintable()


def fail(text: str) -> None:
    """As code does that has met something odd."""
    raise ValueError(text)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_has_its_lines_and_no_escapes(form: str) -> None:
    """And no values: what a password or a mail is called in the code stands there, not what it is."""
    output = io.StringIO()
    password = "hunter2".upper()
    try:
        fail(f"odd{CLEAR}")
    except ValueError as error:
        open_log(form, "debug", output).error("error", exc_info=error)  # type: ignore[arg-type] # one of the two
    said = output.getvalue()
    traceback = json.loads(said)["exception"] if form == "json" else said

    assert "Traceback (most recent call last):\n" in traceback
    assert "\x1b" not in said
    assert password not in said


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_journal_is_told_how_bad_it_is(form: str) -> None:
    """By what it takes off again, so that `journalctl -p warning` shows what an operator has to see."""
    output = io.StringIO()
    log = open_log(form, "debug", output, to_journal=True)  # type: ignore[arg-type] # one of the two
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("ready")

    assert [line[:3] for line in output.getvalue().splitlines()] == ["<7>", "<6>", "<4>", "<3>"]


def test_the_journal_is_where_systemd_says_that_it_is() -> None:
    """A service may have sent its output to a file, although the variable is there."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as other:
        found = os.fstat(file.fileno())
        stream = f"{found.st_dev}:{found.st_ino}"

        assert is_journal(stream, file.fileno())
        assert not is_journal(stream, other.fileno())
        assert not is_journal("", file.fileno())
    assert not is_journal(stream, 1_000_000)
