"""What the postmaster is told of the spool: what happened, to which mails, where the rest is, what to do."""

from __future__ import annotations

import pytest

from relay.policy.spool_notices import News, contents_missing, database_missing, named, spool_mended

OLD, REMAINS = "/var/spool.db.damaged-7", "/var/spool.db.lost-7"


def whole(news: News) -> str:
    return "\n".join(news.lines)


@pytest.mark.parametrize(
    ("lost", "unreadable", "subject"),
    [
        ((), False, "The spool was damaged: it is mended"),
        (("a",), False, "The spool was damaged: 1 mail lost"),
        (("a", "b"), False, "The spool was damaged: 2 mails lost"),
        ((), True, "The spool was damaged: all its mail is lost"),
    ],
)
def test_the_subject_says_how_bad_it_is(lost: tuple[str, ...], subject: str, *, unreadable: bool) -> None:
    news = spool_mended(3, lost, OLD, REMAINS if lost else None, unreadable=unreadable)

    assert news.subject == subject
    assert f"    {OLD}" in news.lines
    assert [f"    {mail}" in news.lines for mail in lost] == [True] * len(lost)
    assert (f"    {REMAINS}-*" in news.lines) is bool(lost)
    assert ("3 parcels in it" in whole(news)) is not unreadable


def test_messages_that_belong_to_nobody_are_told_of() -> None:
    aside = "/var/spool.db.damaged-7.contents"

    assert f"    {aside}" in spool_mended(0, (), OLD, None, aside, unreadable=True).lines
    assert f"    {aside}" in database_missing(aside).lines


def test_a_long_list_is_cut_and_says_so() -> None:
    mails = [f"mail{number}" for number in range(21)]

    assert named(mails) == (mails[:20], 1)
    assert named(mails[:20]) == (mails[:20], 0)
    news = contents_missing(mails, "/var/spool.db.contents")
    assert news.subject == "21 mails in the spool without content"
    assert news.lines.index("    and 1 more") == news.lines.index("    mail19") + 1
    assert "    mail20" not in news.lines
    assert "    /var/spool.db.contents" in news.lines
