"""Bounces: what senders are told and when they are not, and that nobody's words but ours shape a bounce."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from letterbox import (
    AUTHOR,
    CONTENT,
    LETTERHEAD,
    ORIGINAL,
    POSTMASTER,
    REFUSED,
    REPORT,
    SENDER,
    TOKEN,
    WHEN,
    Opened,
    groups,
    opened,
)

from relay.errors import Reply
from relay.policy.bounces import HEADER_BYTES, Fate, Report, bounce
from relay.policy.notices import dead_letter_notice

BUSY = Reply(451, "4.4.5", "Maximum sending rate exceeded.")
LOST = Reply(451, "4.4.2", "The answer of Amazon SES was lost")
UNTIL = WHEN + timedelta(days=1)
NEWS = {
    Fate.FAILED: REPORT,
    Fate.EXPIRED: replace(REPORT, fate=Fate.EXPIRED, reply=BUSY),
    Fate.UNCERTAIN: replace(REPORT, fate=Fate.UNCERTAIN, reply=LOST),
    Fate.DELAYED: replace(REPORT, fate=Fate.DELAYED, reply=BUSY, until=UNTIL),
}
PER_RECIPIENT = ["Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date"]

# Pieces of an attack: line ends as some reader may see them, and what would be worth forging after one.
breaks = st.sampled_from(["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\0", "\r\n ", " "])
forgeries = st.sampled_from(
    [
        "Action: delivered",
        "Final-Recipient: rfc822; eve@evil.example",
        "Bcc: eve@evil.example",
        f"--=_{TOKEN}.0",
        f"--=_{TOKEN}.0--",
        f"--=_{TOKEN}.1",
        "Content-Type: text/html",
        "X-SES-SOURCE-ARN: evil",
        ".",
        "=\r\n",
        "=?utf-8?q?evil?=",
        "\xff",
        "a" * 1200,
    ]
)
hostile = st.lists(breaks | forgeries | st.text(max_size=5), max_size=8).map("".join)
local_parts = st.text("abc.!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=64) | st.text(
    [chr(code) for code in range(32, 127) if chr(code) not in '\\"'], min_size=1, max_size=62
).map('"{}"'.format)
addresses = local_parts.map("{}@b.example".format)
header_bytes = st.lists(
    (breaks | forgeries).map(lambda piece: piece.encode("utf-8"))
    | st.sampled_from(
        [b"Subject: x", b"From app Fri Nov 20", b">From ", b"\t", b"X-A:\xff\0", b"b" * 1200, b"a:", b":"]
    ),
    max_size=12,
).map(b"".join)


def told(report: Report) -> Opened:
    """The bounce that a report gives, read."""
    return opened(bounce(report, LETTERHEAD, WHEN, TOKEN))


def header_of(bounced: Opened) -> bytes | None:
    """The original's header section as the bounce carries it."""
    if len(bounced.parts) == 2:
        return None
    payload = bounced.parts[2].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def instant(text: str) -> datetime:
    """The time of a date field."""
    return parsedate_to_datetime(text)


@pytest.mark.parametrize("fate", Fate)
def test_a_bounce_is_a_delivery_report_to_the_sender(fate: Fate) -> None:
    """A multipart/report (RFC 6522) that no auto-responder answers (RFC 3834)."""
    letter = bounce(NEWS[fate], LETTERHEAD, WHEN, TOKEN)
    bounced = opened(letter)

    assert letter is not None
    assert letter.recipient == SENDER
    assert bounced.message["To"] == f"<{SENDER}>"
    assert bounced.message["Auto-Submitted"] == "auto-replied"
    assert bounced.message.get_content_type() == "multipart/report"
    assert bounced.message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in bounced.parts] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert all(part.keys() == CONTENT for part in bounced.parts)


