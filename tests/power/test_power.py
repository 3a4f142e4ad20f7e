"""The campaign of power cuts is right about what it proves: its disk, its sabotage, its judge and its account.

The campaign itself needs qemu: `make test-power`.
"""

import asyncio
import json
import os
import random
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import letters
import pytest
from power_account import Account, Plan
from power_course import make_disk
from power_disk import SECTOR, VolatileDisk, served
from power_guest import PROJECT, WITHOUT_SYNC, Sabotage, make_archive
from power_machine import MachineError

from relay.model import Client, Envelope
from relay.simulator import Simulator
from relay.spool.interface import Mail, Part, Posting
from relay.spool.opening import Opening
from relay.spool.sqlite import open_spool

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR
SECTORS = 64


@pytest.fixture
def platter(tmp_path: Path) -> Path:
    path = tmp_path / "platter"
    path.write_bytes(OLD * SECTORS)
    return path


def test_what_was_flushed_survives_a_power_cut(platter: Path) -> None:
    disk = VolatileDisk(platter)
    disk.write(0, NEW * 3)
    disk.flush()

    assert disk.cut(random.Random(1)) == 0
    disk.close()
    assert platter.read_bytes() == NEW * 3 + OLD * (SECTORS - 3)


def test_what_was_not_flushed_is_lost_or_partly_there(platter: Path) -> None:
    """Until the power goes it can be read like anything else; then each sector has its own fate."""
    fates = set()
    for seed in range(20):
        platter.write_bytes(OLD * SECTORS)
        disk = VolatileDisk(platter)
        disk.write(SECTOR, NEW * 20)
        assert disk.read(0, 2 * SECTOR) == OLD + NEW
        lost = disk.cut(random.Random(seed))
        assert disk.read(0, SECTORS * SECTOR) == platter.read_bytes()
        disk.close()
        assert platter.read_bytes().count(NEW) == 20 - lost
        fates.add(lost)

    assert 20 in fates
    assert any(0 < lost < 20 for lost in fates)


def test_a_disk_that_lies_forgets_what_it_said_was_flushed(platter: Path) -> None:
    disk = VolatileDisk(platter, lies=True)
    disk.write(0, NEW * 40)
    disk.flush()

    assert disk.cut(random.Random(1)) > 0
    disk.close()


def test_the_sabotage_is_up_to_date(tmp_path: Path) -> None:
    """Every sync of the spool is found and taken out; what is not there cannot be, and says so."""
    for file in {change.file for change in WITHOUT_SYNC}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((PROJECT / file).read_text("utf-8"), "utf-8")
    for change in WITHOUT_SYNC:
        change.apply(tmp_path)
        assert change.text not in (tmp_path / change.file).read_text("utf-8")
        with pytest.raises(ValueError, match="to sabotage"):
            change.apply(tmp_path)


async def test_the_guest_gets_the_relay_and_nothing_of_this_machine(tmp_path: Path) -> None:
    """The sabotaged relay in place of the true one; no path of this machine in its environment."""
    change = Sabotage("relay/__main__.py", "import", "import sabotage #")
    async with Simulator(ca_file=tmp_path / "ca.pem") as ses:
        await asyncio.to_thread(make_archive, tmp_path / "guest.tar", ses, [change])
    with tarfile.open(tmp_path / "guest.tar") as packed:
        names = set(packed.getnames())
        environment = _file(packed, "./environment")
        main = _file(packed, "./relay/__main__.py")

    assert {"./start", "./judge.py", "./relay.yaml", "./letters.py", "./relay/spool/sqlite.py"} <= names
    assert "import sabotage #" in main
    assert "AWS_ACCESS_KEY_ID=" in environment
    assert str(tmp_path) not in environment


def _file(packed: tarfile.TarFile, name: str) -> str:
    file = packed.extractfile(name)
    assert file is not None
    return file.read().decode()


async def test_the_judge_tells_what_is_in_a_spool(tmp_path: Path) -> None:
    """Beside a relay that was killed in the middle: from a copy, so that the log is still there for the relay."""
    letter = letters.write("t1", "app@example.com", 3, 200_000, random.Random(1))
    spool = open_spool(Opening(tmp_path / "spool.db"), 1.0)
    try:
        envelope = Envelope(letter.sender, letter.recipients)
        mail = Mail("1" * 16, 1.0, Client("s", "192.0.2.1", "app"), envelope, letter.content)
        await spool.put(Posting(mail, (Part(letter.recipients, 1.0),), leased=2.0))
        before = _sizes(tmp_path)
        found = await _judged(tmp_path / "spool.db")
        assert _sizes(tmp_path) == before
    finally:
        await spool.close()

    once = dict.fromkeys(letter.recipients, 1)
    assert found == {"in_flight": once, "queued": once}


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


async def test_the_judge_tells_of_a_spool_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database" * 100)

    assert "trouble" in await _judged(tmp_path / "spool.db")


async def test_the_judge_finds_nothing_where_there_is_no_spool(tmp_path: Path) -> None:
    assert await _judged(tmp_path / "spool.db") == {}


