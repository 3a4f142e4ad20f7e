"""Where log lines go, and in which form: JSON or a person's console, whole lines, on a stream that may fail.

Guarantees that what strangers wrote moves no cursor and begins no line: JSON is ASCII, and on the console characters
that do not print are escaped. Tracebacks show no values of variables, which may be passwords or mail. Where systemd's
journal reads, each line has its priority, which the journal takes off again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

from relay.observe.events import Event

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # sd-daemon(3)


def open_log(form: Format, level: Level, stream: TextIO | None = None, *, to_journal: bool = False) -> Any:
    """A logger that writes whole lines to `stream` (standard output when None), which systemd's journal may read."""
    rendering: list[Any] = [structlog.processors.JSONRenderer(ensure_ascii=True)]
    if form == "console":
        plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        rendering = [_printable, plain]
    if to_journal:
        rendering.append(_with_priority)
    return structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Unbreakable(stream or sys.stdout))),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _in_reading_order,
            structlog.processors.format_exc_info,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )


def is_journal(journal_stream: str, descriptor: int) -> bool:
    """Whether a descriptor leads to the journal, by what systemd says in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def _with_priority(_: Any, level: str, line: str) -> str:
    return f"<{_PRIORITIES.get(level, 3)}>{line}"


def _in_reading_order(_: Any, level: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Time, level and event first: lines are read by people too."""
    return {"timestamp": fields.pop("timestamp"), "level": level, "event": str(fields.pop("event")), **fields}


def _printable(_: Any, __: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """What is no text is shown by its repr, which escapes; only a traceback may have lines."""
    return {key: _escaped(value, "\n" if key == "exception" else "") for key, value in fields.items()}


def _escaped(value: Any, kept: str) -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(mark if mark.isprintable() or mark in kept else _escape(mark) for mark in value)


def _escape(mark: str) -> str:
    return mark.encode("unicode_escape").decode("ascii")


class _Unbreakable:
    """A stream that loses what it cannot write: a full disk or a closed pipe must not keep mail from its answer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Bridge(logging.Handler):
    """Passes what libraries say on as one of our events."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._out = log

    def emit(self, record: logging.LogRecord) -> None:
        self._out.warning(Event.LIBRARY, logger=record.name, message=record.getMessage()[:500])


def adopt_libraries(log: Any) -> None:
    """Send the libraries' warnings to our log, and nothing below: aiosmtpd would write message contents."""
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(logging.WARNING)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