@pytest.mark.parametrize(
    ("fate", "action", "status", "diagnosis"),
    [
        (Fate.FAILED, "failed", "5.7.1", "smtp; 554 5.7.1 Email address is not verified."),
        (Fate.EXPIRED, "failed", "5.4.7", "smtp; 451 4.4.5 Maximum sending rate exceeded."),
        (Fate.UNCERTAIN, "failed", "4.4.2", "smtp; 451 4.4.2 The answer of Amazon SES was lost"),
        (Fate.DELAYED, "delayed", "4.4.5", "smtp; 451 4.4.5 Maximum sending rate exceeded."),
    ],
)
def test_programs_read_what_happened_to_each_recipient(fate: Fate, action: str, status: str, diagnosis: str) -> None:
    """Every field of RFC 3464 section 2 that must be there or that the relay knows, once for each recipient."""
    about_mail, *about_recipients = map(dict, groups(told(NEWS[fate]).parts[1]))

    assert list(about_mail) == ["Reporting-MTA", "Arrival-Date"]
    assert about_mail["Reporting-MTA"] == "dns; relay.example.com"
    assert instant(about_mail["Arrival-Date"]) == REPORT.arrived
    assert [group["Final-Recipient"] for group in about_recipients] == [f"rfc822; {one}" for one in REPORT.recipients]
    for group in about_recipients:
        assert list(group) == PER_RECIPIENT + (["Will-Retry-Until"] if fate is Fate.DELAYED else [])
        assert (group["Action"], group["Status"], group["Diagnostic-Code"]) == (action, status, diagnosis)
        assert instant(group["Last-Attempt-Date"]) == REPORT.attempted
        assert instant(group.get("Will-Retry-Until", group["Last-Attempt-Date"])) in (UNTIL, REPORT.attempted)


@pytest.mark.parametrize(
    ("fate", "reply", "status"),
    [
        (Fate.FAILED, Reply(550, "5.1.1", "x"), "5.1.1"),
        (Fate.FAILED, Reply(451, "4.3.5", "x"), "5.0.0"),
        (Fate.FAILED, Reply(554, "", "x"), "5.0.0"),
        (Fate.FAILED, Reply(554, "5.7.1 x", "x"), "5.0.0"),
        (Fate.EXPIRED, Reply(554, "5.7.1", "x"), "5.4.7"),
        (Fate.UNCERTAIN, Reply(554, "5.7.1", "x"), "4.4.2"),
        (Fate.DELAYED, Reply(451, "4.3.5", "x"), "4.3.5"),
        (Fate.DELAYED, Reply(554, "5.7.1", "x"), "4.4.7"),
    ],
)
def test_the_status_is_of_the_class_of_the_fate(fate: Fate, reply: Reply, status: str) -> None:
    """Whatever was answered: a program that reads class 5 may strike the address off its lists."""
    report = replace(NEWS[fate], reply=reply, recipients=("bob@b.example",))

    assert dict(groups(told(report).parts[1])[1])["Status"] == status


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (Fate.FAILED, ["could not be delivered", "refused it for good", "will not be tried again", "mend"]),
        (Fate.EXPIRED, ["could not be delivered in time", "given up", "send it again later"]),
        (Fate.UNCERTAIN, ["may or may not have been delivered", "Do not assume", "ask the recipients", "twice"]),
        (Fate.DELAYED, ["not been delivered yet", "Nothing needs to be done", "until Sat, 21 Nov 2026 18:00:00 +0000"]),
    ],
)
def test_people_read_what_happened_and_what_they_may_do(fate: Fate, words: list[str]) -> None:
    """Who, why in SES's own words, what to do, and the id that an operator asks for."""
    flat = " ".join(told(NEWS[fate]).text.split())

    assert all(word in flat for word in words), flat
    assert all(word in flat for word in (*REPORT.recipients, str(NEWS[fate].reply), REPORT.parcel, POSTMASTER))


def test_only_mail_that_is_delayed_will_be_tried_again() -> None:
    """A time that the caller left in a report of the end is not promised to anybody."""
    bounced = told(replace(REPORT, until=UNTIL))

    assert "until" not in bounced.text
    assert "Will-Retry-Until" not in dict(groups(bounced.parts[1])[1])


def test_without_a_postmaster_nobody_is_named_for_help() -> None:
    bounced = opened(bounce(REPORT, replace(LETTERHEAD, postmaster=None), WHEN, TOKEN))

    assert "help" not in bounced.text


@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("sender", ["", AUTHOR, "mailer-daemon@EXAMPLE.com"])
def test_no_bounce_of_a_bounce(sender: str, fate: Fate) -> None:
    """Mail from <> or from the author, in any case of its domain, is bounced to nobody (RFC 5321 section 6.1)."""
    assert bounce(replace(NEWS[fate], sender=sender), LETTERHEAD, WHEN, TOKEN) is None


def test_a_local_part_in_another_case_is_another_sender() -> None:
    """Addresses compare as they do in routing: there they are two mailboxes."""
    assert bounce(replace(REPORT, sender="Mailer-Daemon@example.com"), LETTERHEAD, WHEN, TOKEN) is not None


