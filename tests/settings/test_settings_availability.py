"""What this version cannot do yet is refused by name, and nothing of it is silently ignored."""

import pytest
from settings_samples import IDENTITY, Load, Write

from relay.settings.availability import load_available, unavailable
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError
from relay.settings.sections import Reload

LATER = {"reload.watch": "reload: {watch: true}"}


@pytest.mark.parametrize(("key", "text"), LATER.items(), ids=LATER)
def test_what_is_missing_is_refused_with_its_line(write: Write, key: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_available(write(f"{IDENTITY}{text}"), {})

    (problem,) = [problem for problem in caught.value.problems if problem.key == key]
    assert problem.severity == "error"
    assert (problem.file, problem.line) == ("relay.yaml", 4)
    assert problem.allowed.endswith("not available in this version yet")


def test_the_defaults_are_all_available(load_text: Load) -> None:
    loaded = load_text(IDENTITY)

    assert unavailable(loaded.settings, loaded.source) == ()
    assert unavailable(Settings(identities=())) == ()


def test_defaults_that_are_written_out_are_available(write: Write) -> None:
    text = "delivery: {retry: [60s, 5m, 10m, 1200, 1h], lifetime: 120h, delay_warning: off}\nses: {max_rate: auto}\n"

    assert load_available(write(IDENTITY + text), {}).warnings == ()


def test_settings_made_in_python_are_looked_at_too() -> None:
    """Without a file there is no line, but the key and the reason."""
    problems = unavailable(Settings(identities=(), reload=Reload(watch=True)))

    assert [problem.key for problem in problems] == ["reload.watch"]


def test_errors_and_what_is_missing_are_said_at_once(write: Write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_available(write(f"{IDENTITY}reload: {{watch: true}}\nlimits: {{hops: none}}\n"), {})

    assert [problem.key for problem in caught.value.problems] == ["reload.watch", "limits.hops"]
