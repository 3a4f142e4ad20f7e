"""What the configuration can say already and this version cannot do yet: one table.

`run` refuses such settings, and `check` reports them: a key that is accepted and ignored would be a lie. Each row
names a key, how to tell that it asks for something that is missing, and what it may be meanwhile.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from relay.settings.coverage import Regions
from relay.settings.load import Loaded, conclude, examine
from relay.settings.model import Settings
from relay.settings.problems import Keys, Problem, key_path, show
from relay.settings.source import Source

Asks = Callable[[Any], bool]

_LATER = "not available in this version yet"


def _other_than(value: object) -> Asks:
    return lambda found: bool(found != value)


MISSING: tuple[tuple[str, Asks, str], ...] = (
    ("reload.watch", bool, "false; SIGHUP reloads; watching files is"),
)


def load_available(path: Path, environ: Mapping[str, str], regions: Regions | None = None) -> Loaded:
    """Load a configuration that this version can run.

    Raises:
        ConfigurationError: Something is wrong or not available yet; has all errors and warnings of both kinds.
    """
    settings, source = examine(path, environ, regions)
    source.problems += unavailable(settings, source)
    return conclude(settings, source)


def unavailable(settings: Settings, source: Source | None = None) -> tuple[Problem, ...]:
    """What these settings ask for and this version cannot do; `source` adds file, line and the text found there."""
    problems = (
        _problem(tuple(path.split(".")), value, f"{instead} {_LATER}", source)
        for path, asks, instead in MISSING
        if asks(value := attrgetter(path)(settings))
    )
    return tuple(sorted(problems))


def _problem(keys: Keys, value: Any, allowed: str, source: Source | None) -> Problem:
    if source is None:
        return Problem("", 0, key_path(keys), show(value), allowed)
    return Problem(source.file, source.line(keys), key_path(keys), source.found(keys), allowed)
