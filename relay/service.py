"""The life of the relay's process: load, start, answer signals, drain, end.

SIGTERM and SIGINT drain; a second one ends at once. SIGHUP reloads, all or nothing: a bad configuration is
logged and the old one stays. Tells the service manager what is going on (sd_notify(3)).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from relay import __version__
from relay.app import Relay
from relay.aws.regions import known_regions
from relay.observe.log import Journal
from relay.observe.log_output import adopt_libraries, is_journal, open_log
from relay.observe.metrics import Metrics
from relay.observe.notify import Notifier
from relay.post import open_post, schedule_of
from relay.settings.load import Loaded, load
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError, Problem
from relay.settings.watching import FileWatch
from relay.spool.sqlite import SqliteSpool
from relay.spool.trouble import SpoolRefused, SpoolTrouble

_STDOUT: Final = 1  # where the log goes


def read_settings(path: Path, environ: Mapping[str, str]) -> tuple[Settings, tuple[Problem, ...]]:
    """Settings and warnings; raises ConfigurationError."""
    loaded = load(path, environ, known_regions)
    return loaded.settings, loaded.warnings


def run(path: Path, environ: Mapping[str, str]) -> int:
    """Run a relay until it is told to stop; returns the exit status."""
    loaded = load(path, environ, known_regions)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(Service(path, environ, loaded).live())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where the platform has it: a quarter less CPU per small message."""
    try:
        import uvloop  # noqa: PLC0415 - optional: PyPI has no wheels of it for some platforms
    except ImportError:
        return None
    return uvloop.new_event_loop


WATCH_S: Final = 2.0  # between two looks at the files


class Service:
    """One process with one relay."""

    def __init__(self, path: Path, environ: Mapping[str, str], loaded: Loaded) -> None:
        self._path = path
        self._environ = environ
        self._settings = settings = loaded.settings
        self._warnings = loaded.warnings
        self._files = FileWatch(loaded.source.files)
        self._metrics = Metrics(__version__)
        self._journal = Journal(
            _open(settings, self._environ), self._metrics, masked=settings.log.addresses == "masked"
        )
        self._notifier = Notifier(environ)
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> int:
        """From the first log line to the last; 1 when a listener's address cannot be had."""
        self._journal.started(__version__, str(self._path), len(self._settings.identities))
        for warning in self._warnings:
            self._journal.configuration(str(warning))
        try:
            relay = Relay(self._settings, self._journal, self._metrics, self._open_spool())
        except OSError as error:  # a certificate
            self._journal.cannot_listen(str(error))
            return 1
        except (SpoolRefused, SpoolTrouble) as error:
            self._journal.spool_refused(str(error))
            return 1
        self._on_signals(relay)
        try:
            await relay.start()
        except OSError as error:
            self._journal.cannot_listen(str(error))
            await relay.stop()
            return 1
        gc.freeze()  # what lives as long as the process need not be looked at again
        beat = asyncio.gather(self._notifier.keep_alive(), self._watch_files(relay))
        self._notifier.ready()
        await self._stop.wait()
        self._notifier.stopping()
        await relay.stop()
        beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beat
        return 0

    def _open_spool(self) -> SqliteSpool | None:
        """The spool, if there is to be one; blocks, which nobody minds yet. Raises SpoolRefused or SpoolTrouble."""
        settings = self._settings
        return open_post(settings.spool, schedule_of(settings), self._journal) if settings.spool else None

    def _on_signals(self, relay: Relay) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, loop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(relay))

    def _asked_to_stop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)  # the second one ends the process as it would any other

    def _spawn(self, relay: Relay) -> None:
        task = asyncio.get_running_loop().create_task(self._reload(relay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_files(self, relay: Relay) -> None:
        """`reload.watch`: a reload when the file or one that it names has changed."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._settings.reload.watch and await asyncio.to_thread(self._files.has_changed):
                await self._reload(relay)

    async def _reload(self, relay: Relay) -> None:
        async with self._reloading:
            self._notifier.reloading()
            self._files.look_again()
            try:
                standing = relay.settings.listeners
                loaded = await asyncio.to_thread(load, self._path, self._environ, known_regions, standing)
                relay.reload(loaded.settings)
                self._settings = loaded.settings
                self._files.follow(loaded.source.files)
                self._journal.change(
                    _open(loaded.settings, self._environ), masked=loaded.settings.log.addresses == "masked"
                )
                for warning in loaded.warnings:
                    self._journal.configuration(str(warning))
            except ConfigurationError as error:
                self._journal.reload_refused([str(problem) for problem in error.problems])
            except OSError as error:
                self._journal.reload_refused([str(error)])
            except Exception as error:  # noqa: BLE001 - whatever it is, the old rules go on
                self._journal.internal_error("reload", error)
            self._notifier.ready()


def _open(settings: Settings, environ: Mapping[str, str]) -> Any:
    to_journal = is_journal(environ.get("JOURNAL_STREAM", ""), _STDOUT)
    log = open_log(settings.log.format, settings.log.level, to_journal=to_journal)
    adopt_libraries(log)
    return log
