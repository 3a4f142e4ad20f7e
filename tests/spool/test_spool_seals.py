"""Envelopes: what was taken in is what is sent, or nothing; a row that has changed stops nobody else's mail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from spool_parts import BORDER, CLIENT, LATER, contents, everything, mail, opened, posting

from relay.model import Envelope
from relay.spool.interface import Action, Mail, Part, Query, Spooled
from relay.spool.opening import Opening
from relay.spool.schema import damage, open_for_reading
from relay.spool.sqlite import SqliteSpool, share_spool
from relay.spool.trouble import Kind, SpoolTrouble

PEOPLE = tuple(f"user{number}@customer.example" for number in range(6))
PARTS = tuple(Part(PEOPLE[first : first + 2], 1.0) for first in (0, 2, 4))


@contextmanager
def changing(folder: Path) -> Iterator[apsw.Connection]:
    """The file, for changing it behind the spool's back: no rule of the schema holds."""
    connection = apsw.Connection(str(folder / "spool.db"))
    connection.set_busy_timeout(1000)
    connection.pragma("ignore_check_constraints", True)
    try:
        yield connection
    finally:
        connection.close(True)


def changed(folder: Path, table: str, column: str, old: bytes, new: bytes) -> None:
    """Bytes of the rows that have them become others, which need not be text."""
    with changing(folder) as connection:

        def swap(*texts: Any) -> Any:
            return bytes(texts[0]).replace(old, new)

        connection.create_scalar_function("swap", swap, 1)
        connection.execute(
            f"UPDATE {table} SET {column} = CAST(swap(CAST({column} AS BLOB)) AS TEXT)"  # noqa: S608 - the test's own
            f" WHERE instr(CAST({column} AS BLOB), ?)",
            (old,),
        )
        assert connection.changes() == 1


