"""Stray line ends: each CR, LF or CRLF becomes one CRLF, or the message is refused; nothing else changes."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.errors import Rejection
from relay.policy.content import canonical, has_stray

thorough = settings(deadline=None, max_examples=100)
EVERY_BYTE = bytes(range(256))
PIECE = 64 * 1024
words = st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"x", b"text\n", EVERY_BYTE])
contents = st.lists(st.tuples(words, st.sampled_from([1, 2, 20_000])), max_size=6)


def written(content: list[tuple[bytes, int]]) -> bytes:
    """Words, each as often as it says."""
    return b"".join(word * times for word, times in content)


def normalized(content: bytes) -> bytes:
    """The same by another road."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


@thorough
@given(contents)
@example([(b"x", PIECE - 1), (b"\r\n", 1), (b"\n", 1)])
@example([(b"x", PIECE - 1), (b"\r", 1), (b"\r\n", 1)])
@example([(EVERY_BYTE, 1), (b"\n", PIECE)])
@example([(EVERY_BYTE.replace(b"\0", b""), 1), (b"\n", PIECE), (b"\0", 1)])
def test_every_line_end_becomes_crlf(parts: list[tuple[bytes, int]]) -> None:
    """Also where a CRLF lies across two pieces, and where no byte is left that the content does not have."""
    content = written(parts)

    assert canonical(content, normalize=True) == normalized(content)
    assert has_stray(content) == (normalized(content) != content)


@thorough
@given(contents)
def test_content_that_is_well_is_the_same_object(parts: list[tuple[bytes, int]]) -> None:
    well = normalized(written(parts))

    assert canonical(well, normalize=True) is well
    assert canonical(well, normalize=False) is well


def test_stray_line_ends_are_refused_where_the_rules_say_so() -> None:
    for content in (b"a\nb\r\n", b"a\rb\r\n", b"a\r\n\r", b"\n"):
        with pytest.raises(Rejection, match="not part of a CRLF"):
            canonical(content, normalize=False)


@pytest.mark.parametrize("line", [b"\r", b"\n", b"\r\r\n", b"x\n"], ids=repr)
def test_the_time_is_that_of_the_size_whatever_the_content(line: bytes) -> None:
    """One message does not keep all others waiting: 10 MB take a tenth of a second or so."""
    content = line * (10_000_000 // len(line))
    began = time.process_time()
    canonical(content, normalize=True)
    assert time.process_time() - began < 1
