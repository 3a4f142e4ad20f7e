"""What the postmaster is told of the spool: what happened, to which mails, where the rest is, what to do."""

from __future__ import annotations

import pytest

from relay.policy.spool_notices import (
    News,
    contents_missing,
    database_missing,
    log_damaged,
    log_missing,
    named,
    spool_mended,
)  # fmt: skip

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


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_file_that_we_cannot_read_may_be_read_by_somebody_else(*, unreadable: bool) -> None:
    """Nobody should remove it before that."""
    news = spool_mended(0, (), OLD, None, unreadable=unreadable)

    assert ("knows SQLite" in whole(news)) is unreadable


@pytest.mark.parametrize(("rebuilt", "said"), [(True, "made a new one of what its log"), (False, "knows SQLite")])
def test_a_database_that_is_gone_is_told_with_its_log(said: str, *, rebuilt: bool) -> None:
    """With or without contents, and what became of it."""
    log = "/var/spool.db.missing-7-wal"

    news = database_missing(None, log, rebuilt=rebuilt)

    assert news.subject == "The database of the spool was gone"
    assert f"    {log}" in news.lines
    assert said in whole(news)
    assert "messages that belong to no mail" not in whole(news)
    assert ("is lost; how much" in whole(database_missing(None))) is True


@pytest.mark.parametrize("aside", [None, "/var/spool.db.without-log-7.contents"])
def test_a_log_that_is_gone_is_told_with_what_is_left(aside: str | None) -> None:
    """It may be a restored backup: then there is nothing to worry about."""
    news = log_missing("/var/spool.db-wal", aside)

    assert news.subject == "The log of the spool was gone"
    assert "    /var/spool.db-wal" in news.lines
    assert "restored from a backup" in whole(news)
    assert (f"    {aside}" in news.lines) is (aside is not None)


def test_a_log_that_was_damaged_is_told_with_where_it_is() -> None:
    news = log_damaged("/var/spool.db.damaged-7-log")

    assert (news.subject, news.lines[-1]) == ("The log of the spool was damaged", "    /var/spool.db.damaged-7-log")


def test_a_long_list_is_cut_and_says_so() -> None:
    mails = [f"mail{number}" for number in range(21)]

    assert named(mails) == (mails[:20], 1)
    assert named(mails[:20]) == (mails[:20], 0)
    news = contents_missing(mails, "/var/spool.db.contents")
    assert news.subject == "21 mails in the spool without content"
    assert news.lines.index("    and 1 more") == news.lines.index("    mail19") + 1
    assert "    mail20" not in news.lines
    assert "    /var/spool.db.contents" in news.lines
