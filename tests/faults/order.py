"""The sync of the commit returns before 250 is written: read from a trace of a relay at work.

For each message that a client heard `queued as` to, the trace must show, each step returned before the next was made:
its content and its row written to the log, a sync of the log, the reply. A large content: the file written, synced,
renamed, its folder synced, and only then a row that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tracer import REPLIES, Call

_SYNCS: Final = ("fdatasync", "fsync")
_RENAMES: Final = ("rename", "renameat", "renameat2")


@dataclass(frozen=True, slots=True)
class Queued:
    """What a client heard: the id in the reply, and the token of its message."""

    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Proof:
    """How many replies are proven, of those how many of large messages; and what is wrong with the others."""

    rows: int
    files: int
    faults: tuple[str, ...]


class Unproven(Exception):
    """The trace does not show what it must."""


def prove(calls: Sequence[Call], spool: str, queued: Sequence[Queued]) -> Proof:
    """Prove the order for each reply; `spool` is the path of its database."""
    rows = files = 0
    faults = []
    for one in queued:
        try:
            large = _prove_one(calls, spool, one)
        except Unproven as fault:
            faults.append(f"{one.id} ({one.token}): {fault}")
        else:
            files, rows = files + large, rows + (not large)
    return Proof(rows, files, tuple(faults))


def _prove_one(calls: Sequence[Call], spool: str, one: Queued) -> bool:
    """Whether the message is a large one. Raises Unproven."""
    reply = _first(calls, lambda call: _is_reply(call, one.id), "the reply is not in the trace")
    log = f"<{spool}-wal>"
    row = _first(calls, lambda call: _writes(call, log, one.id), "its row was not written")
    file = next((call for call in calls if _writes(call, f"<{spool}.contents/", one.token)), None)
    if file is None:
        content = _first(calls, lambda call: _writes(call, log, one.token), "its content was not written")
    else:
        content = _prove_file(calls, spool, file)
    written = max(row, content, key=lambda call: call.began)
    sync = _first(calls, lambda call: _syncs(call, log) and written.before(call), "no sync of the log followed")
    _in_order(sync, reply, "250 was written before the sync of the log had returned")
    return file is not None


def _prove_file(calls: Sequence[Call], spool: str, file: Call) -> Call:
    """What names the file: the file was complete and durable, name and all, before that. Raises Unproven."""
    path = file.arguments.partition("<")[2].partition(">")[0]
    name = path.rpartition("/")[2].partition(".")[0]
    pieces = [call for call in calls if _writes(call, f"<{path}>", "")]
    sync = _first(calls, lambda call: _syncs(call, f"<{path}>"), "its file was not synced")
    rename = _first(calls, lambda call: call.name in _RENAMES and path in call.arguments, "its file has no name")
    folder = _first(
        calls,
        lambda call: _syncs(call, f"<{spool}.contents>") and rename.before(call),
        "the folder was not synced after the file got its name",
    )
    _in_order(pieces[-1], sync, "its file was synced before it was written")
    _in_order(sync, rename, "its file got its name before it was synced")
    row = _first(calls, lambda call: _writes(call, f"<{spool}-wal>", name), "no row names its file")
    _in_order(folder, row, "a row named its file before the folder was synced")
    return row


def _first(calls: Sequence[Call], wanted: Callable[[Call], bool], fault: str) -> Call:
    found = next((call for call in calls if wanted(call)), None)
    if found is None:
        raise Unproven(fault)
    return found


def _in_order(first: Call, second: Call, fault: str) -> None:
    if not (first.succeeded and first.before(second)):
        raise Unproven(fault)


def _is_reply(call: Call, name: str) -> bool:
    return call.name in REPLIES and "<TCP" in call.arguments and f"250 2.0.0 Ok queued as {name}" in call.arguments


def _writes(call: Call, where: str, what: str) -> bool:
    return call.name in ("write", "pwrite64") and where in call.arguments and what in call.arguments


def _syncs(call: Call, where: str) -> bool:
    return call.name in _SYNCS and call.succeeded and where in call.arguments