def test_a_dying_bounce_ends_with_the_postmaster() -> None:
    """Whatever dies on the way back, at most a bounce and a notice are written, and then it is quiet."""
    died, written = [REPORT], 0
    while died:
        report = died.pop()
        letters = [write(report, LETTERHEAD, WHEN, TOKEN) for write in (bounce, dead_letter_notice)]
        written += sum(letter is not None for letter in letters)
        assert written <= 2
        died += [
            replace(REPORT, sender=AUTHOR, recipients=(letter.recipient,), original=letter.content)
            for letter in letters
            if letter
        ]

    assert written == 2


def test_silent_recipients_are_left_out() -> None:
    """NOTIFY=NEVER: nothing in the bounce names them; when all asked for silence there is none."""
    some = replace(REPORT, silent=frozenset({"bob@b.example"}), original=b"Subject: x\r\n\r\n")
    letter = bounce(some, LETTERHEAD, WHEN, TOKEN)

    assert len(groups(opened(letter).parts[1])) == 2
    assert letter is not None
    assert b"bob@b.example" not in letter.content
    assert bounce(replace(REPORT, silent=frozenset(REPORT.recipients)), LETTERHEAD, WHEN, TOKEN) is None


def test_the_header_goes_back_and_the_body_does_not() -> None:
    letter = bounce(REPORT, LETTERHEAD, WHEN, TOKEN)

    assert header_of(opened(letter)) == ORIGINAL.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert letter is not None
    assert b"secret" not in letter.content


@pytest.mark.parametrize(
    ("original", "header"),
    [
        (b"", None),
        (b"\r\nsecret: body\r\n", None),
        (b"Hello,\r\nsecret: body\r\n", None),
        (b"From here on: it is text\r\n", None),
        (b" folded: onto nothing\r\n", None),
        (b"Subject: x", b"Subject: x\r\n"),
        (b"Subject: x\nX-A: b\n\nsecret: body\n", b"Subject: x\r\nX-A: b\r\n"),
        (b"Subject: x\r\nHello, no empty line\r\nsecret: body\r\n", b"Subject: x\r\n"),
        (b"From app Fri Nov 20\r\n>From b\r\nSubject: x\r\n\r\n", b"Subject: x\r\n"),
        (b"Subject : x\r\n\tfolded\r\n \r\n\r\n", b"Subject : x\r\n\tfolded\r\n \r\n"),
        (b"Subject: \xe4\0\x0b = .\r\n\r\n", b"Subject: \xe4\0\x0b = .\r\n"),
        (b"Subject: x\r\nX-Long: " + b"a" * 2000 + b"\r\n\r\n", b"Subject: x\r\nX-Long: " + b"a" * 2000 + b"\r\n"),
    ],
)
def test_the_header_is_what_stands_before_the_first_line_that_is_none(original: bytes, header: bytes | None) -> None:
    """Byte for byte but for stray line ends, whatever the bytes are; a message without one gives none."""
    assert header_of(told(replace(REPORT, original=original))) == header


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_a_long_header_is_cut_after_a_line(view: type[bytes | bytearray | memoryview]) -> None:
    """At most HEADER_BYTES of the original are looked at, as large as it may be."""
    line = b"X-Long: " + b"a" * 90 + b"\r\n"
    header = header_of(told(replace(REPORT, original=view(line * 1000 + b"\r\nbody"))))

    assert header == line * (HEADER_BYTES // len(line))


def test_a_plain_header_is_readable_as_it_is() -> None:
    """Scripts that look for a Message-ID in bounces do not decode (RFC 6522 section 4: only where it has to be)."""
    letter = bounce(replace(REPORT, original=b"Message-ID: <a=3D@b>\r\n\r\n"), LETTERHEAD, WHEN, TOKEN)

    assert letter is not None
    assert b"\r\nMessage-ID: <a=3D@b>\r\n" in letter.content


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, original=f"--=_{TOKEN}.0: x\r\n--=_{TOKEN}.1--:\r\n\r\n".encode()),
        replace(REPORT, original=f"X-A: \xe4\r\n--=_{TOKEN}.0: x\r\n\r\n".encode("latin-1")),
        replace(REPORT, recipients=(f"--=_{TOKEN}.0@b.example", f"--=_{TOKEN}.0--@b.example")),
        replace(REPORT, reply=Reply(554, "5.7.1", f"--=_{TOKEN}.0")),
    ],
)
def test_who_guesses_the_boundary_forges_nothing(report: Report) -> None:
    """The boundary stands in no part, even where the token is known."""
    letter = bounce(report, LETTERHEAD, WHEN, TOKEN)
    bounced = opened(letter)
    boundary = bounced.message.get_boundary()

    assert letter is not None
    assert boundary is not None
    assert letter.content.count(boundary.encode()) == 5  # named once, then three parts and the end
    assert len(bounced.parts) == 3
    assert len(groups(bounced.parts[1])) == 3


