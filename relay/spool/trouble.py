"""The one error of the spool: it could not do what it was asked for, and why, in words for the log."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What is wrong: no room; the disk or the file refuses; the file can no longer be believed.

    Or else it is one mail's content alone that is missing, or is not what was taken in: the spool itself is well.
    """

    FULL = "full"
    FAILING = "failing"
    UNTRUSTED = "untrusted"
    DAMAGED = "damaged"


class SpoolTrouble(Exception):
    """Nothing has been committed: whoever asked must not be told yes."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class SpoolRefused(Exception):
    """This file cannot be this relay's spool; the text says why, for an operator."""
