"""A damaged log made whole, before SQLite looks at it and takes the first wrong byte for the log's end.

SQLite cannot tell damage from what a power cut leaves. We can: each commit is synced before the next begins, so that
only the last transaction may be torn; a break that another commit follows is damage, and all that follows was promised
to clients. Guarantees: a log is never changed, but replaced by one that is synced, and kept; the last transaction, if
it is torn, is left out as SQLite would; a page that is wrong stays, for the checks of the database to find. Whoever
calls is alone with the log. Its format: sqlite.org, "Database File Format", 4, "The Write-Ahead Log".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from relay.spool.schema import APPLICATION, sync_folder

Sum = tuple[int, int]

_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, sequence, two salts, two sums
_FRAME: Final = struct.Struct(">6I")  # page, pages of the database after a commit or 0, two salts, two sums
_MAGIC: Final = 0x377F0682  # its last bit: sums are of big-endian words
_VERSION: Final = 3007000
_PAGE_BYTES: Final = 4096
_WORD: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header of a log says; its sum is None when it had to be guessed."""

    big_endian: bool
    page_bytes: int
    salts: Sum
    sum: Sum | None

    @property
    def frame_bytes(self) -> int:
        """Of a page with its header."""
        return _FRAME.size + self.page_bytes

    def added(self, begun: Sum, content: bytes) -> Sum:
        """The sum that goes on with this content."""
        words = struct.unpack(f"{'>' if self.big_endian else '<'}{len(content) // 4}I", content)
        one, two = begun
        for first, second in zip(words[::2], words[1::2], strict=True):
            one = (one + first + two) & _WORD
            two = (two + second + one) & _WORD
        return one, two


@dataclass(frozen=True, slots=True)
class Frame:
    """A page in the log, at this place of it; `sound`: the sum that it has is right for the frame before."""

    place: int
    page: int
    commit: int
    sound: bool


def repair(database: Path, now: float) -> Path | None:
    """Put a log that is whole in the place of a damaged one; where that is kept, None when there was no damage.

    Raises OSError; then the log is as it was.
    """
    log, kept = Path(f"{database}-wal"), Path(f"{database}.damaged-{now:.0f}-log")
    if not log.exists() or not log.stat().st_size:
        return None
    with log.open("rb") as file:
        shape = _shape(file, _page_bytes(database))
        if shape is None:
            return None
        frames = _promised(list(_frames(file, shape)), broken=shape.sum is None)
        if not frames:
            return None
        unfinished = Path(f"{log}.mending")
        _write(unfinished, _whole_log(file, shape, frames, _first_page(file, shape, frames, database)))
    kept.unlink(missing_ok=True)
    os.link(log, kept)
    unfinished.rename(log)
    sync_folder(log.parent)
    return kept


def rebuild(log: Path, database: Path) -> bool:
    """Make a database of the pages that a log has, the others zeros; False when it has no commit or no first page.

    It is synced, its name is not. Raises OSError.
    """
    with log.open("rb") as file:
        shape = _shape(file, _PAGE_BYTES)
        frames = [] if shape is None else _kept(list(_frames(file, shape)))
        if shape is None or all(frame.page != 1 for frame in frames):
            return False
        pages = {frame.page: frame.place for frame in frames}
        size = frames[-1].commit
        _write(database, (_page(file, shape, pages.get(page)) for page in range(1, size + 1)))
    return True


def _shape(file: BinaryIO, page_bytes: int) -> Shape | None:
    """Of the header, or of the frames when it is garbled; None of a log that was never written to."""
    head = file.read(_HEADER.size)
    if len(head) == _HEADER.size:
        magic, version, size, _, *rest = _HEADER.unpack(head)
        salts, total = (rest[0], rest[1]), (rest[2], rest[3])
        shape = Shape(bool(magic & 1), size, salts, total)
        if magic & ~1 == _MAGIC and version == _VERSION and shape.added((0, 0), head[:24]) == total:
            return shape
    return _guessed(file, page_bytes)


def _guessed(file: BinaryIO, page_bytes: int) -> Shape | None:
    """By the first frame that has its salts, and its sum, in common with the next; or by the only one there is."""
    for big_endian in (False, True):
        shape = Shape(big_endian, page_bytes, (0, 0), None)
        for (_, one), (_, two) in pairwise(_slots(file, shape)):
            if one[8:16] == two[8:16] != bytes(8) and _is_sound(shape, _sum(one), two):
                return Shape(big_endian, page_bytes, _salts(one), None)
    first = next(_slots(file, shape), (0, bytes(_FRAME.size)))[1]
    page, commit, *salts, _, _ = _FRAME.unpack_from(first)
    return Shape(False, page_bytes, (salts[0], salts[1]), None) if 0 < page <= commit and any(salts) else None


