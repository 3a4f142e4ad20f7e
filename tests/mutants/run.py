"""Breaks the code on purpose, one mutant of the list at a time, and sees whether the named tests notice.

Works on copies and never on the tree itself. Ends with 1 when a mutant survives, hangs or cannot be applied, or when
the named tests do not pass on the code as it is. Arguments are parts of names: only those mutants are run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("relay", "tests", "config", "pyproject.toml")
AT_ONCE = 2
LIMIT_S = 120.0
PASSED, FAILED = 0, 1  # pytest's exit status; any other means that it could not even begin
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--hypothesis-seed=1", "--tb=line")


@dataclass(frozen=True, slots=True)
class Ran:
    """How the tests ended; `status` is None when they were cut short after LIMIT_S."""

    status: int | None
    output: str
    seconds: float

    @property
    def failures(self) -> list[str]:
        """The tests that failed."""
        return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", self.output, re.MULTILINE)


def broken(mutant: Mutant, root: Path = ROOT) -> str:
    """The text of the mutant's module with the change in it; raises ValueError when the list has gone stale."""
    text = (root / mutant.module).read_text("utf-8")
    if text.count(mutant.before) != 1:
        raise ValueError(f"{mutant.name}: what it changes stands {text.count(mutant.before)} times in {mutant.module}")
    changed = text.replace(mutant.before, mutant.after)
    compile(changed, mutant.module, "exec")
    return changed


def main(wanted: Sequence[str]) -> int:
    """Run the mutants whose names have one of the words in them, all without a word; returns the exit status."""
    mutants = [mutant for mutant in MUTANTS if not wanted or any(word in mutant.name for word in wanted)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        master = Path(folder, "master")
        copy(ROOT, master)
        changes = [(mutant, broken(mutant, master)) for mutant in mutants]
        if not sound(master, mutants):
            return 1
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ways = pool.map(lambda change: try_out(master, *change), changes)
            caught = sum(report(mutant, ran) for mutant, ran in zip(mutants, ways, strict=True))
    click.echo(f"{caught} of {len(mutants)} mutants caught, in {time.monotonic() - began:.0f} s")
    return int(caught < len(mutants))


def sound(master: Path, mutants: Sequence[Mutant]) -> bool:
    """Whether the named tests pass on the code as it is; leaves compiled modules behind, which saves time later."""
    ran = run_tests(master, sorted({test for mutant in mutants for test in mutant.tests}))
    if ran.status != PASSED:
        click.echo(ran.output + "\nthe tests do not pass on the code as it is")
    return ran.status == PASSED


def try_out(master: Path, mutant: Mutant, changed: str) -> Ran:
    """Run the mutant's tests on a copy that has the change."""
    with copied(master) as tree:
        module = tree / mutant.module
        module.write_text(changed, "utf-8")
        os.utime(module, (0, 0))  # compiled code is told apart by size and second: a change may have both in common
        return run_tests(tree, mutant.tests)


def report(mutant: Mutant, ran: Ran) -> bool:
    """Say what became of a mutant; whether it was caught."""
    caught = ran.status == FAILED and bool(ran.failures)
    by = ran.failures[0].rpartition("/")[2] if caught else ran.output[-2000:]
    verdict = "caught" if caught else {PASSED: "SURVIVED", None: "HANGS"}.get(ran.status, "BROKEN")
    click.echo(f"{verdict:8} {ran.seconds:5.1f} s  {mutant.name}\n{'':18}{by}")
    return caught


def run_tests(tree: Path, tests: Sequence[str]) -> Ran:
    """Run tests in a copy of the tree, whose modules come before all installed ones."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *PYTEST, *tests], cwd=tree, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(tree)}, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the relays that tests have started go with it
        output, _ = process.communicate()
        status = None
    return Ran(status, output, time.monotonic() - began)


@contextmanager
def copied(tree: Path) -> Iterator[Path]:
    """A copy that goes away."""
    with tempfile.TemporaryDirectory(prefix="mutant-", dir=tree.parent) as folder:
        copy(tree, Path(folder))
        yield Path(folder)


def copy(tree: Path, target: Path) -> None:
    """Copy what the tests need, times included, by which Python knows which compiled modules are good."""
    target.mkdir(exist_ok=True)
    for name in COPIED:
        if (tree / name).is_dir():
            shutil.copytree(tree / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy2(tree / name, target / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
