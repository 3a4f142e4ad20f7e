"""Notices to the postmaster: which deaths they tell of, and that they never beget one another."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letterbox import AUTHOR, LETTERHEAD, POSTMASTER, REPORT, TOKEN, WHEN, opened

from relay.policy.bounces import Fate, bounce
from relay.policy.notices import dead_letter_notice, trouble_notice

NOBODY = replace(LETTERHEAD, postmaster=None)
ORPHAN = replace(REPORT, sender="")
ENDS = [Fate.FAILED, Fate.EXPIRED, Fate.UNCERTAIN]
anything = st.text(max_size=80) | st.text("\r\n\x0b\x0c\x1c\x85\u2028\0 :a", max_size=80) | st.just("a" * 2000)


@pytest.mark.parametrize("fate", ENDS)
@pytest.mark.parametrize("sender", ["", AUTHOR, "mailer-daemon@EXAMPLE.COM"])
def test_mail_that_dies_without_a_bounce_is_told_to_the_postmaster(sender: str, fate: Fate) -> None:
    """Who, to whom, why, and the commands that look at it: nothing dies in silence."""
    letter = dead_letter_notice(replace(REPORT, sender=sender, fate=fate), LETTERHEAD, WHEN, TOKEN)
    notice = opened(letter)

    assert letter is not None
    assert letter.recipient == POSTMASTER
    assert notice.message["To"] == f"<{POSTMASTER}>"
    assert notice.message["Subject"] == f"Dead letter {REPORT.parcel} from {sender or '<>'}"
    assert notice.message["Auto-Submitted"] == "auto-generated"
    assert notice.message.get_content_type() == "text/plain"
    assert all(word in notice.text for word in (*REPORT.recipients, str(REPORT.reply), sender or "<>"))
    assert f"\n    ses-relay queue show {REPORT.parcel}\n" in notice.text


def test_a_death_by_lost_answers_may_be_none() -> None:
    """The postmaster is told no more than is known."""
    letter = dead_letter_notice(replace(ORPHAN, fate=Fate.UNCERTAIN), LETTERHEAD, WHEN, TOKEN)

    assert "may have been delivered" in " ".join(opened(letter).text.split())


def test_without_a_postmaster_there_are_no_notices() -> None:
    assert dead_letter_notice(ORPHAN, NOBODY, WHEN, TOKEN) is None
    assert trouble_notice("Trouble", ["x"], NOBODY, WHEN, TOKEN) is None


@pytest.mark.parametrize("fate", Fate)
def test_mail_whose_sender_can_be_told_gives_no_notice(fate: Fate) -> None:
    """The bounce tells of it; the postmaster of a busy relay would drown."""
    report = replace(REPORT, fate=fate)

    assert bounce(report, LETTERHEAD, WHEN, TOKEN) is not None
    assert dead_letter_notice(report, LETTERHEAD, WHEN, TOKEN) is None


def test_silence_that_was_asked_for_is_kept() -> None:
    """NOTIFY=NEVER of all recipients: no bounce, and no notice instead of it."""
    report = replace(REPORT, silent=frozenset(REPORT.recipients))

    assert bounce(report, LETTERHEAD, WHEN, TOKEN) is None
    assert dead_letter_notice(report, LETTERHEAD, WHEN, TOKEN) is None


def test_mail_that_is_delayed_is_not_dead() -> None:
    assert dead_letter_notice(replace(ORPHAN, fate=Fate.DELAYED), LETTERHEAD, WHEN, TOKEN) is None


@pytest.mark.parametrize("postmaster", ["ops@example.com", "ops@EXAMPLE.com"])
def test_a_notice_that_dies_gives_no_notice(postmaster: str) -> None:
    """From the author to nobody but the postmaster: the next notice would die like it, and so on for ever."""
    report = replace(REPORT, sender=AUTHOR, recipients=(postmaster,))

    assert dead_letter_notice(report, LETTERHEAD, WHEN, TOKEN) is None


@pytest.mark.parametrize(
    ("sender", "recipients"), [("", (POSTMASTER,)), (AUTHOR, (POSTMASTER, "bob@b.example")), (AUTHOR, (AUTHOR,))]
)
def test_what_is_no_notice_of_ours_gives_one(sender: str, recipients: tuple[str, ...]) -> None:
    """Somebody else's mail to the postmaster, and mail that others should have had."""
    report = replace(REPORT, sender=sender, recipients=recipients)

    assert dead_letter_notice(report, LETTERHEAD, WHEN, TOKEN) is not None


def test_a_postmaster_who_is_the_author_ends_the_chain_too() -> None:
    letterhead = replace(LETTERHEAD, postmaster=AUTHOR)
    report = replace(REPORT, sender=AUTHOR, recipients=(AUTHOR,))

    assert bounce(report, letterhead, WHEN, TOKEN) is None
    assert dead_letter_notice(report, letterhead, WHEN, TOKEN) is None


def test_a_trouble_notice_says_what_it_was_given() -> None:
    """Lines stay lines; a long one is broken between words, and an indented one keeps its indent."""
    arn = "arn:aws:ses:us-west-2:123456789012:identity/" + "a" * 60 + ".example.com"
    lines = ["SES refuses example.com since 12:30, its mail is held. " * 3, "", f"  {arn}", "  " + "word " * 30]
    letter = trouble_notice("SES refuses example.com", lines, LETTERHEAD, WHEN, TOKEN)
    notice = opened(letter)

    assert letter is not None
    assert letter.recipient == POSTMASTER
    assert notice.message["Subject"] == "SES refuses example.com"
    assert notice.message["Auto-Submitted"] == "auto-generated"
    assert notice.text.split() == ["This", "is", "the", "mail", "relay", "relay.example.com.", *" ".join(lines).split()]
    assert f"\n\n  {arn}\n  word word" in notice.text
    assert all(len(line) <= 76 for line in notice.text.splitlines() if arn not in line)


@given(anything, st.lists(anything, max_size=4))
def test_no_words_forge_a_header_or_a_line(subject: str, lines: list[str]) -> None:
    """Subject and lines may quote SES, which may say anything: each stays where it belongs."""
    notice = opened(trouble_notice(subject, lines, LETTERHEAD, WHEN, TOKEN))

    assert notice.text.startswith("This is the mail relay relay.example.com.\n\n")
    assert len(notice.text.encode()) < 1000 * (len(lines) + 1)
    assert notice.message["To"] == f"<{POSTMASTER}>"
