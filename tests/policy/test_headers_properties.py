"""Header surgery on whatever a client may send: against a line-based oracle, and as other parsers see it."""

import re
from dataclasses import replace
from email import message_from_bytes
from email.utils import getaddresses

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from surgery import ADDING, ARN, ARNS, FROM, IDENTITY, RULES, surgery, whole

from relay.errors import Rejection
from relay.policy.content import canonical, has_stray
from relay.replies import BAD_FROM, HEADER_FROM_NOT_ALLOWED, HEADERS_MALFORMED, STRAY_LINE_ENDINGS

STRIPPED = ("bcc", "return-path", "sender")

names = st.sampled_from([b"Subject", b"subject ", b"To", b"X-SES", b"X-Session", b"!#~", b"From_", b"Resent-Bcc"])
stripped_names = st.sampled_from(
    [b"Bcc", b"bCC\t", b"Return-Path", b"Sender", b"X-SES-SOURCE-ARN", b"x-ses-tenant \t", b"X-SES-", b"x-Ses-tAGS"]
)
values = st.sampled_from(
    [b"", b" x", b" a: b", b" x\r\n y", b"\r\n\tfolded\r\n X-SES-TENANT: text", b" x\r\n  ", b" \xff\x0b\x0c\x1c\x85"]
)
fields = st.builds(lambda name, value: name + b":" + value + b"\r\n", names | stripped_names, values)
bodies = st.sampled_from(
    [b"", b"\r\n", b"\r\nbody", b"\r\n\r\nX-SES-TENANT: text\r\nFrom: a@b.example\r\n", b"\r\n\0\xff"]
)

# Pieces from which nearly anything can be put together, including what tries to forge our block.
specials = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x85", b"\xe2\x80\xa8", b"a", b".", b"\r\n\r\n"]
)
words = st.sampled_from([b"X-SES-SOURCE-ARN", b"x-ses-from-arn", b"From ", b">From ", b"Sender", b"X-A: b"])
lines = st.sampled_from(
    [
        b"X-SES-TENANT: evil\r\n",
        b"X-SES-RETURN-PATH-ARN:evil\n",
        b"From: app@example.com\r\n",
        b"From:evil@evil.example\r",
    ]
)
anything = st.lists(specials | words | lines | fields).map(b"".join)
hostile = anything | anything.map(FROM.__add__) | anything.map(lambda sent: sent + b"\r\n" + FROM)

# The value of a From header: mailboxes with a mark or two where none belongs, or anything.
marks = st.sampled_from(
    [b"<", b">", b",", b";", b":", b" ", b'"', b"\\", b"(", b")", b"@", b"[", b"]", b".", b"\r\n ", b"\xff"]
)
addresses = st.sampled_from(
    [
        b"app@example.com",
        b"<app@example.com>",
        b"evil@evil.example",
        b"x",
        b"group:",
        b"=?utf-8?q?evil=40evil.example?=",
    ]
)
plain = st.sampled_from(
    [b"app@example.com", b"App <app@example.com>", b'"a b"@example.com', b"evil <evil@evil.example>"]
)
fancy = st.sampled_from(
    [b'"evil@evil.example" <app@example.com>', b"(c) a.b@example.com (d)", b"g: a@example.com, b@sub.example.com;"]
)
folded = st.sampled_from([b"=?utf-8?q?a=40b?=\r\n <a@example.com>", b"<@evil.example:a@example.com>"])
marred = st.builds(
    lambda value, at, mark: value[:at] + mark + value[at:],
    st.lists(plain | fancy | folded, min_size=1, max_size=3).map(b", ".join),
    st.integers(0, 40),
    marks | addresses | st.just(b""),
)
mailboxes = marred | st.lists(marks | addresses).map(b"".join)


def oracle(header: bytes) -> bytes:
    """Keep field by field what is not stripped; every line of `header` is a field or folds onto one."""
    kept: list[bytes] = []
    keeping = True
    for line in header.splitlines(keepends=True):
        if line[:1] not in b" \t":
            written, colon, value = line.partition(b":")
            line = written.rstrip(b" \t") + colon + value  # noqa: PLW2901 - as it goes on
            name = written.rstrip(b" \t").lower().decode("ascii")
            keeping = not name.startswith("x-ses-") and name not in STRIPPED
        if keeping:
            kept.append(line)
    return b"".join(kept)


@given(st.lists(fields), st.lists(fields), bodies)
def test_kept_fields_and_body_are_those_of_the_oracle(before: list[bytes], after: list[bytes], body: bytes) -> None:
    """The result is our block, the kept fields byte for byte (but for blanks before a colon), and the body."""
    header = b"".join([*before, FROM, *after])

    assert whole(surgery(header + body)) == ARNS + oracle(header) + body


