"""The list of mutants is not stale, and the program that runs them tells one that is caught from one that is not."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import run
from mutants import MUTANTS, Mutant

MODULE = "def double(number: int) -> int:\n    return number * 2\n"
TEST = "from relay.sample import double\n\n\ndef test_double() -> None:\n    assert double(3) == 6\n"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_can_be_applied(mutant: Mutant) -> None:
    """What it changes stands in its module once, and the change is Python."""
    assert run.broken(mutant) != (run.ROOT / mutant.module).read_text("utf-8")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_names_tests_that_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        path, _, function = test.partition("[")[0].partition("::")
        assert set(filter(None, function.split("::"))) <= functions(run.ROOT / path)


@cache
def functions(path: Path) -> frozenset[str]:
    """The tests of a file, and the classes that they are in."""
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    return frozenset(
        node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )


def test_names_stand_once() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)


def sample(name: str, before: str, after: str) -> Mutant:
    return Mutant(name, "relay/sample.py", before, after, ("tests/test_sample.py",))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module and one test."""
    files = {"relay/sample.py": MODULE, "tests/test_sample.py": TEST, "config/x": "", "pyproject.toml": ""}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    return tmp_path


def test_what_becomes_of_mutants(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a test that fails has caught one; the tree itself is left as it was."""
    mutants = {
        "caught": sample("wrong", "* 2", "* 3"),
        "SURVIVED": sample("the same", "* 2", "* 2 * 1"),
        "BROKEN": sample("no test can begin", "def double", "def triple"),
        "HANGS": sample("endless", "    return", "    while True:\n        pass\n    return"),
    }
    monkeypatch.setattr(run, "MUTANTS", tuple(mutants.values()))
    monkeypatch.setattr(run, "LIMIT_S", 5.0)
    status = run.main([])
    verdicts = re.findall(r"^(\w+) +[0-9.]+ s  (.+)$", capsys.readouterr().out, re.MULTILINE)

    assert status == 1
    assert verdicts == [(verdict, mutant.name) for verdict, mutant in mutants.items()]
    assert (tree / "relay/sample.py").read_text("utf-8") == MODULE


@pytest.mark.parametrize("before", ["* 4", "number"], ids=["not there", "more than once"])
def test_a_stale_mutant_stops_the_run(tree: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setattr(run, "MUTANTS", (sample("stale", before, "x"),))
    with pytest.raises(ValueError, match="stale: what it changes stands"):
        run.main([])


def test_tests_that_fail_anyway_prove_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "tests/test_sample.py").write_text(TEST.replace("6", "7"), "utf-8")
    monkeypatch.setattr(run, "MUTANTS", (sample("wrong", "* 2", "* 3"),))

    assert run.main([]) == 1
    assert "do not pass on the code as it is" in capsys.readouterr().out
