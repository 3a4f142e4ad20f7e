"""The fuzz target in small: no findings, old ones stay mended, and a relay that is broken on purpose is found out."""

from collections.abc import Iterator
from typing import Any

import fuzz_oracle
import fuzz_reference
import pytest
from fuzz_oracle import Finding, answers_of, judge
from fuzz_strategies import Session, recorded
from fuzz_target import Target
from fuzz_wire import as_transcript, fuzz

from relay.model import Parcel
from relay.policy import content, stripping
from relay.smtp import collector, handler
from relay.smtp.server import Room

TRANSACTION = b"MAIL FROM:<app@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
MESSAGE = TRANSACTION + b"Subject: x\r\n\r\nHello\r\n.\r\n"
HELLO = b"EHLO client\r\n"

# What the fuzzer has found, and with which listener; see also tests/smtp/dialogs/found_*.txt
FOUND = {
    "too big leaves its place taken": ("normalizing", HELLO + TRANSACTION + b"x" * 5000 + b"\r\n.\r\n"),
    "no room leaves its place taken": ("normalizing", HELLO + TRANSACTION + b"x" * 3800 + b"\r\n.\r\n"),
    "messages waiting at the end of the input": ("normalizing", HELLO + MESSAGE * 5),
    "a message without its end behind another": ("normalizing", HELLO + MESSAGE + TRANSACTION + b"Subject"),
    "more in clear behind STARTTLS than fits": ("starttls", HELLO + b"STARTTLS\r\n" + b"x" * 40_000),
    "STARTTLS of a client that has closed already": ("starttls", HELLO + MESSAGE * 5 + b"STARTTLS\r\n"),
}


@pytest.fixture
def target() -> Iterator[Target]:
    """Listeners that live as long as the test."""
    with Target() as target:
        yield target


@pytest.mark.parametrize("seed", [1, 2])
def test_a_few_hundred_sessions_break_no_promise(target: Target, seed: int) -> None:
    """`make fuzz` runs many more of them."""
    fuzz(target, 150, seed)

    assert target.executions == 150
    assert target.accepted > 5


@pytest.mark.parametrize("ending", ["half-close", "eager", "abort"])
@pytest.mark.parametrize(("listener", "wire"), FOUND.values(), ids=FOUND.keys())
@pytest.mark.parametrize("cuts", [(), (100,), (100, 4000)])
def test_what_was_found_stays_mended(
    target: Target, listener: str, wire: bytes, ending: str, cuts: tuple[int, ...]
) -> None:
    target.execute(Session(wire, cuts, ending, listener))

    assert target.executions == 1


@pytest.mark.parametrize("wire", recorded(), ids=lambda wire: repr(wire[:40]))
def test_the_recorded_dialogues_break_no_promise(target: Target, wire: bytes) -> None:
    """They are what the fuzzer begins with."""
    target.execute(Session(wire, (), "half-close"))

    assert target.executions == 1


def _no_reset(dialogue: Any) -> None:
    if not hasattr(dialogue, "_recipients"):
        dialogue._sender, dialogue._recipients = None, {}


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "LF.LF ends a message": (collector, "_END", b"\n.\n"),
    "stray line endings pass": (content, "has_stray", lambda _: False),
    "nothing is stripped": (stripping, "_kept", lambda section, *_: iter([section.raw])),
    "a transaction is not reset": (handler.Dialogue, "reset", _no_reset),
    "what was held is never let go": (Room, "release", lambda *_: None),
    "recipients are forgotten": (handler.Dialogue, "check_data", lambda _: None),
}