def finished(sent: bytes) -> bytes | None:
    """The finished message, or None if it is refused as the contract says."""
    try:
        return whole(surgery(sent, rules=ADDING))
    except Rejection as refused:
        if refused.reply not in {HEADERS_MALFORMED, BAD_FROM, HEADER_FROM_NOT_ALLOWED}:
            raise
        return None


def x_ses_by_regex(result: bytes) -> list[bytes]:
    """What even a reader that skips odd bytes before a name may take for an X-SES field of the header."""
    header = result.partition(b"\r\n\r\n")[0]
    unfolded = re.sub(rb"\r\n[ \t]", b"", header)
    return re.findall(rb"(?im)^[^!-~\r\n]*(x-ses-[^:\r\n]*):", unfolded)


@given(hostile)
@example(b"X-SES-TENANT\0: evil\r\n")
@example(b"From: app@example.com\r\nX-SES-TENANT\x0b: evil\r\n")
@example(b"From app\r\n X-SES-TENANT: evil\r\n")
def test_no_bytes_forge_fold_into_or_end_our_block(sent: bytes) -> None:
    """What the standard parser and a lenient regex see of X-SES fields is exactly ours, whatever was sent."""
    result = finished(sent)
    if result is None:
        return
    parsed = message_from_bytes(result)

    assert result.startswith(ARNS)
    for name in ("X-SES-SOURCE-ARN", "X-SES-FROM-ARN", "X-SES-RETURN-PATH-ARN"):
        assert parsed.get_all(name) == [ARN]
    assert len([name for name in parsed if name.strip().lower().startswith("x-ses-")]) == 3
    assert len(x_ses_by_regex(result)) == 3


@given(hostile)
def test_a_finished_message_has_no_stray_line_ends_and_finishing_it_again_changes_nothing(sent: bytes) -> None:
    """What is below our block is canonical: a second pass strips our block alone and keeps the rest."""
    result = finished(sent)
    if result is None:
        return
    again = surgery(result, rules=RULES)

    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", result)
    assert whole(again) == result


@given(mailboxes)
@example(b'"app@example.com" <evil@evil.example>')
@example(b"app@example.com (<evil@evil.example>)")
def test_no_from_gets_past_the_check(value: bytes) -> None:
    """Every mailbox that the standard parser finds in a From that passes is covered."""
    result = finished(b"From: " + value + b"\r\n\r\n")
    if result is None:
        return
    seen = message_from_bytes(result).get_all("From", [])

    assert len(seen) == 1
    unfolded = str(seen[0]).replace("\r\n", "")
    found = [address for _, address in getaddresses([unfolded]) if "@" in address]
    assume(found)  # some versions of the standard library give up on a list with an empty element
    assert all(address.endswith(("@example.com", ".example.com")) for address in found)


@given(hostile)
def test_no_second_from_gets_past_the_check(sent: bytes) -> None:
    """However many From fields are hidden in what was sent, parsers see one, and it is covered."""
    result = finished(sent)

    if result is None:
        return
    header = result.partition(b"\r\n\r\n")[0]
    seen = message_from_bytes(result).get_all("From", [])

    assert len(re.findall(rb"(?im)^from[ \t]*:", header)) == 1
    assert not re.search(rb"(?im)^from[ \t]*:[^\r]*evil", header)
    assert [value.strip() for value in seen] in ([], ["app@example.com"], ["App <app@example.com>"])


STRAY = re.compile(rb"\r\n|\r|\n")
PIECE = 64 * 1024

texts = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b"\xff", b"\x85"])).map(b"".join)


@given(texts, st.integers(-3, 0))
def test_a_stray_cr_or_lf_becomes_crlf_wherever_it_stands(text: bytes, shift: int) -> None:
    """At every place, also where the work is divided into pieces; CRLF and all else stay."""
    for sent in (text, b"x" * (PIECE + shift) + text):
        expected = STRAY.sub(b"\r\n", sent)

        assert has_stray(sent) == (expected != sent)
        assert canonical(sent, normalize=True) == expected
        if expected == sent:
            assert canonical(sent, normalize=False) is sent
        else:
            with pytest.raises(Rejection) as refused:
                canonical(sent, normalize=False)
            assert refused.value.reply == STRAY_LINE_ENDINGS


@given(st.lists(fields), st.booleans())
def test_client_headers_never_double_ours(sent: list[bytes], permitted: bool) -> None:
    """A configuration set is named once, by us or by a client that may."""
    names = frozenset({"X-SES-CONFIGURATION-SET"} if permitted else ())
    identity = replace(IDENTITY, configuration_set="ours", client_headers=names)
    result = whole(surgery(FROM + b"X-SES-Configuration-Set: theirs\r\n" + b"".join(sent), identity=identity))
    header = message_from_bytes(result)

    assert header["X-SES-CONFIGURATION-SET"] == ("theirs" if permitted else "ours")
    assert "" not in [value.strip() for name, value in header.items() if name.lower().startswith("x-ses-")]
