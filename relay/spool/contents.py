"""The content of one mail, wherever it lies: in a row, or in a file of its own.

Guarantees that nobody gets another content than the one that was taken in: its size and its checksum are compared at
each reading, also those of a row, since neither SQLite nor most file systems notice a changed byte. Mails that an
older version has taken in have no checksum; of them the size is compared. A content that is missing or is not whole is
the trouble of that one mail.
"""

from __future__ import annotations

import apsw

from relay.model import Buffer
from relay.spool import reading
from relay.spool.bodies import Bodies
from relay.spool.rows import checksum
from relay.spool.trouble import Kind, SpoolTrouble


def content_of(connection: apsw.Connection, bodies: Bodies, mail: str) -> Buffer | None:
    """The content of a mail, None when the mail is gone.

    Raises:
        SpoolTrouble: Its content is DAMAGED.
        OSError, apsw.Error: The disk or the spool is ill.
    """
    kept = reading.content(connection, mail)
    if kept is None:
        return None
    file, content, size, expected = kept
    try:
        found: Buffer | None = content if file is None else bodies.read(file, size)
    except ValueError as reason:
        raise SpoolTrouble(Kind.DAMAGED, str(reason)) from None
    except FileNotFoundError:
        if reading.content(connection, mail) is None:
            return None  # it was settled meanwhile
        raise SpoolTrouble(Kind.DAMAGED, f"there is no file {bodies.folder / str(file)}") from None
    if found is None:
        raise SpoolTrouble(Kind.DAMAGED, "there is no row of it")
    _check(found, size, expected)
    return found


def _check(content: Buffer, size: int, expected: int | None) -> None:
    """Raise SpoolTrouble for what is not as it was."""
    if len(content) != size:
        raise SpoolTrouble(Kind.DAMAGED, f"it has {len(content)} bytes and had {size}")
    if expected is not None and (found := checksum(content)) != expected:
        raise SpoolTrouble(Kind.DAMAGED, f"some of its bytes have changed (CRC-32 {found:08x}, was {expected:08x})")
