"""Where log lines go, and in which form: JSON or a person's console, whole lines, on a stream that may fail."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

from relay.observe.events import Event

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def open_log(form: Format, level: Level, stream: TextIO | None = None) -> Any:
    """A logger that writes whole lines to `stream` (standard output when None)."""
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=True)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    return structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Unbreakable(stream or sys.stdout))),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _in_reading_order,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )


def _in_reading_order(_: Any, level: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Time, level and event first: lines are read by people too."""
    return {"timestamp": fields.pop("timestamp"), "level": level, "event": str(fields.pop("event")), **fields}


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