def left_of(folder: Path) -> list[dict[str, Any]]:
    """What was written of mails of which something is lost."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("spool.db.lost-*.json"))]


def messages_left_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("spool.db.lost-*.eml"))]


def unsealed(folder: Path) -> None:
    """As an older version has left it."""
    with changing(folder) as connection:
        connection.execute("UPDATE mails SET seal = NULL, parcels_left = NULL")
        connection.execute("UPDATE parcels SET seal = NULL")


async def claimed(spool: SqliteSpool) -> tuple[Spooled, ...]:
    return await spool.claim("", 10.0, 1e9, 10)


async def distrusted(spool: SqliteSpool) -> None:
    """A claim says that the file cannot be believed, and hands nothing out."""
    with pytest.raises(SpoolTrouble) as caught:
        await claimed(spool)
    assert caught.value.kind is Kind.UNTRUSTED
    assert not spool.standing.trusted


async def three(spool: SqliteSpool) -> list[Mail]:
    """Three mails; the second is the one to be damaged."""
    mails = [mail(f"Subject: {number}\r\n\r\nx\r\n".encode(), f"user{number}@customer.example") for number in range(3)]
    mails[1] = replace(
        mails[1],
        client=replace(CLIENT, name="victim"),
        envelope=Envelope("second@example.com", ("user1@customer.example",), frozenset({"user1@customer.example"})),
    )
    for one in mails:
        await spool.put(posting(one))
    return mails


CHANGES = {
    "another recipient": ("parcels", "recipients", b"user1@", b"user9@"),
    "no list of recipients": ("parcels", "recipients", b'["user1@', b'{"user1@'),
    "recipients that are no text": ("parcels", "recipients", b"user1@", b"user\xff@"),
    "another sender": ("mails", "sender", b"second@", b"sacond@"),
    "a sender that is no text": ("mails", "sender", b"second@", b"sec\xffnd@"),
    "another client": ("mails", "client", b"victim", b"victin"),
    "a client that cannot be read": ("mails", "client", b'"victim"', b'"victim}'),
    "another who asked for silence": ("mails", "silent", b"user1@", b"user9@"),
    "nobody who asked for silence": ("mails", "silent", b'["user1@', b'"user1@'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("when", ["at work", "at a start"])
async def test_a_changed_envelope_is_not_sent_and_stops_nobody(
    tmp_path: Path, change: tuple[str, str, bytes, bytes], when: str
) -> None:
    """It is noticed, taken out, and written beside the spool with its message; all else goes on, and comes to rest."""
    async with opened(tmp_path) as spool:
        mails = await three(spool)
        if when == "at work":
            changed(tmp_path, *change)
            await distrusted(spool)
            mended = await spool.mend(7.0)
            assert {parcel.mail for parcel in await claimed(spool)} == {mails[0].id, mails[2].id}
    if when == "at a start":
        changed(tmp_path, *change)

    async with opened(tmp_path, 7.0) as spool:
        mended = spool.found.mended or mended
        assert (when == "at a start") == (spool.found.mended is not None)
        parcels = await claimed(spool)
        assert {parcel.mail: parcel.envelope for parcel in parcels} == {
            one.id: one.envelope for one in (mails[0], mails[2])
        }
        assert mended.lost == (mails[1].id,)
        assert spool.standing.trusted
    [left] = left_of(tmp_path)
    assert left["mail"][0] == mails[1].id
    assert len(left["parcels"]) == 1
    assert messages_left_of(tmp_path) == [mails[1].content]


@pytest.mark.parametrize("column", ["arrived", "size", "file"])
async def test_other_columns_of_the_envelope_are_sealed_too(tmp_path: Path, column: str) -> None:
    async with opened(tmp_path) as spool:
        await three(spool)
        with changing(tmp_path) as connection:
            value = "'other'" if column == "file" else f"{column} + 1"
            connection.execute(f"UPDATE mails SET {column} = {value} WHERE number = 2")  # noqa: S608 - the test's own

        await distrusted(spool)
        assert len((await spool.mend(7.0)).lost) == 1
        assert len(await claimed(spool)) == 2


async def test_recipients_never_get_the_message_of_another_mail(tmp_path: Path) -> None:
    """Neither message is sent to them: one is without parcels, the other's parcel is not its own."""
    async with opened(tmp_path) as spool:
        mails = await three(spool)
        with changing(tmp_path) as connection:
            connection.execute("UPDATE parcels SET mail = 3, position = 2 WHERE mail = 2")

        await distrusted(spool)
        assert (await spool.mend(7.0)).lost == (mails[1].id, mails[2].id)
        assert [parcel.mail for parcel in await claimed(spool)] == [mails[0].id, mails[2].id]


UNREADABLE = {name: change for name, change in CHANGES.items() if "list" in name or "read" in name}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_rows_without_a_seal_must_be_readable(tmp_path: Path, change: tuple[str, str, bytes, bytes]) -> None:
    """Those of older versions, at work as well as at a start."""
    async with opened(tmp_path) as spool:
        mails = await three(spool)
        unsealed(tmp_path)
        assert len(await everything(spool)) == 3
        changed(tmp_path, *change)
        await distrusted(spool)

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert spool.found.mended.lost == (mails[1].id,)
        assert {parcel.mail for parcel in await claimed(spool)} == {mails[0].id, mails[2].id}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an older version"])
@pytest.mark.parametrize("new", [b"[50.", b"\xff50."], ids=["no JSON", "no text"])
async def test_of_a_parcel_whose_last_answer_is_damaged_only_that_is_lost(
    tmp_path: Path, sealed: bool, new: bytes
) -> None:
    async with opened(tmp_path) as spool:
        one = mail()
        await spool.put(posting(one, Part(one.envelope.recipients, 1.0, last=LATER)))
        if not sealed:
            unsealed(tmp_path)
        changed(tmp_path, "parcels", "last", b'"503', b"\xff503" if new.startswith(b"\xff") else b"{503")
        await distrusted(spool)

        mended = await spool.mend(7.0)
        assert (mended.parcels, mended.lost) == (1, ())
        [parcel] = await claimed(spool)
        assert (parcel.envelope, parcel.part.last) == (one.envelope, None)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize(
    "ask",
    [
        lambda spool: spool.inspect(Query()),
        lambda spool: spool.inspect(Query(recipient="@customer.example")),
    ],
    ids=["all", "by recipient"],
)
async def test_a_queue_command_says_that_a_row_is_damaged(
    tmp_path: Path, change: tuple[str, str, bytes, bytes], ask: Callable[[SqliteSpool], Any]
) -> None:
    """In the spool's words, which it shows; it is the relay that mends the file."""
    async with opened(tmp_path) as spool:
        await three(spool)
        changed(tmp_path, *change)
        command = share_spool(Opening(tmp_path / "spool.db"))
        try:
            with pytest.raises(SpoolTrouble, match=r"has changed|cannot be read") as caught:
                await ask(command)
            assert caught.value.kind is Kind.UNTRUSTED
        finally:
            await command.close()


