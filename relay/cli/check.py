"""`ses-relay check`: everything that `run` would refuse or warn about, all at once."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from relay.aws.regions import known_regions
from relay.cli.config_option import config_option
from relay.settings.load import load
from relay.settings.problems import ConfigurationError, Problem


@click.command("check")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config: Path, *, as_json: bool) -> None:
    """Say everything that is wrong with the configuration, with file, line and key.

    Exit status 2 when `run` would refuse it; warnings alone leave it 0.
    """
    problems = _problems(config)
    click.echo(report(str(config), problems, as_json=as_json))
    sys.exit(2 if _errors(problems) else 0)


def report(file: str, problems: Sequence[Problem], *, as_json: bool) -> str:
    """What `check` prints: one line for each problem and a last line that sums up, or one JSON object."""
    errors = _errors(problems)
    if as_json:
        found = [dataclasses.asdict(problem) for problem in problems]
        return json.dumps({"file": file, "ok": not errors, "problems": found}, indent=2)
    counts = f"{_count(errors, 'error')}, {_count(len(problems) - errors, 'warning')}"
    return "\n".join([*map(str, problems), f"{file}: {counts if problems else 'ok'}"])


def _problems(path: Path) -> tuple[Problem, ...]:
    try:
        return load(path, os.environ, known_regions).warnings
    except ConfigurationError as error:
        return error.problems


def _errors(problems: Sequence[Problem]) -> int:
    return sum(problem.severity == "error" for problem in problems)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
