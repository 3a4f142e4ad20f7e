"""Moves the wall clock of one Python process, and no other: copied as `sitecustomize`, which Python imports by itself.

The file that WALL_CLOCK names tells by how many seconds, at any time. Steady clocks stay as they are, as they do when
somebody sets a machine's clock.
"""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any, Self

_FILE = Path(os.environ["WALL_CLOCK"])
_TIME = time.time
_DATETIME = dt.datetime


def _time() -> float:
    return _TIME() + float(_FILE.read_text("ascii"))


class _Kind(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _DATETIME)


class _Datetime(dt.datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_time(), tz)


time.time = _time
time.time_ns = lambda: int(_time() * 1e9)
dt.datetime = _Datetime  # type: ignore[misc] # whoever imports it later gets this one