async def _judged(spool: Path) -> dict[str, object]:
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, (PROJECT, here.parent / "faults")))
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, str(here / "guest" / "judge.py"), str(spool)],
        env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, check=True, timeout=60,
    )  # fmt: skip
    return dict(json.loads(ran.stdout))


def drawn_up(plan: Plan, report: dict[str, object]) -> Account:
    """The account of a plan after one cut, for two recipients of whom SES has one."""
    account = Account(plan, sectors=[7, 0], drained_s=1.0)
    account.notes.offered |= {"a", "b"}
    account.notes.acknowledged |= {"a", "b"}
    account.notes.delivered.update(["a"])
    account.draw_up(report)
    return account


def test_mail_in_the_spool_is_not_lost_and_that_is_as_it_must_be() -> None:
    account = drawn_up(Plan("true", 1), {"queued": {"b": 1}})

    assert account.holds
    assert account.lost == [0]


@pytest.mark.parametrize("report", [{}, {"queued": {"b": 1}, "damaged": {"b": 1}}, {"trouble": "no database"}])
def test_mail_that_is_nowhere_or_damaged_is_lost_and_fails(report: dict[str, object]) -> None:
    account = drawn_up(Plan("true", 1), report)

    assert not account.holds
    assert account.lost == [1]
    assert "BROKEN" in account.lines()[-1]


def test_a_campaign_that_ended_early_fails() -> None:
    assert not drawn_up(Plan("true", 2), {"queued": {"b": 1}}).holds


def test_mail_that_is_never_delivered_fails() -> None:
    account = drawn_up(Plan("true", 1), {"queued": {"b": 1}})
    account.drained_s = None

    assert not account.holds


def test_what_has_to_lose_mail_fails_when_it_does_not() -> None:
    sabotaged = Plan("sabotaged", 1, WITHOUT_SYNC)

    assert drawn_up(sabotaged, {}).holds
    kept = drawn_up(sabotaged, {"queued": {"b": 1}})
    assert not kept.holds
    assert kept.lines()[-1] == "  BROKEN: it has to lose mail"


def test_a_missing_tool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("power_course.shutil.which", lambda *_, **__: None)
    with pytest.raises(MachineError, match=r"mkfs\.ext4"):
        make_disk(tmp_path / "disk.img")


class Guest:
    """The client's half of the NBD protocol, as far as qemu speaks it to us."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def negotiate(self) -> int:
        """Ask for what the server does not know, then to go; the size of the disk."""
        greeting = await self._reader.readexactly(18)
        assert greeting[:16] == b"NBDMAGICIHAVEOPT"
        self._writer.write(struct.pack(">I", 3))
        structured, go = 8, 7
        for option, content in ((structured, b""), (go, struct.pack(">IH", 0, 0))):
            self._writer.write(struct.pack(">8sII", b"IHAVEOPT", option, len(content)) + content)
        kinds, content = [], b""
        for _ in range(3):
            _, _, kind, length = struct.unpack(">QIII", await self._reader.readexactly(20))
            content = await self._reader.readexactly(length) or content
            kinds.append(kind)
        assert kinds == [0x80000001, 3, 1]
        return int(struct.unpack(">HQH", content)[1])

    async def ask(self, command: int, offset: int = 0, length: int = 0, data: bytes = b"") -> tuple[int, bytes]:
        """One request; the error, and what was read."""
        self._writer.write(struct.pack(">IHHQQI", 0x25609513, 0, command, 77, offset, length) + data)
        _, error, handle = struct.unpack(">IIQ", await self._reader.readexactly(16))
        assert handle == 77
        return error, await self._reader.readexactly(length) if command == 0 and not error else b""

    def leave(self) -> None:
        self._writer.close()


async def test_the_disk_is_served_until_it_halts(platter: Path, tmp_path: Path) -> None:
    """Reads, writes and flushes as asked, refuses what is no sector; after the last request nothing is answered."""
    read, write, flush, trim = 0, 1, 3, 4
    disk = VolatileDisk(platter)
    async with served(disk, tmp_path / "socket"):
        guest = Guest(*await asyncio.open_unix_connection(tmp_path / "socket"))
        assert await guest.negotiate() == SECTORS * SECTOR
        assert await guest.ask(write, SECTOR, SECTOR, NEW) == (0, b"")
        assert await guest.ask(read, 0, 2 * SECTOR) == (0, OLD + NEW)
        assert _new(platter) == 0
        assert await guest.ask(flush) == (0, b"")
        assert _new(platter) == 1
        for wrong in ((read, 1, SECTOR), (read, SECTORS * SECTOR, SECTOR), (trim, 0, SECTOR)):
            assert (await guest.ask(*wrong))[0] == 22

        disk.halt_in(1)
        assert await guest.ask(write, 0, SECTOR, NEW) == (0, b"")
        unanswered = asyncio.ensure_future(guest.ask(flush))
        await disk.halted.wait()
        guest.leave()
        with pytest.raises(asyncio.IncompleteReadError):
            await unanswered
    assert _new(platter) == 1
    disk.close()


def _new(platter: Path) -> int:
    """How many sectors are new."""
    return platter.read_bytes().count(NEW)