@pytest.mark.parametrize(("place", "name", "instead"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_relay_is_found_out(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, instead: Any) -> None:
    """Within one round, by what clients and SES see."""
    monkeypatch.setattr(place, name, instead)
    with Target() as target, pytest.raises(Finding):
        fuzz(target, 2000, 1, shrink=False)


def _parcel(body: bytes = b"Hello\r\n", **changes: Any) -> Parcel:
    block = fuzz_reference.block() + fuzz_reference._missing([b"subject"], "app@example.com")
    fields: dict[str, Any] = {
        "id": "m1", "identity": "example.com", "region": "us-west-2", "transport": "api", "credentials": "default",
        "sender": "app@example.com", "recipients": ("ann@example.org",), "return_path_arn": "",
        "content": (block, b"Subject: x\r\n\r\n", body),
    }  # fmt: skip
    return Parcel(**fields | changes)


GREETING = b"220 relay.test ESMTP\r\n"
HEARD = GREETING + b"250 relay.test\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go\r\n250 2.0.0 Ok m1\r\n"
SAID = HELLO + MESSAGE


def test_the_oracle_takes_what_is_right() -> None:
    judgement = judge(SAID, HEARD, [_parcel()], 1000, normalize=True)

    assert (judgement.accepted, [answer.code for answer in judgement.answers]) == (1, [220, 250, 250, 250, 354, 250])


@pytest.mark.parametrize(
    ("heard", "parcels", "words"),
    [
        (HEARD, [], "SES does not have"),
        (HEARD, [_parcel(), _parcel()], "no client was told of"),
        (HEARD, [_parcel(id="m2")], "for message m2"),
        (HEARD, [_parcel(b"Hell\r\n")], "SES has"),
        (HEARD, [_parcel(sender="b@example.com")], "sender"),
        (HEARD, [_parcel(recipients=("ann@example.org", "eve@example.org"))], "recipients"),
        (HEARD + b"250 2.0.0 Ok\r\n", [_parcel()], "replies to nothing"),
        (HEARD.replace(b"250 2.1.5 Ok\r\n", b""), [_parcel()], "354 to"),
        (HEARD.replace(b"250 2.1.5 Ok", b"550 5.7.1 No"), [_parcel()], "354 to"),
        (HEARD.replace(b"250 2.1.5 Ok", b"250 Ok"), [_parcel()], "enhanced code"),
        (HEARD.replace(b"250 2.1.5 Ok", b"250 5.1.5 Ok"), [_parcel()], "enhanced code"),
        (HEARD.replace(b"2.1.5 Ok", b"2.1.5 Traceback (most recent"), [_parcel()], "insides"),
        (HEARD.replace(b"250 2.1.5 Ok\r\n", b"250 2.1.5 Ok\n"), [_parcel()], "not a reply line"),
        (HEARD.replace(b"250 2.1.5 Ok", b"250-2.1.5 Ok\r\n251 2.1.5 Ok"), [_parcel()], "two codes"),
        (GREETING, [], "no reply to"),
        (HEARD.replace(b"250 2.0.0 Ok m1", b"552 5.3.4 Too big"), [], "message of"),
        (HEARD[:-2], [_parcel()], "not a reply line"),
    ],
)
def test_the_oracle_finds_what_is_wrong(heard: bytes, parcels: list[Parcel], words: str) -> None:
    with pytest.raises(Finding, match=words):
        judge(SAID, heard, parcels, 1000, normalize=True)


def test_the_oracle_forgives_what_a_reset_swallowed() -> None:
    """The last replies may be missing then; what has come must still be right."""
    for size in range(len(GREETING), len(HEARD)):
        judge(SAID, HEARD[:size], [_parcel()], 1000, normalize=True, cut_short=True)
    with pytest.raises(Finding, match="354 to"):
        judge(SAID, HEARD.replace(b"250 2.1.5 Ok\r\n", b""), [_parcel()], 1000, normalize=True, cut_short=True)


def test_the_oracle_holds_content_to_the_limit_and_to_line_endings() -> None:
    stray = SAID.replace(b"Hello", b"Hel\nlo")
    with pytest.raises(Finding, match="stray"):
        judge(stray, HEARD, [_parcel()], 1000, normalize=False)
    with pytest.raises(Finding, match="message of"):
        judge(SAID, HEARD, [_parcel()], 5, normalize=True)
    judge(stray, HEARD, [_parcel(b"Hel\r\nlo\r\n")], 1000, normalize=True)


@pytest.mark.parametrize(
    ("written", "finished"),
    [
        (b"Hello\r\n", b"{block}From: a@x.y\r\n{date}Message-ID: <token@x.y>\r\n\r\nHello\r\n"),
        (
            b"From: b\r\nBcc: c\r\n d\r\nX-SES-A: e\r\n\r\nf\r\n",
            b"{block}{date}Message-ID: <token@x.y>\r\nFrom: b\r\n\r\nf\r\n",
        ),
        (b"From x\r\nDate: d\r\n\r\n", b"{block}From: a@x.y\r\nMessage-ID: <token@x.y>\r\nDate: d\r\n\r\n"),
    ],
)
def test_the_reference_is_right(written: bytes, finished: bytes) -> None:
    """By hand: what accepted messages are compared with."""
    expected = finished.replace(b"{block}", fuzz_reference.block()).replace(b"{date}", fuzz_reference.DATE)

    assert fuzz_reference.finished(written, "a@x.y") == {expected}


@pytest.mark.parametrize("written", [b"A: b\r\nno field\r\n", b"A: b\0\r\n", b"From: a\r\nFrom: b\r\n"])
def test_the_reference_refuses(written: bytes) -> None:
    with pytest.raises(fuzz_reference.NotAMessage):
        fuzz_reference.finished(written, "a@x.y")


def test_a_finding_is_printed_as_a_transcript() -> None:
    text = as_transcript(Session(b"NOOP\r\n\xff", (4,), "abort"))

    assert text.splitlines()[1:] == ["C| NOOP", "C| \\r\\n\\xff", "close"]
    assert answers_of(b"250-a\r\n250 2.0.0 b\r\n") == [fuzz_oracle.Answer(250, "2.0.0 b")]