@pytest.mark.parametrize("action", [Action.RETRY, Action.HOLD, Action.DROP])
async def test_what_sql_cannot_read_is_damage_as_well(tmp_path: Path, action: Action) -> None:
    async with opened(tmp_path) as spool:
        await three(spool)
        changed(tmp_path, *CHANGES["no list of recipients"])

        with pytest.raises(SpoolTrouble, match="cannot be read") as caught:
            await spool.alter(Query(recipient="@customer.example"), action, 5.0)
        assert caught.value.kind is Kind.UNTRUSTED


async def test_a_seal_holds_whatever_becomes_of_a_parcel(tmp_path: Path) -> None:
    """Claimed, given back whole and split, held, revived, restarted: the file is as it should be."""
    async with opened(tmp_path) as spool:
        one = mail(b"x" * (BORDER + 1), *PEOPLE, arrived=1.0005)
        await spool.put(posting(one))
        [parcel] = await claimed(spool)
        assert await spool.reschedule(parcel, [replace(parcel.part, due=2.0, last=LATER)])
        [parcel] = await claimed(spool)
        assert await spool.reschedule(parcel, [replace(part, last=LATER) for part in PARTS])
        for action in (Action.HOLD, Action.RELEASE, Action.RETRY):
            await spool.alter(Query(), action, 3.0)
        first, *_ = await claimed(spool)
        assert await spool.settle(first, dead=LATER)

    async with opened(tmp_path) as spool:
        assert spool.found.mended is None
        assert {one.envelope.recipients for one in (await everything(spool)).values()} == {
            part.recipients for part in PARTS
        }


# Mails of several parcels


async def scattered(folder: Path, *losses: int, content: bytes = b"Subject: x\r\n\r\nx\r\n") -> Mail:
    """A mail of three parcels of which some are gone as if they had never been."""
    async with opened(folder) as spool:
        one = mail(content, *PEOPLE)
        await spool.put(posting(one, *PARTS))
        await spool.put(posting(mail()))
    with changing(folder) as connection:
        for position in losses:
            connection.execute("DELETE FROM parcels WHERE mail = 1 AND position = ?", (position,))
    return one


@pytest.mark.parametrize("content", [b"small", b"x" * (BORDER + 1)], ids=["row", "file"])
async def test_a_mail_that_has_lost_a_parcel_is_named_and_its_others_go_on(tmp_path: Path, content: bytes) -> None:
    """What it was and to whom is written beside the spool; its other parcels have its message still."""
    one = await scattered(tmp_path, 2, content=content)

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert (spool.found.mended.lost, spool.found.mended.parcels) == ((one.id,), 3)
        assert await spool.content(one.id) == content
        mine = [parcel for parcel in await claimed(spool) if parcel.mail == one.id]
        assert [parcel.envelope.recipients for parcel in mine] == [PARTS[0].recipients, PARTS[2].recipients]
        for parcel in mine:
            assert await spool.settle(parcel)
        assert await spool.content(one.id) is None
    [left] = left_of(tmp_path)
    assert (left["mail"][0], left["recipients"]) == (one.id, list(PEOPLE))
    assert left["still in the queue"] == [*PARTS[0].recipients, *PARTS[2].recipients]
    assert messages_left_of(tmp_path) == [content]

    async with opened(tmp_path, 8.0) as spool:
        assert spool.found.mended is None


