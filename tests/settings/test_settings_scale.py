"""Ten thousand identities, which is what SES allows in a region (SES developer guide, "Service quotas")."""

import sys
from collections.abc import Callable

import pytest
from settings_samples import Load, Write

from relay.settings.load import load
from relay.settings.problems import ConfigurationError

MANY = 10_000


def _identities(number: int, *, right: bool = True) -> str:
    """Two patterns each; the wrong ones have a key that does not exist, a region that is none, and a shared pattern."""
    wrong = "" if right else "\n    tenat: x\n    region: Oregon\n    credentials: nobody"
    entries = (
        f'  - senders: ["@d{index}.example.com", "{f"a{index}" if right else "a"}@example.com"]\n'
        f"    name: id{index}\n"
        f"    source_arn: arn:aws:ses:eu-west-1:123456789012:identity/example.com{wrong}\n"
        for index in range(number)
    )
    return "identities:\n" + "".join(entries)


def test_ten_thousand_identities_load_in_one_go(load_text: Load) -> None:
    loaded = load_text(_identities(MANY))

    identities = loaded.settings.identities
    assert len(identities) == MANY
    assert [identity.name for identity in identities] == [f"id{index}" for index in range(MANY)]
    assert identities[-1].senders == (f"@d{MANY - 1}.example.com", f"a{MANY - 1}@example.com")
    assert {identity.region for identity in identities} == {"eu-west-1"}
    assert loaded.warnings == ()
    assert loaded.source.line(("identities", MANY - 1, "source_arn")) == 4 + 3 * (MANY - 1)


def _calls(work: Callable[[], object]) -> int:
    """Count the calls that some work makes: what it costs, without a clock."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def _loaded(write: Write, text: str) -> Callable[[], object]:
    path = write(text)
    return lambda: load(path, {})


def _refused(write: Write, text: str) -> Callable[[], None]:
    path = write(text)

    def work() -> None:
        with pytest.raises(ConfigurationError):
            load(path, {})

    return work


def test_four_times_the_identities_cost_about_four_times_the_work(write: Write) -> None:
    small, large = (_calls(_loaded(write, _identities(number))) for number in (100, 400))

    assert large < 5 * small


def test_four_times_the_errors_cost_about_four_times_the_work(write: Write) -> None:
    small, large = (_calls(_refused(write, _identities(number, right=False))) for number in (100, 400))

    assert large < 5 * small


def test_every_error_of_many_is_told(write: Write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(_identities(100, right=False)), {})

    keys = [problem.key for problem in caught.value.problems]
    assert [key for key in keys if key.endswith("tenat")] == [f"identities[{index}].tenat" for index in range(100)]
    assert sum(key.endswith("region") for key in keys) == 100
    assert sum(key.endswith("credentials") for key in keys) == 100
    assert sum(key.endswith("senders[1]") for key in keys) == 99
