"""Durations, sizes and numbers, as text and as Python values."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.settings import scalars

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
FACTORS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@given(st.integers(0, 10**9 - 1), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str, blank: str) -> None:
    assert scalars.parse_duration(f"{number}{blank}{unit}" if unit else str(number)) == number * UNITS[unit]


@given(st.integers(0, 10**9 - 1))
def test_a_duration_in_python_is_the_same_as_written(seconds: int) -> None:
    assert scalars.parse_duration(seconds) == scalars.parse_duration(str(seconds)) == seconds


@given(st.integers(0, 10**6).map(lambda hundredths: hundredths / 100))
def test_a_duration_may_have_a_fraction(seconds: float) -> None:
    assert scalars.parse_duration(f"{seconds:.2f}s") == pytest.approx(seconds)


@given(st.integers(1, 10**15 - 1), st.sampled_from(sorted(FACTORS)), st.sampled_from(["", " "]), st.booleans())
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, blank: str, lower: bool) -> None:
    text = f"{number}{blank}{unit}" if unit else str(number)

    assert scalars.parse_size(text.lower() if lower else text) == number * FACTORS[unit]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (scalars.parse_duration, text)
        for text in (
            "",
            "-1",
            "1w",
            "1M",
            "5 days",
            "1:30",
            "1h30m",
            "inf",
            "nan",
            "1e3",
            "0x10",
            "٣",
            ".5",
            "5.",
            " 5",
        )
    ]
    + [(scalars.parse_size, text) for text in ("", "0", "-1", "1.5MB", "10M", "1TB", "1 000", "1_000", "٣", "0MB")],
)
def test_what_is_neither_is_refused(parse: Callable[[object], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"a duration|a size"):
        parse(text)


@pytest.mark.parametrize("value", [None, True, [5], {"s": 5}, b"5", float("nan"), float("inf"), -1.0])
def test_other_python_values_are_neither_durations_nor_counts(value: object) -> None:
    """YAML's true is not one second, and a list is not its first item."""
    with pytest.raises(ValueError, match="a duration"):
        scalars.parse_duration(value)
    with pytest.raises(ValueError, match="a whole number"):
        scalars.parse_count(value, least=0)


def test_zero_is_a_duration_only_where_it_means_something() -> None:
    assert scalars.parse_duration("0") == 0
    with pytest.raises(ValueError, match="above zero"):
        scalars.parse_duration("0", positive=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("True", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("OFF", False)],
)
def test_a_switch_knows_the_words_of_yaml(text: str, expected: object) -> None:
    assert scalars.parse_switch(text) is expected
    assert scalars.parse_switch(expected) is expected


@pytest.mark.parametrize("text", ["", "1", "y", "maybe"])
def test_a_switch_knows_no_other_words(text: str) -> None:
    with pytest.raises(ValueError, match="true or false"):
        scalars.parse_switch(text)


@given(st.integers(0, 10**9 - 1))
def test_a_count_is_as_written(number: int) -> None:
    """A leading zero is no octal number, as it would be in YAML 1.1."""
    assert scalars.parse_count(f"0{number}"[-9:], least=0) == int(f"0{number}"[-9:])
