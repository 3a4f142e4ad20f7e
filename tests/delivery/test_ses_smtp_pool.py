"""Sessions are shared fairly, kept while they are good, and replaced before they are not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from relay.delivery import smtp_pool
from relay.delivery.smtp_client import Stale
from relay.delivery.smtp_pool import IDLE_S, MAX_AGE_S, MAX_USES, Pool


@dataclass
class Session:
    """A session that counts its uses, and remembers how it ended."""

    number: int
    reusable: bool = True
    uses: int = 0
    end: str = ""

    def abort(self) -> None:
        self.end = "abort"

    def part(self) -> None:
        self.end = "part"

    async def quit(self, deadline_s: float) -> None:
        self.end = f"quit {deadline_s:g}"


@dataclass
class Bench:
    """A pool over sessions that are made at will, and a clock that stands until it is moved."""

    concurrency: int = 8
    now: float = 1000.0
    sessions: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = Pool(self.open, self.concurrency, lambda: self.now)

    async def open(self) -> Session:
        self.sessions.append(Session(len(self.sessions)))
        return self.sessions[-1]

    async def use(self) -> int:
        """The number of the session that the next work gets."""
        return await self.pool.run(_used)


async def _used(session: Session) -> int:
    session.uses += 1
    return session.number


async def test_a_session_is_used_again_until_it_is_idle_too_long() -> None:
    """Up to 5 s of idleness a session is reused; after that it is parted with, well before SES's 10 s."""
    bench = Bench()
    assert [await bench.use(), await bench.use()] == [0, 0]
    bench.now += IDLE_S - 0.01
    assert await bench.use() == 0
    bench.now += IDLE_S

    assert await bench.use() == 1
    assert bench.sessions[0].end == "part"
    assert IDLE_S <= 5
    await bench.pool.close()


async def test_idle_sessions_are_parted_with_without_new_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer ends what is idle, so that it is us who close, not SES."""
    monkeypatch.setattr(smtp_pool, "IDLE_S", 0.01)
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    session = Session(0)
    session.part = lambda: gone.set_result("part")  # type: ignore[method-assign] # to be told
    pool: Pool[Session] = Pool(lambda: asyncio.sleep(0, session), 1, loop.time)
    await pool.run(_used)

    async with asyncio.timeout(5):
        assert await gone == "part"
    await pool.close()


async def test_the_session_used_last_is_used_first() -> None:
    """Light load keeps one session busy and lets the others go."""
    bench = Bench()
    both = asyncio.Barrier(2)

    async def together(session: Session) -> int:
        await both.wait()
        return await _used(session)

    await asyncio.gather(bench.pool.run(together), bench.pool.run(together))
    last = bench.sessions[await bench.use()]
    bench.now += 3
    assert await bench.use() == last.number
    bench.now += 3
    assert await bench.use() == last.number

    assert [session.end for session in bench.sessions if session is not last] == ["part"]
    await bench.pool.close()


@pytest.mark.parametrize("reason", ["uses", "age"])
async def test_sessions_are_replaced_now_and_then(reason: str) -> None:
    """After so many messages or minutes a session is parted with politely, however well it works."""
    bench = Bench()
    await bench.use()
    if reason == "uses":
        bench.sessions[0].uses = MAX_USES - 1
    else:
        for _ in range(int(MAX_AGE_S // 4)):
            bench.now += 4
            assert not bench.sessions[0].end
            await bench.use()
    assert await bench.use() == (0 if reason == "uses" else 1)

    assert bench.sessions[0].end == "part"
    assert await bench.use() == 1
    await bench.pool.close()


async def test_a_stale_session_is_replaced_exactly_once() -> None:
    """The work is done again on a fresh session, not on another idle one; a second Stale comes through."""
    bench = Bench()
    both = asyncio.Barrier(2)

    async def together(session: Session) -> int:
        await both.wait()
        return await _used(session)

    await asyncio.gather(bench.pool.run(together), bench.pool.run(together))
    tried = []

    async def stale(session: Session) -> None:
        tried.append(session.number)
        session.reusable = False
        raise Stale

    with pytest.raises(Stale):
        await bench.pool.run(stale)

    assert tried in ([0, 2], [1, 2])
    assert [session.end for session in bench.sessions].count("abort") == 2
    await bench.pool.close()


async def test_idle_sessions_that_have_ended_are_passed_over() -> None:
    """A session that ended while it was idle is not offered to any work."""
    bench = Bench()
    await bench.use()
    bench.sessions[0].reusable = False

    assert await bench.use() == 1
    assert bench.sessions[0].end == "abort"
    await bench.pool.close()


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_session_left_halfway_is_dropped(error: type[BaseException]) -> None:
    """Whatever ends the work, a session that is not at rest is not kept; one that is at rest is."""
    bench = Bench()

    async def halfway(session: Session) -> None:
        session.reusable = False
        raise error

    async def at_rest(session: Session) -> None:
        raise error

    with pytest.raises(error):
        await bench.pool.run(halfway)
    assert bench.sessions[0].end == "abort"
    with pytest.raises(error):
        await bench.pool.run(at_rest)
    assert await bench.use() == 1
    await bench.pool.close()


async def test_no_more_at_once_than_allowed_and_first_come_first_served() -> None:
    """Work waits for a slot in the order of arrival; cancelled waiting takes no slot."""
    bench = Bench(concurrency=2)
    started: list[int] = []
    gates = [asyncio.Event() for _ in range(6)]

    async def work(number: int) -> None:
        async def inside(session: Session) -> None:
            started.append(number)
            await gates[number].wait()

        await bench.pool.run(inside)

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await _settle()
    assert started == [0, 1]
    tasks[2].cancel()
    await _settle()
    gates[1].set()
    await _settle()
    assert started == [0, 1, 3]
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert started == [0, 1, 3, 4, 5]
    assert len(bench.sessions) == 2
    await bench.pool.close()


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_failure_to_open_frees_the_slot() -> None:
    """The error comes through, and the next work has its turn."""
    tries = []

    async def fail() -> Session:
        tries.append(1)
        raise OSError("refused")

    pool: Pool[Session] = Pool(fail, 1, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            await pool.run(_used)

    assert len(tries) == 2


async def test_close_takes_leave_and_keeps_nothing_afterwards() -> None:
    """Idle sessions hear QUIT with a deadline; a session still at work is parted with when it is done."""
    bench = Bench()
    await bench.use()
    await bench.pool.close()
    assert bench.sessions[0].end == "quit 2"

    assert await bench.use() == 1
    assert bench.sessions[1].end == "part"
