"""Every configuration of `bad` is refused, every one of `warned` is taken, with exactly the lines of expected.txt.

Each directory is one configuration. Files in it are copied to where only their owner may read them, since a
checkout gives them to everybody.
"""

import shutil
from pathlib import Path

import pytest

from relay.settings.load import load
from relay.settings.problems import ConfigurationError

HERE = Path(__file__).parent
ENVIRON = {"SECRET": "hunter2"}
REGIONS = frozenset({"us-west-2", "eu-west-1", "af-south-1"})


def _directories(kind: str) -> list[Path]:
    return sorted(path for path in (HERE / kind).iterdir() if path.is_dir())


@pytest.fixture
def configuration(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy of the configuration, in the working directory."""
    for source in request.param.iterdir():
        (tmp_path / source.name).touch(mode=0o600)
        shutil.copyfile(source, tmp_path / source.name)
    monkeypatch.chdir(tmp_path)
    return Path("relay.yaml")


@pytest.mark.parametrize("configuration", _directories("bad"), indirect=True, ids=lambda path: path.name)
def test_a_bad_configuration_is_refused_with_every_problem_at_once(configuration: Path) -> None:
    expected = Path("expected.txt").read_text("utf-8")

    with pytest.raises(ConfigurationError) as caught:
        load(configuration, ENVIRON)

    assert f"{caught.value}\n" == expected


@pytest.mark.parametrize("configuration", _directories("warned"), indirect=True, ids=lambda path: path.name)
def test_a_doubtful_configuration_is_taken_with_warnings(configuration: Path) -> None:
    expected = Path("expected.txt").read_text("utf-8").splitlines()

    loaded = load(configuration, ENVIRON, lambda: REGIONS)

    assert [str(problem) for problem in loaded.warnings] == expected


def test_there_are_many_bad_configurations() -> None:
    """A pattern that finds no directories would make the tests above pass without testing."""
    assert len(_directories("bad")) >= 35
    assert len(_directories("warned")) >= 5


@pytest.mark.parametrize("directory", [*_directories("bad"), *_directories("warned")], ids=lambda path: path.name)
def test_no_expected_line_shows_the_secret(directory: Path) -> None:
    assert "hunter2" not in (directory / "expected.txt").read_text("utf-8")