def test_the_same_arguments_make_the_same_bytes() -> None:
    """So that what a crash interrupts can be written again; another token makes another boundary."""
    letter = bounce(REPORT, LETTERHEAD, WHEN, TOKEN)
    other = bounce(REPORT, LETTERHEAD, WHEN, "other")

    assert letter == bounce(REPORT, LETTERHEAD, WHEN, TOKEN)
    assert letter is not None
    assert other is not None
    assert letter.content.replace(TOKEN.encode(), b"other") == other.content
    assert message_from_bytes(other.content).get_boundary() == "=_other.0"


@pytest.mark.parametrize("token", ["", "a b", "a\r\n", 'a"', "a" * 61])
def test_a_token_that_is_none_is_a_fault(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        bounce(REPORT, LETTERHEAD, WHEN, token)


def shape(status: Message) -> list[list[str]]:
    """The names of the fields, group by group."""
    return [[name for name, _ in group] for group in groups(status)]


@given(hostile, hostile)
@example("\r\n\r\nFinal-Recipient: rfc822; eve@evil.example\r\nAction: delivered", "5.7.1\r\nBcc: eve@evil.example")
def test_no_answer_of_ses_forges_anything(words: str, enhanced: str) -> None:
    """Whatever an answer holds, the bounce has our parts and our fields and no other."""
    bounced = told(replace(REPORT, reply=Reply(554, enhanced, words)))

    assert len(bounced.parts) == 3
    assert shape(bounced.parts[1]) == [["Reporting-MTA", "Arrival-Date"], PER_RECIPIENT, PER_RECIPIENT]
    assert all(
        re.match(r"Status: 5\.\d+\.\d+$", f"Status: {dict(one)['Status']}") for one in groups(bounced.parts[1])[1:]
    )


@given(hostile.filter(bool), st.lists(hostile, min_size=1, max_size=4))
def test_no_address_forges_anything(sender: str, recipients: list[str]) -> None:
    """Addresses are printable ASCII by the time that they get here; even if they were not."""
    report = replace(REPORT, sender=sender + "@b.example", recipients=tuple(recipients))
    bounced = told(report)

    assert len(bounced.parts) == 3
    assert shape(bounced.parts[1]) == [["Reporting-MTA", "Arrival-Date"], *([PER_RECIPIENT] * len(recipients))]


@given(addresses, st.lists(addresses, min_size=1, max_size=4))
def test_every_address_is_told_as_it_is(sender: str, recipients: list[str]) -> None:
    """What a client could give in an envelope comes back character for character."""
    bounced = told(replace(REPORT, sender=sender, recipients=tuple(recipients)))
    named = [dict(group)["Final-Recipient"] for group in groups(bounced.parts[1])[1:]]

    assert bounced.message["To"] == f"<{sender}>"
    assert named == [f"rfc822; {one}" for one in recipients]
    assert all(f"\n    {one}\n" in bounced.text for one in recipients)


def expected(original: bytes) -> bytes | None:
    """The header section, found line by line and in another way than the relay's."""
    lines = original.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    while re.match(rb">?From ", lines[0]) and len(lines) > 1:
        lines.pop(0)
    header: list[bytes] = []
    for line in lines:
        name = line.partition(b":")[0].rstrip(b" \t")
        is_field = b":" in line and name and all(33 <= octet <= 126 for octet in name)
        if not is_field and not (header and line[:1] in (b" ", b"\t") and line):
            break
        header.append(line + b"\r\n")
    return b"".join(header) or None


@given(header_bytes | header_bytes.map(b"Subject: x\r\n".__add__))
@example(f"X-A: b\r\n--=_{TOKEN}.0:\r\n--=_{TOKEN}.0--:\r\n".encode())
@example(b"Subject: x\r\n--=_\r\n\r\nAction: delivered\r\n")
def test_no_header_of_a_client_forges_anything(original: bytes) -> None:
    """It comes back byte for byte, and the bounce has our parts and our fields and no other."""
    bounced = told(replace(REPORT, original=original))

    assert header_of(bounced) == expected(original)
    assert shape(bounced.parts[1]) == [["Reporting-MTA", "Arrival-Date"], PER_RECIPIENT, PER_RECIPIENT]
    assert parseaddr(bounced.message["To"])[1] == SENDER
    assert REFUSED.text in bounced.text