async def test_one_damaged_parcel_of_several_takes_no_other_with_it(tmp_path: Path) -> None:
    one = await scattered(tmp_path)
    changed(tmp_path, "parcels", "recipients", b"user2@", b"user9@")

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert spool.found.mended.lost == (one.id,)
        mine = [parcel for parcel in await claimed(spool) if parcel.mail == one.id]
        assert [parcel.envelope.recipients for parcel in mine] == [PARTS[0].recipients, PARTS[2].recipients]
    [left] = left_of(tmp_path)
    assert left["recipients"] == list(PEOPLE)
    assert left["still in the queue"] == [*PARTS[0].recipients, *PARTS[2].recipients]


async def test_a_mail_that_has_lost_all_its_parcels_leaves_its_recipients(tmp_path: Path) -> None:
    one = await scattered(tmp_path, 1, 2, 3)

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert spool.found.mended.lost == (one.id,)
    [left] = left_of(tmp_path)
    assert (left["recipients"], left["still in the queue"]) == (list(PEOPLE), [])


async def test_a_parcel_that_is_lost_at_work_is_noticed_before_its_mail_goes(tmp_path: Path) -> None:
    """With the last parcel that is left the message would go too, and nobody would ever know."""
    async with opened(tmp_path) as spool:
        one = mail(b"x" * (BORDER + 1), *PEOPLE)
        await spool.put(posting(one, *PARTS[:2]))
        with changing(tmp_path) as connection:
            connection.execute("DELETE FROM parcels WHERE position = 1")
        [parcel] = await claimed(spool)

        with pytest.raises(SpoolTrouble, match="parcels of a mail are missing") as caught:
            await spool.settle(parcel)
        assert caught.value.kind is Kind.UNTRUSTED
        assert (await spool.mend(7.0)).lost == (one.id,)
        assert await spool.settle(parcel), "the lease is still what it was"
        await spool.probe(8.0)
        assert contents(tmp_path) == []
    assert messages_left_of(tmp_path) == [one.content]


async def test_a_mail_that_is_split_knows_whom_it_was_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        one = mail(b"x", *PEOPLE)
        await spool.put(posting(one))
        [parcel] = await claimed(spool)
        await spool.reschedule(parcel, PARTS)
        with changing(tmp_path) as connection:
            connection.execute("DELETE FROM parcels WHERE position = 3")

    async with opened(tmp_path, 7.0) as spool:
        assert spool.found.mended is not None
        assert spool.found.mended.lost == (one.id,)
    assert left_of(tmp_path)[0]["recipients"] == list(PEOPLE)


async def test_whom_a_mail_is_for_may_be_lost_without_harm(tmp_path: Path) -> None:
    """It is only for telling: its parcels know their own recipients."""
    people = tuple(f"somebody-with-a-long-name-{number}@customer.example" for number in range(500))
    async with opened(tmp_path) as spool:
        one = mail(b"x", *people)
        await spool.put(posting(one, *(Part(people[first : first + 50], 1.0) for first in range(0, 500, 50))))
    with changing(tmp_path) as connection:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        pages = connection.execute("SELECT pageno FROM dbstat WHERE name = 'addressees' AND pagetype = 'overflow'")
        [page, *_] = [int(str(number)) for (number,) in pages]
    with (tmp_path / "spool.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))

    async with opened(tmp_path, 7.0) as spool:
        for _ in range(2):
            for parcel in await claimed(spool):
                try:
                    assert await spool.settle(parcel)
                except SpoolTrouble:
                    assert (await spool.mend(8.0)).lost == ()
                    assert await spool.settle(parcel)
        assert await everything(spool) == {}


async def test_a_start_looks_at_many_mails_in_no_time(tmp_path: Path) -> None:
    """By SQLite's own count of its steps: some for each row, and no row twice."""
    async with opened(tmp_path) as spool:
        await asyncio.gather(*(spool.put(posting(mail())) for _ in range(2000)))
    connection = open_for_reading(tmp_path / "spool.db")
    steps = [0]

    def counted() -> bool:
        steps[0] += 1000
        return False

    connection.set_progress_handler(counted, 1000)
    assert damage(connection) is None
    connection.close()
    assert steps[0] < 2000 * 200
