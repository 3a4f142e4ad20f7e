"""The one thread that writes: steps queue up while a sync is under way, and the next sync is for all of them.

Guarantees: a step's future is done only when the transaction that it was part of is on disk; a step that fails takes
nothing else with it; a step that was handed in runs, whether or not anybody still waits for it. After a failed
sync no step that adds mail runs any more, while those that end deliveries are still tried.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import apsw

from relay.spool.faults import trouble
from relay.spool.ledger import Ledger
from relay.spool.trouble import Kind, SpoolTrouble

T = TypeVar("T")

CHECKPOINT_PAGES: Final = 1000  # of 4 KiB: how far the log grows before it is folded into the file
MOST_STEPS: Final = 1000  # in one transaction
MOST_BYTES: Final = 4 * 1024 * 1024  # likewise; what the log may grow by at once


@dataclass(slots=True)
class Step:
    """One thing to do; `adds` is how many bytes of new mail it brings, None for a step that brings none."""

    act: Callable[[Ledger], Any]
    adds: int | None
    since: float
    alone: bool = False
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Owns the connection that writes, and its thread.

    Args:
        ledger: used by nobody else from now on.
        removed: told the names of files that nothing needs any more, after the sync.
        clock: seconds that never go back.
    """

    def __init__(self, ledger: Ledger, removed: Callable[[Sequence[str]], None], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._removed = removed
        self._clock = clock
        self._steps: deque[Step] = deque()
        self._under_way: Sequence[Step] = ()
        self._changed = threading.Condition()
        self._ending, self._fold_at_end, self._cut_at_end = False, True, True
        self._log_pages = 0
        self._ledger.connection.set_wal_hook(self._logged)
        self.folded: Callable[[apsw.Connection], None] = lambda _connection: None  # called after each folding
        self.distrust: SpoolTrouble | None = None
        self.last_trouble: SpoolTrouble | None = None
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    def hand_in(self, act: Callable[[Ledger], T], adds: int | None = None) -> Future[T]:
        """Have a step done; the future raises SpoolTrouble when it was not."""
        return self._queued(Step(act, adds, self._clock()))

    def replace(self, act: Callable[[Ledger], T]) -> Future[T]:
        """Have a step done that puts another file under the ledger, outside any transaction; trust begins anew."""

        def replaced(ledger: Ledger) -> T:
            result = act(ledger)
            ledger.connection.set_wal_hook(self._logged)
            self.distrust = self.last_trouble = None
            self._log_pages = 0
            return result

        return self.apart(replaced)

    def apart(self, act: Callable[[Ledger], T]) -> Future[T]:
        """Have a step done outside any transaction."""
        return self._queued(Step(act, None, self._clock(), alone=True))

    def suspect(self, reason: SpoolTrouble) -> None:
        """Somebody found something wrong with the file."""
        self._note(reason)

    def _queued(self, step: Step) -> Future[Any]:
        step.future.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        with self._changed:
            if self._ending:
                step.future.set_exception(SpoolTrouble(Kind.FAILING, "the spool is closed"))
            else:
                self._steps.append(step)
                self._changed.notify()
        return step.future

    @property
    def waiting_s(self) -> float:
        """How long the oldest step has been waiting, 0 when none is."""
        with self._changed:
            steps = [*self._under_way, *([self._steps[0]] if self._steps else [])]
        return max((self._clock() - step.since for step in steps if not step.future.done()), default=0.0)

    def close(self, *, fold: bool = True, cut: bool = True) -> None:
        """Do what was handed in, then end; `fold` the log into the file, which `cut`s it to nothing."""
        with self._changed:
            self._ending, self._fold_at_end, self._cut_at_end = True, fold, cut
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while steps := self._next():
            self._under_way = steps
            if steps[0].alone:
                self._act_apart(steps[0])
            else:
                self._commit(steps)
            self._under_way = ()
            self._fold()
        if self._fold_at_end:
            with contextlib.suppress(apsw.Error):  # a disk that fails now leaves the log, which the next start reads
                self._last_fold(self._ledger.connection)
        self._ledger.connection.close(True)

    def _last_fold(self, connection: apsw.Connection) -> None:
        connection.set_busy_timeout(0)
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if self._cut_at_end else apsw.SQLITE_CHECKPOINT_FULL
        connection.wal_checkpoint(mode=mode)
        if not self._cut_at_end:
            self.folded(connection)

    def _next(self) -> list[Step]:
        """All steps that wait, as far as they fit into one transaction; none when this is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._steps or self._ending)
            steps: list[Step] = []
            size = 0
            while self._steps and len(steps) < MOST_STEPS and size < MOST_BYTES:
                if steps and (steps[0].alone or self._steps[0].alone):
                    break
                steps.append(self._steps.popleft())
                size += steps[-1].adds or 0
            return steps

    def _commit(self, steps: Sequence[Step]) -> None:
        """One transaction for all steps; if it fails, one for each, so that one that needs room stops no other."""
        if self.distrust is not None:
            steps = self._without_new_mail(steps, self.distrust)
        try:
            results = self._transaction(steps)
        except Exception as error:  # noqa: BLE001 - a thread that dies would leave everybody waiting
            self._failed(steps, trouble(error))
            return
        self.last_trouble = None
        for step, result in zip(steps, results, strict=True):
            _tell(step, result)
        self._removed(self._ledger.removed)

    def _act_apart(self, step: Step) -> None:
        try:
            result = step.act(self._ledger)
        except Exception as error:  # noqa: BLE001 - a thread that dies would leave everybody waiting
            reason = trouble(error)
            self._note(reason)
            step.future.set_exception(reason)
            return
        step.future.set_result(result)

    def _logged(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _fold(self) -> None:
        """Fold the log into the file when it has grown; nobody waits for it, and a sync that fails there is noted.

        SQLite's own way would do it before the commit returns, and keep the failure to itself.
        """
        if self._log_pages < CHECKPOINT_PAGES:
            return
        try:
            self._ledger.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self.folded(self._ledger.connection)
        except apsw.BusyError:
            pass  # a queue command is folding it at this moment
        except apsw.Error as error:
            self._note(trouble(error))

    def _note(self, reason: SpoolTrouble) -> None:
        self.last_trouble = reason
        if reason.kind is Kind.UNTRUSTED:
            self.distrust = reason

    def _failed(self, steps: Sequence[Step], reason: SpoolTrouble) -> None:
        self._note(reason)
        if len(steps) == 1 or reason.kind is Kind.UNTRUSTED:
            for step in steps:
                step.future.set_exception(SpoolTrouble(reason.kind, reason.detail))
            return
        for step in sorted(steps, key=lambda one: one.adds is not None):
            self._commit([step])

    def _without_new_mail(self, steps: Sequence[Step], reason: SpoolTrouble) -> list[Step]:
        for step in steps:
            if step.adds is not None:
                step.future.set_exception(SpoolTrouble(reason.kind, reason.detail))
        return [step for step in steps if step.adds is None]

    def _transaction(self, steps: Sequence[Step]) -> list[Any]:
        """Results, or the exceptions of steps that failed by themselves. Raises for what concerns them all."""
        connection, removed = self._ledger.connection, self._ledger.removed
        removed.clear()
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [self._attempt(step) for step in steps]
            connection.execute("COMMIT")
        except BaseException:
            removed.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def _attempt(self, step: Step) -> Any:
        """One step inside the transaction; its own mistakes undo it alone."""
        connection, removed = self._ledger.connection, self._ledger.removed
        kept = len(removed)
        connection.execute("SAVEPOINT step")
        try:
            result = step.act(self._ledger)
        except Exception as error:
            if isinstance(error, apsw.Error | OSError) and not isinstance(error, apsw.ConstraintError):
                raise
            connection.execute("ROLLBACK TO step")
            del removed[kept:]
            result = ValueError(str(error)) if isinstance(error, apsw.Error) else error
        connection.execute("RELEASE step")
        return result


def _tell(step: Step, result: Any) -> None:
    if isinstance(result, BaseException):
        step.future.set_exception(result)
    else:
        step.future.set_result(result)
