"""What the errors of the disk and of SQLite mean for the spool.

After a failed sync the kernel may call pages clean that never reached the disk, so that a later sync proves nothing
(PostgreSQL's "fsyncgate", 2018): such a file is never trusted again, nor is one that cannot be read. A write that
fails has changed nothing and is only reported.
"""

from __future__ import annotations

import errno
from typing import Final

import apsw

from relay.spool.trouble import Kind, SpoolTrouble

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BELIEVED_NO_MORE: Final = frozenset(
    {
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
        apsw.SQLITE_IOERR_READ,
        apsw.SQLITE_IOERR_SHORT_READ,
        apsw.SQLITE_IOERR_CORRUPTFS,
        apsw.SQLITE_IOERR_DATA,
    }
)

_NO_JSON: Final = "malformed JSON"


def trouble(error: Exception) -> SpoolTrouble:
    """An error in the spool's words; one that nobody expected is a failure like any other."""
    if isinstance(error, OSError):
        return SpoolTrouble(Kind.FULL if error.errno in _NO_ROOM else Kind.FAILING, str(error))
    kind = Kind.FAILING
    if isinstance(error, apsw.FullError):
        kind = Kind.FULL
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError) or _extended(error) in _BELIEVED_NO_MORE:
        kind = Kind.UNTRUSTED
    elif str(error) == _NO_JSON and isinstance(error, apsw.SQLError):  # we write nothing else into those columns
        return SpoolTrouble(Kind.UNTRUSTED, "a row cannot be read")
    return SpoolTrouble(kind, str(error))


def _extended(error: Exception) -> int:
    return int(getattr(error, "extendedresult", 0))