def _frames(file: BinaryIO, shape: Shape) -> Iterator[Frame]:
    """All of this log, and not of what was in its place before."""
    before: list[Sum] | None = None if shape.sum is None else [shape.sum]  # what the sum may have begun with
    for place, slot in _slots(file, shape):
        page, commit, *_ = _FRAME.unpack_from(slot)
        if _salts(slot) != shape.salts or not page:
            before = []
            continue
        known = {shape.added(one, slot[:8] + slot[_FRAME.size :]) for one in before or ()}
        yield Frame(place, page, commit, before is None or _sum(slot) in known)
        before = [_sum(slot), *(known - {_sum(slot)})]


def _promised(frames: list[Frame], *, broken: bool) -> list[Frame]:
    """The frames of a damaged log that a client may rely on, none of one that is not damaged."""
    kept = _kept(frames)
    torn = [place for place, frame in enumerate(frames) if not frame.sound or frame.place != place]
    if not kept or not (broken or torn):
        return []
    ends = [end for end in _commits(frames) if torn and end >= torn[0]]  # the first is that of what the break is in
    return kept if broken or ends[1:] else []


def _kept(frames: list[Frame]) -> list[Frame]:
    """Up to the last commit, or to the one before if the last is torn; without pages that the database never had."""
    ends = _commits(frames)
    if not ends:
        return []
    most = max((frame.commit for frame in frames if frame.sound), default=_WORD) or _WORD
    begin = ends[-2] + 1 if len(ends) > 1 else 0
    whole = [frame.sound for frame in frames[begin : ends[-1] + 1]]
    dense = frames[ends[-1]].place - (frames[begin - 1].place if begin else -1) == len(whole)
    end = ends[-1] + 1 if all(whole) and dense else begin
    possible = [frame for frame in frames[:end] if frame.page <= most and frame.commit <= most]
    return possible[: (_commits(possible) or [-1])[-1] + 1]


def _commits(frames: list[Frame]) -> list[int]:
    return [number for number, frame in enumerate(frames) if frame.commit]


def _first_page(file: BinaryIO, shape: Shape, frames: Iterable[Frame], database: Path) -> bytes | None:
    """What may stand for a first page that is wrong, without which all others are unreadable, None if nothing may.

    Any other of them is as good for reading, but for the size of the database: 0 there leaves that to the log.
    """
    places = [frame.place for frame in frames if frame.page == 1 and frame.sound]
    if places:
        page = _page(file, shape, places[-1])
    else:
        with database.open("rb") as folded:
            page = folded.read(shape.page_bytes)
        if page[68:72] != APPLICATION.to_bytes(4, "big"):
            return None  # all of it is in the log yet
    return page[:28] + bytes(4) + page[32:]


def _whole_log(file: BinaryIO, shape: Shape, frames: Iterable[Frame], first: bytes | None) -> Iterator[bytes]:
    """The bytes of a log of these frames, with another first page where it is wrong."""
    head = _HEADER.pack(_MAGIC | shape.big_endian, _VERSION, shape.page_bytes, 0, *shape.salts, 0, 0)[:24]
    total = shape.added((0, 0), head)
    yield head + struct.pack(">2I", *total)
    for frame in frames:
        content = _page(file, shape, frame.place)
        if frame.page == 1 and not frame.sound:
            content = first or content
        total = shape.added(total, struct.pack(">2I", frame.page, frame.commit) + content)
        yield _FRAME.pack(frame.page, frame.commit, *shape.salts, *total) + content


def _slots(file: BinaryIO, shape: Shape) -> Iterator[tuple[int, bytes]]:
    """All places for frames, and what is there."""
    file.seek(_HEADER.size)
    place = 0
    while len(slot := file.read(shape.frame_bytes)) == shape.frame_bytes:
        yield place, slot
        place += 1


def _page(file: BinaryIO, shape: Shape, place: int | None) -> bytes:
    if place is None:
        return bytes(shape.page_bytes)
    file.seek(_HEADER.size + place * shape.frame_bytes + _FRAME.size)
    return file.read(shape.page_bytes)


def _salts(slot: bytes) -> Sum:
    return int.from_bytes(slot[8:12], "big"), int.from_bytes(slot[12:16], "big")


def _sum(slot: bytes) -> Sum:
    return int.from_bytes(slot[16:20], "big"), int.from_bytes(slot[20:24], "big")


def _is_sound(shape: Shape, begun: Sum, slot: bytes) -> bool:
    return shape.added(begun, slot[:8] + slot[_FRAME.size :]) == _sum(slot)


def _page_bytes(database: Path) -> int:
    """As the database says; all that we make have the same."""
    with database.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
    return size if size >= 512 and not size & (size - 1) else _PAGE_BYTES


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """A file of our own, synced."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        try:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()  # a disk that is full needs the room
            raise
