"""aiosmtpd 1.4.6 and asyncio's streams still have what `relay.smtp.protocol` leans on.

The subclass skips the library's constructor and replaces most of its methods. What it still runs, and what that
reads from the object, stands here, so that another version fails with the name instead of in production.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from relay.smtp.protocol import SmtpProtocol

# The library's methods that still run on our connections, each called by us or by the one above it.
RUN = (
    "connection_made",
    "_create_session",
    "_cb_client_connected",
    "_set_rset_state",
    "_create_envelope",
    "connection_lost",
)

# The library's private methods that we replace: it calls the first two from those above.
REPLACED = ("_reset_timeout", "_handle_client", "_timeout_cb", "_set_rset_state")

# Read by `connection_made` only after STARTTLS.
ONLY_AFTER_STARTTLS = {"_handle_hooks"}


def attributes(function: Callable[..., Any], context: type[ast.expr_context]) -> set[str]:
    """Names of `self` that the source of `function` reads (ast.Load) or sets (ast.Store)."""
    tree = ast.parse(dedent(inspect.getsource(function)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, context)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def all_attributes(functions: Iterable[Callable[..., Any]], context: type[ast.expr_context]) -> set[str]:
    return set().union(*(attributes(function, context) for function in functions))


OURS = [value for value in vars(SmtpProtocol).values() if inspect.isfunction(value)]
THEIRS = [getattr(SMTP, name) for name in RUN if hasattr(SMTP, name)]
GIVEN = set(dir(SmtpProtocol)) | all_attributes([SmtpProtocol.__init__], ast.Store)


def test_the_version_is_the_one_that_was_read() -> None:
    """Installed and pinned: its insides are ours to know, and no other version's are."""
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))

    assert version("aiosmtpd") == "1.4.6"
    assert "aiosmtpd==1.4.6" in project["project"]["dependencies"]


@pytest.mark.parametrize("name", sorted({*RUN, *REPLACED}))
def test_the_method_is_the_library_s_own(name: str) -> None:
    """A name that has moved would leave our override uncalled, or our call unanswered."""
    assert inspect.isfunction(vars(SMTP)[name])


@pytest.mark.parametrize("name", REPLACED)
def test_an_override_takes_what_the_library_passes(name: str) -> None:
    """Same parameters and the same kind of function."""
    ours, theirs = vars(SmtpProtocol)[name], vars(SMTP)[name]

    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)


def test_the_library_calls_what_we_replace() -> None:
    """The command loop and the timer start from its `connection_made`."""
    assert {"_handle_client", "_reset_timeout", "_set_rset_state"} <= attributes(SMTP.connection_made, ast.Load)


def test_what_the_library_reads_is_there_without_its_constructor() -> None:
    """Every attribute that its running methods read is one that we set, or that they set themselves."""
    read = all_attributes(THEIRS, ast.Load)
    missing = read - GIVEN - all_attributes(THEIRS, ast.Store)

    assert read
    assert missing <= ONLY_AFTER_STARTTLS


def test_what_we_read_is_set_by_somebody() -> None:
    """Every attribute of ours comes from our constructor, our methods, or the library's running ones."""
    read = all_attributes(OURS, ast.Load)

    assert read
    assert read - GIVEN - all_attributes([*OURS, *THEIRS], ast.Store) == set()


async def test_the_stream_reader_has_its_buffer_and_its_brake() -> None:
    """Pipelined bytes are taken out of the buffer; a transport that was paused by them has to go on."""
    reader = asyncio.StreamReader(limit=4)
    reader.feed_data(b"NOOP\r\n")

    assert isinstance(reader._buffer, bytearray)  # type: ignore[attr-defined] # the private name under test
    assert bytes(reader._buffer) == b"NOOP\r\n"  # type: ignore[attr-defined]
    reader._maybe_resume_transport()  # type: ignore[attr-defined]
