"""`ses-relay status`: what a person, or a program, is told of a relay that runs and of one that does not."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import Result
from queue_parts import CONTENT, NEVER, Kit, posting, some_mail

from relay.observe.admin import Admin
from relay.observe.metrics import Metrics
from relay.settings.addresses import TcpAddress


class Relay:
    """What the admin endpoint answers from, and where it is."""

    reason: str | None = None
    port = 0

    def __init__(self) -> None:
        self.regions = {"us-west-2": True, "eu-west-1": False}

    def ready(self) -> str | None:
        return self.reason

    async def upstream(self) -> dict[str, bool]:
        return self.regions

    def section(self) -> dict[str, Any]:
        return {"bind": f"127.0.0.1:{self.port}"}


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    admin = Admin(
        TcpAddress("127.0.0.1", 0), Metrics("1"), ready=relay.ready, upstream=relay.upstream,
        scraped=lambda: None, status=dict, report=lambda error: pytest.fail(str(error)),
    )  # fmt: skip
    (address,) = await admin.start()
    relay.port = int(address.rpartition(":")[2])
    yield relay
    await admin.stop()


async def status(kit: Kit, *words: str) -> Result:
    return await asyncio.to_thread(kit.run, "status", *words)


def lines(result: Result) -> list[str]:
    """What was printed, without the free room, which changes."""
    return [line for line in result.output.splitlines() if not line.startswith("disk")]


async def test_a_relay_that_is_well_is_0(tmp_path: Path, relay: Relay) -> None:
    """What died is shown, and so is what SES does; neither is the relay's fault."""
    kit = Kit(tmp_path, admin=relay.section())
    await asyncio.to_thread(some_mail, kit)
    async with kit.relay():
        result, facts = await status(kit), await status(kit, "--json")

    assert result.exit_code == 0
    assert lines(result) == [
        f"relay     takes mail (process {os.getpid()})",
        "SES       eu-west-1 down, us-west-2 up",
        "queue     2 queued (the oldest 60m old), 1 held (the oldest 2m old), 1 dead (the oldest 24h old)",
        "          example.com: 1 queued (the oldest 60m old), 1 held (the oldest 2m old), 1 dead (the oldest 24h old)",
        "          shop: 1 queued (the oldest 60m old)",
        "          dead letters: ses-relay queue list --state dead",
        f"spool     {kit.path}",
    ]
    told = json.loads(facts.output)
    assert (told["well"], told["relay"]["ready"], told["relay"]["process"]) == (True, True, str(os.getpid()))
    assert told["relay"]["upstream"] == ["eu-west-1 down", "us-west-2 up"]
    assert told["spool"]["parcels"] == {"queued": 2, "held": 1, "dead": 1}
    assert [(one["identity"], one["state"], one["parcels"]) for one in told["spool"]["identities"]] == [
        ("example.com", "dead", 1), ("example.com", "held", 1), ("example.com", "queued", 1), ("shop", "queued", 1),
    ]  # fmt: skip
    assert told["spool"]["free_bytes"] > told["spool"]["min_free_bytes"] == 1


async def test_a_relay_that_takes_no_mail_is_1(tmp_path: Path, relay: Relay) -> None:
    """With its own reason."""
    kit = Kit(tmp_path, admin=relay.section())
    await asyncio.to_thread(kit.fill)
    relay.reason = "draining"
    async with kit.relay():
        result = await status(kit)

    assert result.exit_code == 1
    assert lines(result) == [
        f"relay     takes no mail (process {os.getpid()}): draining", "queue     empty", f"spool     {kit.path}",
    ]  # fmt: skip


async def test_a_relay_that_does_not_run_is_1(tmp_path: Path, unused_tcp_port: int) -> None:
    """What waits is told all the same."""
    kit = Kit(tmp_path, admin={"bind": f"127.0.0.1:{unused_tcp_port}"})
    await asyncio.to_thread(some_mail, kit)

    result, facts = await status(kit), json.loads((await status(kit, "--json")).output)

    assert result.exit_code == 1
    assert lines(result)[0].startswith(f"relay     does not run: no answer from 127.0.0.1:{unused_tcp_port}")
    assert lines(result)[1].startswith("queue     2 queued")
    assert (facts["well"], facts["relay"]["alive"], facts["relay"]["process"]) == (False, False, None)


async def test_a_relay_that_hangs_is_told_from_one_that_does_not_run(tmp_path: Path, unused_tcp_port: int) -> None:
    """Its process has the spool, and nobody answers."""
    kit = Kit(tmp_path, admin={"bind": f"127.0.0.1:{unused_tcp_port}"})
    async with kit.relay():
        result = await status(kit)

    assert result.exit_code == 1
    assert lines(result)[0].startswith(f"relay     runs (process {os.getpid()}), but does not answer: no answer from")


