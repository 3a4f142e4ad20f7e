"""The tap itself, since other tests believe what it has read."""

from wiretap import Transaction, read_transactions

GREETING = b"220 hello\r\n250-one\r\n250 two\r\n"


def read(said: bytes, heard: bytes) -> list[Transaction]:
    return list(read_transactions(b"EHLO me\r\n" + said, GREETING + heard))


def test_dots_are_unstuffed_and_only_crlf_dot_crlf_ends() -> None:
    said = b"MAIL FROM:<a@b.c> SIZE=9\r\nRCPT TO:<d@e.f>\r\nDATA\r\n..\r\nx\n.\n\r\n...y\r\n.\r\nQUIT\r\n"
    heard = b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 Ok 1\r\n221 bye\r\n"

    expected = Transaction("<a@b.c> SIZE=9", ("<d@e.f>",), b".\r\nx\n.\n\r\n..y\r\n", 250, "2.0.0 Ok 1")
    assert read(said, heard) == [expected]


def test_messages_of_one_session_are_told_apart() -> None:
    """A refused recipient is none, a refused DATA is no message, empty content is a message."""
    said = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n.\r\nRSET\r\nMAIL FROM:<c>\r\nDATA\r\nQUIT\r\n"
    heard = b"250 k\r\n250 k\r\n550 no\r\n354 go\r\n554-no\r\n554 no\r\n250 k\r\n250 k\r\n503 no\r\n221 bye\r\n"

    assert read(said, heard) == [Transaction("<>", ("<a>",), b"", 554, "no no")]


def test_a_message_without_an_answer_and_one_without_an_end() -> None:
    said = b"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n"
    heard = b"250 k\r\n250 k\r\n354 go\r\n"

    assert read(said + b".\r\n", heard) == [Transaction("<a>", ("<b>",), b"x\r\n", 0, "")]
    assert read(said, heard) == []
