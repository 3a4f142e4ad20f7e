"""Logins without a listener: what is remembered, what is slowed, what is not answered."""

import asyncio
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher

from relay.smtp import auth
from relay.smtp.auth import FAILURES_MOST, FAILURES_S, REMEMBER_S, SLOWDOWN_S, AuthTrouble, Clock, Logins

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

    def __call__(self, stored: str, password: bytes) -> bool:
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


async def test_an_unknown_user_costs_what_a_known_one_costs(counted: Counted) -> None:
    assert not await FakeTime().logins().check("nobody", b"x", "192.0.2.1")
    assert counted.checks == 1


async def test_each_failure_of_an_address_is_answered_later() -> None:
    time = FakeTime()
    logins = time.logins()
    for _ in range(6):
        await logins.check("ann", b"wrong", "192.0.2.1")
    assert time.pauses == [*SLOWDOWN_S, SLOWDOWN_S[-1], SLOWDOWN_S[-1]]
    time.pauses.clear()
    await logins.check("ann", b"wrong", "192.0.2.2")
    assert time.pauses == [SLOWDOWN_S[0]]


async def test_too_many_failures_close_the_address_for_a_while_even_for_the_right_password() -> None:
    time = FakeTime()
    logins = time.logins()
    for _ in range(FAILURES_MOST):
        await logins.check("ann", b"wrong", "192.0.2.1")
    with pytest.raises(AuthTrouble):
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
    assert counted.most_at_once <= auth.CHECKS_AT_ONCE


async def test_what_is_remembered_is_no_password() -> None:
    logins = FakeTime().logins()
    assert await logins.check("ann", b"right", "192.0.2.1")
    assert b"right" not in b"".join(logins._remembered)
    assert "right" not in repr(vars(logins))
