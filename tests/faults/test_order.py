"""The proof of order can fail: forged traces, each with one step out of its place."""

from pathlib import Path

import pytest
from order import Queued, prove
from order_scene import prove_order, without_sync
from tracer import read, strace

SPOOL = "/var/spool.db"
LOG, FOLDER = f"{SPOOL}-wal", f"{SPOOL}.contents"
ID, TOKEN, FILE = "00c0ffee00c0ffee", "token7", "ab" * 16
PART = f"{FOLDER}/{FILE}.part"
REPLY = f'write(20<TCP:[127.0.0.1:25->127.0.0.1:9]>, "250 2.0.0 Ok queued as {ID}\\r\\n", 43) = 43'
ROW = f'pwrite64(9<{LOG}>, "\\0\\3{ID}{{}}\\7{FILE}", 4096, 56) = 4096'
SYNC = f"fdatasync(9<{LOG}>) = 0"
SMALL = [f'pwrite64(9<{LOG}>, "Message-ID: <{TOKEN}@faults.example>", 4096, 4176) = 4096']
LARGE = [
    f'write(11<{PART}>, "Message-ID: <{TOKEN}@faults.example>", 1048576) = 1048576',
    f'write(11<{PART}>, "the end", 7) = 7',
    f"fsync(11<{PART}>) = 0",
    f'rename("{PART}", "{FOLDER}/{FILE}") = 0',
    f"fsync(12<{FOLDER}>) = 0",
]
ROWS = [ROW, *SMALL, SYNC, REPLY]
FILES = [*LARGE, ROW, SYNC, REPLY]


traced = pytest.mark.skipif(strace() is None, reason="needs strace(1); make test-faults brings it")


def forged(steps: list[str]) -> list[str]:
    """A trace of one thread."""
    return [f"100 1700000000.{number:06} {step}" for number, step in enumerate(steps)]


def faults(steps: list[str]) -> tuple[str, ...]:
    """What the proof finds wrong."""
    return prove(read(forged(steps)), SPOOL, [Queued(ID, TOKEN)]).faults


def test_what_was_synced_before_the_reply_is_proven() -> None:
    small = prove(read(forged(ROWS)), SPOOL, [Queued(ID, TOKEN)])
    large = prove(read(forged(FILES)), SPOOL, [Queued(ID, TOKEN)])

    assert (small.rows, small.files, small.faults) == (1, 0, ())
    assert (large.rows, large.files, large.faults) == (0, 1, ())


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([ROW, *SMALL, REPLY, SYNC], "250 was written before the sync of the log had returned"),
        ([ROW, *SMALL, REPLY], "no sync of the log followed"),
        ([SYNC, ROW, *SMALL, REPLY], "no sync of the log followed"),
        ([ROW, SYNC, *SMALL, REPLY], "no sync of the log followed"),
        ([ROW, *SMALL, SYNC.replace("= 0", "= -1 EIO (Input/output error)"), REPLY], "no sync of the log followed"),
        ([ROW, *SMALL, SYNC.replace(LOG, SPOOL), REPLY], "no sync of the log followed"),
        ([*SMALL, SYNC, REPLY], "its row was not written"),
        ([ROW, SYNC, REPLY], "its content was not written"),
        ([ROW, *SMALL, SYNC], "the reply is not in the trace"),
        ([*LARGE[:2], *LARGE[3:], ROW, SYNC, REPLY], "its file was not synced"),
        ([*LARGE[:4], ROW, SYNC, REPLY], "the folder was not synced after the file got its name"),
        ([*LARGE[:3], LARGE[4], LARGE[3], ROW, SYNC, REPLY], "the folder was not synced after the file got its name"),
        ([*LARGE[:1], LARGE[2], LARGE[1], *LARGE[3:], ROW, SYNC, REPLY], "its file was synced before it was written"),
        ([*LARGE[:2], LARGE[3], LARGE[2], LARGE[4], ROW, SYNC, REPLY], "its file got its name before it was synced"),
        ([*LARGE[:4], ROW, LARGE[4], SYNC, REPLY], "a row named its file before the folder was synced"),
        ([*LARGE, ROW, REPLY, SYNC], "250 was written before the sync of the log had returned"),
        ([*LARGE, ROW.replace(FILE, ""), SYNC, REPLY], "no row names its file"),
    ],
)
def test_a_step_out_of_its_place_is_found(steps: list[str], fault: str) -> None:
    assert faults(steps) == (f"{ID} ({TOKEN}): {fault}",)


def test_a_call_has_returned_only_where_the_trace_says_so() -> None:
    """The sync began before the reply and returned after it; its two lines tell."""
    lines = [
        *forged([ROW, *SMALL]),
        f"100 1700000001.000000 fdatasync(9<{LOG}> <unfinished ...>",
        f"101 1700000001.000001 {REPLY}",
        "100 1700000001.000002 <... fdatasync resumed>) = 0",
    ]
    late = prove(read(lines), SPOOL, [Queued(ID, TOKEN)])
    in_time = prove(read([*lines[:-2], lines[-1], lines[-2]]), SPOOL, [Queued(ID, TOKEN)])

    assert late.faults == (f"{ID} ({TOKEN}): 250 was written before the sync of the log had returned",)
    assert in_time.faults == ()


def test_a_call_that_never_returned_has_no_result() -> None:
    (call,) = read([f"100 1.5 fdatasync(9<{LOG}>) = ?"])

    assert (call.ended, call.result, call.succeeded) == (None, None, False)


@traced
async def test_a_relay_answers_after_the_sync() -> None:
    proof = await prove_order(messages=6, seed=1)

    assert proof.faults == ()
    assert (proof.rows, proof.files) == (8, 4)


@traced
async def test_a_relay_whose_commits_do_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    proof = await prove_order(messages=3, seed=1, code=without_sync(tmp_path))

    assert (proof.rows, proof.files) == (0, 0)
    assert len(proof.faults) == 6
