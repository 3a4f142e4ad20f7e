"""What the tests of the relay's own mail share: one report, one letterhead, and a reader who takes no nonsense."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from email.utils import parsedate_to_datetime

from surgery import surgery, whole

from relay.errors import Reply
from relay.policy.bounces import Fate, Report
from relay.policy.letters import Letter, Letterhead

AUTHOR = "mailer-daemon@example.com"
POSTMASTER = "ops@example.com"
SENDER = "app@example.com"
LETTERHEAD = Letterhead(AUTHOR, POSTMASTER, "relay.example.com")
WHEN = datetime(2026, 11, 20, 18, 0, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef"
REFUSED = Reply(554, "5.7.1", "Email address is not verified.")
ORIGINAL = b"From: App <app@example.com>\r\nTo: bob@b.example\r\nSubject: Your invoice\r\n\r\nThe secret body\r\n"
REPORT = Report(
    mail="00000000000000aa",
    parcel="00000000000000aa.1",
    arrived=datetime(2026, 11, 15, 12, 30, 5, tzinfo=UTC),
    sender=SENDER,
    recipients=("bob@b.example", '"a b"@c.example'),
    silent=frozenset(),
    fate=Fate.FAILED,
    reply=REFUSED,
    attempted=datetime(2026, 11, 20, 17, 59, 58, tzinfo=UTC),
    until=None,
    original=ORIGINAL,
)

HEADER = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"]
CONTENT = ["Content-Type", "Content-Transfer-Encoding"]
_LINES = re.compile(rb"(?:[\t -~]{0,998}\r\n)*")


@dataclass(frozen=True, slots=True)
class Opened:
    """A letter as Python's email package reads it; `text` with LF."""

    message: Message
    parts: list[Message]
    text: str


def opened(letter: Letter | None) -> Opened:
    """Read a letter that must be there; it has to be clean, and to go through the relay's own header surgery."""
    assert letter is not None
    assert _LINES.fullmatch(letter.content), "not 7-bit lines that end with CRLF"
    sent = whole(surgery(letter.content, sender=AUTHOR))
    assert sent.endswith(letter.content), "surgery found something to strip"
    message = message_from_bytes(letter.content)
    assert message.keys() == HEADER + CONTENT
    assert message["From"] == f"Mail Delivery System <{AUTHOR}>"
    assert message["Message-ID"] == f"<{TOKEN}@example.com>"
    assert parsedate_to_datetime(message["Date"]) == WHEN
    assert all(part.defects == [] for part in message.walk())
    parts = parts_of(message)
    return Opened(message, parts, str(parts[0].get_payload()).replace("\r\n", "\n"))


def parts_of(message: Message) -> list[Message]:
    """The parts of a multipart message, or the message itself."""
    payload = message.get_payload()
    return [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else [message]


def groups(status: Message) -> list[list[tuple[str, str]]]:
    """The groups of fields of a message/delivery-status (RFC 3464 section 2.1)."""
    return [[(name, str(value)) for name, value in group.items()] for group in parts_of(status)]
