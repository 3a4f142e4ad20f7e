"""Logins without a listener: what is remembered, what is slowed, what is not answered."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher
from hash_gate import HashGate, hash_gate

from relay.smtp import auth
from relay.smtp.auth import (
    CHECKS_AT_ONCE,
    CHECKS_EACH,
    FAILURES_MOST,
    LOOKS_MOST,
    SLOWDOWN_S,
    AuthTrouble,
    Clock,
    Logins,
    TooManyLogins,
)
from relay.smtp.guesses import FAILURES_S
from relay.smtp.remembered import REMEMBER_S

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # the real cost is not what is tested
HASH = CHEAP.hash("right")


@dataclass
class FakeTime:
    """Time that passes when somebody pauses, or the test says so."""

    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    def logins(self, users: dict[str, str] | None = None) -> Logins:
        return Logins({"ann": HASH} if users is None else users, Clock(lambda: self.seconds, self.pause))


@dataclass
class Counted:
    """The real check, counted."""

    checks: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def __call__(self, stored: str | None, password: bytes) -> bool:
        self.checks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        right = _verify(stored, password)
        self.at_once -= 1
        return right


_verify = auth._verify


@pytest.fixture
def counted() -> object:
    with patch.object(auth, "_verify", Counted()) as counted:
        yield counted


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HashGate]:
    with hash_gate(monkeypatch) as gate:
        yield gate


def at_one_moment() -> Logins:
    """Logins in a time that stands still, so that nothing is forgotten."""
    return Logins({"ann": HASH, "bob": HASH}, Clock(lambda: 0.0, FakeTime().pause))


async def guess(logins: Logins, numbers: range, address: str = "192.0.2.1", user: str = "ann") -> list[bool | str]:
    """Try different wrong passwords one after the other: what each hears, False or why it was not checked."""
    heard: list[bool | str] = []
    for number in numbers:
        try:
            heard.append(await logins.check(user, b"guess %d" % number, address))
        except TooManyLogins as trouble:
            heard.append(trouble.reason)
    return heard


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [("ann", b"right", True), ("ann", b"wrong", False), ("bob", b"right", False), ("ann", b"", False)],
)
async def test_only_the_right_password_of_a_user_is_right(user: str, password: bytes, *, right: bool) -> None:
    assert await FakeTime().logins().check(user, password, "192.0.2.1") is right


async def test_a_right_login_is_remembered_for_a_while_and_for_that_password_only(counted: Counted) -> None:
    time = FakeTime()
    logins = time.logins()
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert counted.checks == 1
    assert not await logins.check("ann", b"wrong", "192.0.2.1")
    assert counted.checks == 2
    time.seconds += REMEMBER_S
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert counted.checks == 3


async def test_a_changed_password_holds_at_once(counted: Counted) -> None:
    logins = FakeTime().logins()
    assert await logins.check("ann", b"right", "192.0.2.1")
    logins.change({"ann": CHEAP.hash("new")})
    assert not await logins.check("ann", b"right", "192.0.2.1")
    logins.change({})
    assert not logins
    assert not await logins.check("ann", b"right", "192.0.2.1")


async def test_what_is_wrong_at_one_address_is_wrong_at_all() -> None:
    logins = FakeTime().logins()
    assert [await logins.check("ann", b"wrong", f"192.0.2.{n}") for n in range(3)] == [False] * 3


async def test_an_unknown_user_costs_what_a_known_one_costs(counted: Counted) -> None:
    assert not await FakeTime().logins().check("nobody", b"x", "192.0.2.1")
    assert counted.checks == 1


async def test_each_failure_of_an_address_is_answered_later() -> None:
    time = FakeTime()
    logins = time.logins()
    await guess(logins, range(6))
    assert time.pauses == [*SLOWDOWN_S, SLOWDOWN_S[-1], SLOWDOWN_S[-1]]
    time.pauses.clear()
    await logins.check("ann", b"wrong", "192.0.2.2")
    assert time.pauses == [SLOWDOWN_S[0]]


async def test_too_many_failures_close_the_address_for_a_while_even_for_the_right_password() -> None:
    time = FakeTime()
    logins = time.logins()
    assert await guess(logins, range(FAILURES_MOST)) == [False] * FAILURES_MOST
    with pytest.raises(TooManyLogins):
        await logins.check("ann", b"right", "192.0.2.1")
    assert await logins.check("ann", b"right", "192.0.2.2")
    time.seconds += FAILURES_S
    assert await logins.check("ann", b"right", "192.0.2.1")


@pytest.mark.parametrize("stored", ["", "nonsense", "$argon2id$v=19$m=65536"])
async def test_a_hash_that_cannot_be_checked_is_trouble_and_no_wrong_password(stored: str) -> None:
    with pytest.raises(AuthTrouble):
        await FakeTime().logins({"ann": stored or "$"}).check("ann", b"right", "192.0.2.1")


async def test_hashes_are_computed_few_at_once(counted: Counted) -> None:
    logins = FakeTime().logins()
    await asyncio.gather(*(logins.check("ann", b"wrong%d" % n, f"192.0.2.{n}") for n in range(8)))
    assert counted.checks == 8
    assert counted.most_at_once <= CHECKS_AT_ONCE


async def test_what_is_kept_is_no_password() -> None:
    logins = FakeTime().logins()
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert not await logins.check("ann", b"not this", "192.0.2.1")
    kept = [*logins._remembered._until, *logins._failures.of("192.0.2.1").wrong._times]
    assert len(kept) == 2
    assert all(len(mark) == 32 for mark in kept)
    assert "right" not in repr(vars(logins)) + repr(logins._attempt("ann", b"right", "192.0.2.1"))


# One origin and the others


async def test_who_asks_for_many_checks_hears_so_at_once_and_others_do_not_wait_for_them(gate: HashGate) -> None:
    """Ninety guesses from one address: a few are queued, and a right login from another one is among the next."""
    logins = FakeTime().logins()
    crowd = [asyncio.create_task(logins.check("ann", b"guess %d" % n, "192.0.2.1")) for n in range(90)]
    await gate.has_begun(CHECKS_AT_ONCE)
    refused = [task for task in crowd if task.done()]
    assert len(refused) == 90 - CHECKS_EACH
    assert {type(task.exception()) for task in refused} == {TooManyLogins}
    right = asyncio.create_task(logins.check("ann", b"right", "192.0.2.2"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.let()
    assert await right
    assert gate.begun.index(b"right") <= CHECKS_AT_ONCE + 1
    assert gate.most_at_once <= CHECKS_AT_ONCE
    outcomes = await asyncio.gather(*crowd, return_exceptions=True)
    assert outcomes.count(False) == CHECKS_EACH


async def test_all_origins_together_have_a_limit_too(gate: HashGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "CHECKS_MOST", 3)
    logins = FakeTime().logins()
    crowd = [asyncio.create_task(logins.check("ann", b"guess", f"192.0.2.{n}")) for n in range(3)]
    await gate.has_begun(CHECKS_AT_ONCE)
    with pytest.raises(TooManyLogins):
        await logins.check("ann", b"right", "192.0.2.9")
    gate.let()
    await asyncio.gather(*crowd)
    assert await logins.check("ann", b"right", "192.0.2.9")


async def test_the_same_login_asked_for_many_times_at_once_is_checked_once(gate: HashGate) -> None:
    """As an application does whose workers all begin together."""
    logins = FakeTime().logins()
    workers = [asyncio.create_task(logins.check("ann", b"right", "192.0.2.1")) for _ in range(50)]
    await gate.has_begun(1)
    gate.let()
    assert await asyncio.gather(*workers) == [True] * 50
    assert gate.begun == [b"right"]


async def test_who_goes_away_frees_no_place_and_is_counted(gate: HashGate) -> None:
    """Else a client that resets its connections gets all its guesses checked at the same time, and none counted."""
    logins = FakeTime().logins()
    for _ in range(4):
        leaving = [asyncio.create_task(logins.check("ann", b"guess %d" % n, f"192.0.2.{n}")) for n in range(10)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    checks = list(logins._under_way.values())
    gate.let()
    assert await asyncio.gather(*checks) == [False] * 10
    assert gate.most_at_once <= CHECKS_AT_ONCE
    assert [logins._failures.of(f"192.0.2.{n}").wrong.count(0) for n in range(10)] == [1] * 10
    assert [logins._failures.of(f"192.0.2.{n}").under_way for n in range(10)] == [0] * 10


async def test_guesses_under_way_are_counted_as_if_they_had_failed(gate: HashGate) -> None:
    gate.let()
    logins = FakeTime().logins()
    await guess(logins, range(FAILURES_MOST - 3))
    more = [logins.check("ann", b"more %d" % n, "192.0.2.1") for n in range(CHECKS_EACH)]
    outcomes = await asyncio.gather(*more, return_exceptions=True)
    assert outcomes.count(False) == 3
    assert len(gate.begun) == FAILURES_MOST


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe81::1"),
        ("unix", "unix", "unknown"),
    ],
)
async def test_an_ipv6_network_of_one_customer_is_one_origin(address: str, same: str, other: str) -> None:
    logins = FakeTime().logins()
    await guess(logins, range(FAILURES_MOST), address)
    with pytest.raises(TooManyLogins):
        await logins.check("ann", b"right", same)
    assert await logins.check("ann", b"right", other)


# Right ones beside wrong ones


async def test_the_same_wrong_login_counts_once_and_costs_one_hash(counted: Counted) -> None:
    """An application with an old password stops nobody else at its address, and learns nothing by going on."""
    time = FakeTime()
    logins = time.logins()
    for _ in range(3 * FAILURES_MOST):
        assert not await logins.check("ann", b"of last year", "unix")
    assert counted.checks == 1
    assert time.pauses == [SLOWDOWN_S[0]] * 3 * FAILURES_MOST
    assert await logins.check("ann", b"right", "unix")


async def test_a_wrong_login_is_right_once_the_user_has_that_password() -> None:
    logins = FakeTime().logins()
    assert not await logins.check("ann", b"new", "192.0.2.1")
    logins.change({"ann": CHEAP.hash("new")})
    assert await logins.check("ann", b"new", "192.0.2.1")


async def test_a_wrong_login_is_checked_again_when_its_time_is_over(counted: Counted) -> None:
    time = FakeTime()
    logins = time.logins()
    await logins.check("ann", b"wrong", "192.0.2.1")
    time.seconds = FAILURES_S
    await logins.check("ann", b"wrong", "192.0.2.1")
    assert counted.checks == 2


async def test_a_closed_address_still_lets_in_who_was_right_there() -> None:
    logins = at_one_moment()
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert await logins.check("bob", b"right", "192.0.2.2")
    await guess(logins, range(FAILURES_MOST), user="bob")
    assert await logins.check("ann", b"right", "192.0.2.1")
    with pytest.raises(TooManyLogins):  # he was right elsewhere
        await logins.check("bob", b"right", "192.0.2.1")
    assert not await logins.check("bob", b"guess 0", "192.0.2.1")  # which was said before


async def test_who_uses_a_remembered_login_keeps_it(counted: Counted) -> None:
    """An address that is closed stays so for longer than a login is remembered that nobody uses."""
    time = FakeTime()
    logins = time.logins()
    for _ in range(30):
        assert await logins.check("ann", b"right", "192.0.2.1")
        time.seconds += REMEMBER_S - 1
    assert counted.checks == 1
    logins.change({"ann": CHEAP.hash("new")})
    assert not await logins.check("ann", b"right", "192.0.2.1")


async def test_a_closed_address_answers_few_guesses_at_what_is_remembered() -> None:
    """Letting in who is remembered tells a guesser which password is right: that must not go on for ever."""
    logins = at_one_moment()
    assert await logins.check("ann", b"right", "192.0.2.1")
    await guess(logins, range(FAILURES_MOST))
    for _ in range(LOOKS_MOST):
        await guess(logins, range(1000, 1001))  # which is the same one
        await guess(logins, range(50), user="bob")  # of whom nothing is remembered there
    await guess(logins, range(2000, 2000 + LOOKS_MOST - 2))
    assert await logins.check("ann", b"right", "192.0.2.1")
    await guess(logins, range(3000, 3001))
    with pytest.raises(TooManyLogins):
        await logins.check("ann", b"right", "192.0.2.1")


async def test_a_busy_address_answers_few_guesses_too(gate: HashGate) -> None:
    """What is not checked for want of a place is a look at what is remembered like any other."""
    logins = at_one_moment()
    gate.let(1)
    assert await logins.check("ann", b"right", "192.0.2.1")
    busy = [asyncio.create_task(logins.check("ann", b"busy %d" % n, "192.0.2.1")) for n in range(CHECKS_EACH)]
    await gate.has_begun(1 + CHECKS_AT_ONCE)
    await guess(logins, range(LOOKS_MOST - 1))
    assert await logins.check("ann", b"right", "192.0.2.1")
    await guess(logins, range(100, 101))
    with pytest.raises(TooManyLogins):
        await logins.check("ann", b"right", "192.0.2.1")
    gate.let()
    await asyncio.gather(*busy)
    assert await logins.check("ann", b"right", "192.0.2.1")  # open again: what is wrong is checked and counted