async def test_without_an_admin_endpoint_the_spool_tells_whether_it_runs(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    async with kit.relay():
        runs = await status(kit)
    stopped = await status(kit)

    assert (runs.exit_code, stopped.exit_code) == (0, 1)
    assert lines(runs)[0].startswith(f"relay     runs (process {os.getpid()}); admin is off")
    assert lines(stopped)[0] == "relay     does not run"


async def test_without_a_spool_there_is_no_queue(tmp_path: Path, relay: Relay) -> None:
    kit = Kit(tmp_path, admin=relay.section(), spool=None)

    result = await status(kit)

    assert result.exit_code == 0
    assert lines(result)[0] == "relay     takes mail"
    assert lines(result)[-1] == "queue     none: the configuration has no spool"
    assert json.loads((await status(kit, "--json")).output)["spool"] is None


def test_where_nobody_can_be_asked_is_2(tmp_path: Path) -> None:
    result = Kit(tmp_path, spool=None).run("status")

    assert result.exit_code == 2
    assert "there is nobody to ask" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda _path: None, "there is no spool {path}: a relay makes it when it starts"),
        (
            lambda path: path.write_bytes(b"no database" * 1000),
            "; a relay mends a damaged spool when it starts, or as soon as it meets the damage",
        ),
    ],
    ids=["none", "damaged"],
)
async def test_a_spool_that_does_not_work_is_1(tmp_path: Path, relay: Relay, break_it: Any, words: str) -> None:
    """Though the relay itself says that it is well."""
    kit = Kit(tmp_path, admin=relay.section())
    (tmp_path / "spool.db.contents").mkdir()
    break_it(kit.path)

    result, facts = await status(kit), json.loads((await status(kit, "--json")).output)

    assert result.exit_code == 1
    assert lines(result)[-1].startswith("spool     ")
    assert lines(result)[-1].endswith(words.format(path=kit.path))
    assert facts["spool"]["trouble"].endswith(words.format(path=kit.path))
    assert facts["spool"]["free_bytes"] is None


async def test_too_little_room_is_1(tmp_path: Path, relay: Relay) -> None:
    """Below what the configuration asks for no mail is spooled."""
    path = str(tmp_path / "spool.db")
    kit = Kit(tmp_path, admin=relay.section(), spool={"path": path, "min_free_bytes": "900000GB"})
    await asyncio.to_thread(kit.fill)

    result = await status(kit)

    assert result.exit_code == 1
    assert lines(result)[-1].endswith(f"MB are free in {tmp_path}, 900000000.0 MB are needed")


async def test_what_damage_has_left_is_shown_and_is_no_reason_for_1(tmp_path: Path, relay: Relay) -> None:
    """Each kind by itself: a damaged spool with its log and contents, what is left of mails, contents of nobody."""
    kit = Kit(tmp_path, admin=relay.section())
    await asyncio.to_thread(kit.fill)
    before = await status(kit, "--json")
    for name, count in {
        "damaged-1700000000": 9_000_000, "damaged-1700000000-wal": 1_000_000,
        "damaged-1700000000.contents/a": 2_000_000,
        "lost-1700000000-1.json": 100, "lost-1700000000-1.eml": 400, "lost-1700000000-7.json": 100,
        "missing-1700000001.contents/b": 5_000, "mended": 1, "contents/c": 1,
    }.items():  # fmt: skip
        path = tmp_path / f"spool.db.{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(count))

    result, facts = await status(kit), json.loads((await status(kit, "--json")).output)

    assert result.exit_code == 0
    assert lines(result)[-1] == (
        "beside    spool.db.damaged-1700000000 (12 MB), 3 files spool.db.lost-* (600 B), "
        "spool.db.missing-1700000001.contents (5.0 kB): what damage has left; remove it when you have looked at it"
    )
    assert json.loads(before.output)["spool"]["beside"] == []
    assert facts["spool"]["beside"] == [
        {"name": "spool.db.damaged-1700000000", "files": 1, "bytes": 12_000_000},
        {"name": "spool.db.lost-*", "files": 3, "bytes": 600},
        {"name": "spool.db.missing-1700000001.contents", "files": 1, "bytes": 5_000},
    ]


def test_what_a_mended_spool_has_left_has_these_names(tmp_path: Path) -> None:
    """Damage to the file, and then its loss: each leaves something for a person."""
    kit = Kit(tmp_path)
    kit.fill(posting("large", content=b"x" * 200_000), *(posting(f"m{n}", content=CONTENT * 20) for n in range(100)))
    connection = apsw.Connection(str(kit.path))
    leaf = "SELECT pageno FROM dbstat WHERE name = 'mails' AND pagetype = 'leaf' ORDER BY pageno DESC LIMIT 1"
    page = connection.execute(leaf).get
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    with kit.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    kit.fill()
    damaged = kit.run("status").output.splitlines()[-1]
    for path in tmp_path.glob("spool.db*"):
        if path.name in {"spool.db", "spool.db-wal", "spool.db-shm"}:
            path.unlink()
    (tmp_path / "spool.db.contents" / "nobody_s").write_bytes(b"y" * 3000)
    kit.fill()
    lost = kit.run("status").output.splitlines()[-1]

    assert re.match(r"beside    spool\.db\.damaged-\d+ \(\d+ kB\), (\d+ files )?spool\.db\.lost-", damaged)
    assert re.search(r" spool\.db\.missing-\d+\.contents \(\d+\.?\d* kB\): what damage has left", lost)


async def test_what_ses_refuses_as_an_identity_is_shown(tmp_path: Path, relay: Relay) -> None:
    """Under the identity, with what to do."""
    kit = Kit(tmp_path, admin=relay.section())
    await asyncio.to_thread(kit.fill, posting("aaaa", last=NEVER), posting("bbbb"))

    result, facts = await status(kit), json.loads((await status(kit, "--json")).output)

    assert (
        "          example.com: 1 of 2 queued refused by SES for the identity or the account, not the message; "
        "one asks again every 5m, the rest follow when it gets through: ses-relay doctor --identity example.com"
    ) in lines(result)
    assert [one["refused_as_identity"] for one in facts["spool"]["identities"]] == [1]
