"""Assumed roles: sessions from an STS that checks signatures and trust, kept, and renewed before anybody waits."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from role_world import BASE, EXTERNAL_ID, SECOND, SEND, SPARE, a_world, role

from relay.aws.asking import Asker, Means
from relay.aws.credentials import LAST_CALL_S, RECHECK_S, RENEW_S, THREADS, CredentialBook, CredentialTrouble, Keys
from relay.aws.endpoints import ApiEndpoints
from relay.aws.exchange import Exchange
from relay.aws.identity_of import Caller, identity_of
from relay.aws.trust import tls_context
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, AccessKey, Fault, Simulator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries that moto's server brings
    from moto.server import ThreadedMotoServer

HOUR = timedelta(hours=1)


class Time:
    """Both clocks of a book, which a test moves on; STS lives in the real time."""

    def __init__(self) -> None:
        self._passed = timedelta()

    def to(self, left_s: float) -> None:
        """So many seconds before a session of an hour that has just begun ends."""
        self._passed = HOUR - timedelta(seconds=left_s)

    def recheck(self) -> None:
        """Until the book looks at its keys again."""
        self._passed += timedelta(seconds=RECHECK_S)

    def clock(self) -> float:
        return self._passed.total_seconds()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._passed


@pytest.fixture
async def ses(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    """An STS where boto3 looks for it, asked once at most for each call."""
    async with Simulator(world=a_world()) as simulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", simulator.api_url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield simulator


def book(*sources: CredentialSource, time: Time | None = None, patience_s: float = 30) -> CredentialBook:
    time = time or Time()
    known = {source.name: source for source in (BASE, *sources)}
    return CredentialBook(known, clock=time.clock, now=time.now, patience_s=patience_s)


async def caller(known: CredentialBook, name: str) -> Caller:
    """Whose keys they are, by STS's own word."""
    exchange = Exchange(5, user_agent="ses-relay/test", final_s=0, trust=tls_context)
    asker = Asker(Means(known, ApiEndpoints(), exchange, lambda: datetime.now(UTC)))
    try:
        return await identity_of(asker, name, "us-east-1")
    finally:
        await asker.close()


def assumed(ses: Simulator) -> list[str]:
    """The answers to AssumeRole, in order."""
    return [call.answer for call in ses.called if call.name == "AssumeRole"]


class TestSessions:
    async def test_a_role_with_its_external_id_and_session_name(self, ses: Simulator) -> None:
        """The keys are temporary, of the role's account, and carry the name that the owner sees in CloudTrail."""
        known = book(role())
        keys = await known.keys("owner", "eu-west-1")

        assert keys.token
        assert keys.access_key.startswith("ASIA")
        assert (await caller(known, "owner")).arn == "arn:aws:sts::123456789012:assumed-role/send/relay-7"
        assert assumed(ses) == ["ok"]

    async def test_roles_in_a_chain(self, ses: Simulator) -> None:
        """The second role trusts sessions of the first only."""
        known = book(role("first"), role("second", assume_role=SECOND, external_id=None, source="first"))

        assert (await caller(known, "second")).arn == "arn:aws:sts::123456789012:assumed-role/second/relay-7"
        assert assumed(ses) == ["ok", "ok"]

    async def test_one_call_for_all_who_wait(self, ses: Simulator) -> None:
        """Fifty messages at once assume the role once, also where two roles have the same first one."""
        second = role("second", assume_role=SECOND, external_id=None, source="first")
        known = book(role("first"), second, replace(second, name="third"))

        keys = await asyncio.gather(*(known.keys(name) for name in ("second", "third") * 25))

        assert len(set(keys)) == 2
        assert assumed(ses) == ["ok"] * 3

    async def test_sts_is_asked_in_the_region_that_needs_the_keys(self, ses: Simulator) -> None:
        """What can be sent to can be asked; and a role of another partition is assumed at home."""
        for region in ("eu-west-1", "us-gov-west-1", "nowhere", ""):
            await book(role()).keys("owner", region)

        assert [call.region for call in ses.called] == ["eu-west-1", "us-east-1", "us-east-1", "us-east-1"]

    async def test_calls_that_hang_leave_threads_for_others(self, ses: Simulator) -> None:
        """Names are resolved in the same threads: ten roles at an STS that hangs must not keep mail from going."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(max_workers=THREADS + 1))
        ses.faults.add(Fault(action="delay", stage="call", call="AssumeRole"))
        known = book(*(role(f"owner{number}") for number in range(10)))
        waiting = [asyncio.create_task(known.keys(f"owner{number}")) for number in range(10)]
        await ses.faults.wait_held(THREADS)

        async with asyncio.timeout(5):
            await loop.getaddrinfo("localhost", 25)
        ses.faults.clear()
        assert len(set(await asyncio.gather(*waiting))) == 10

    async def test_no_smtp_login(self, ses: Simulator) -> None:
        """SES knows no session tokens in SMTP, so a login would only be refused."""
        with pytest.raises(CredentialTrouble, match="temporary"):
            await book(role()).smtp_login("owner", "us-east-1")


class TestRefusals:
    @pytest.mark.parametrize("external_id", [None, "wrong-word"])
    async def test_says_who_may_not_assume_what(self, ses: Simulator, external_id: str | None) -> None:
        """The role, the entry that tried, and the caller as STS names it; but no secret."""
        with pytest.raises(CredentialTrouble) as caught:
            await book(role(external_id=external_id)).keys("owner")

        detail = caught.value.detail
        assert "credentials 'owner': STS does not let credentials 'base'" in detail
        assert f"assume {SEND}: AccessDenied: User: {DELEGATE.principal} is not authorized" in detail
        assert caught.value.code == "AccessDenied"
        assert DELEGATE.secret_access_key not in repr(caught.value)

    async def test_the_first_of_a_chain_is_named(self, ses: Simulator) -> None:
        """What is to be mended is the entry that failed, not the one that was asked for."""
        first = role("first", external_id="wrong-word")
        with pytest.raises(CredentialTrouble, match="credentials 'first': STS does not let credentials 'base'"):
            await book(first, role("second", assume_role=SECOND, source="first")).keys("second")

    async def test_an_sts_that_cannot_be_reached(
        self, monkeypatch: pytest.MonkeyPatch, ses: Simulator, unused_tcp_port: int
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{unused_tcp_port}")

        with pytest.raises(CredentialTrouble, match="credentials 'owner': EndpointConnectionError"):
            await book(role()).keys("owner")

    async def test_a_circle_comes_to_an_end(self, ses: Simulator) -> None:
        """The configuration cannot have one; whoever makes a book in Python must not hang for it."""
        with pytest.raises(CredentialTrouble, match="not there within"):
            await book(role(source="other"), role("other", source="owner"), patience_s=0.05).keys("owner")


class TestRenewal:
    async def test_a_session_is_kept(self, ses: Simulator) -> None:
        """Until a quarter of an hour before its end nobody asks STS again."""
        time = Time()
        known = book(role(), time=time)
        first = await known.keys("owner")
        time.to(left_s=RENEW_S + 60)

        assert await known.keys("owner") == first
        assert assumed(ses) == ["ok"]

    async def test_nobody_waits_while_the_session_is_good(self, ses: Simulator) -> None:
        """STS takes its time; messages go on with the old keys, and with the new ones when they are there."""
        time = Time()
        known = book(role(), time=time)
        old = await known.keys("owner")
        ses.faults.add(Fault(action="delay", stage="call", call="AssumeRole"))
        time.to(left_s=RENEW_S - 1)

        meanwhile = {await known.keys("owner") for _ in range(3)}
        await ses.faults.wait_held()
        renewal = known._holdings["owner"].refresh
        assert renewal
        ses.faults.clear()
        new = await renewal

        assert meanwhile == {old}
        assert await known.keys("owner") == new != old
        assert assumed(ses) == ["ok", "ok"]

    async def test_an_sts_that_is_down_costs_nothing_while_the_session_is_good(self, ses: Simulator) -> None:
        """It is tried again every few seconds; what failed is told only when no good keys are left."""
        time = Time()
        known = book(role(), time=time)
        old = await known.keys("owner")
        ses.faults.add(Fault(action="error", stage="call", call="AssumeRole", status=503))
        time.to(left_s=LAST_CALL_S + 2 * RECHECK_S + 1)
        for _ in range(2):
            assert await known.keys("owner") == old
            renewal = known._holdings["owner"].refresh
            assert renewal
            await asyncio.wait([renewal])
            time.recheck()
        time.recheck()

        with pytest.raises(CredentialTrouble, match="ServiceUnavailable"):
            await known.keys("owner")
        assert assumed(ses) == ["ok"] + ["ServiceUnavailable"] * 3

    async def test_a_renewal_that_fails_is_told_although_nobody_waits(self, ses: Simulator) -> None:
        """Mail goes on with the old keys, but not for long: once for each reason, and again after one that went well.

        What a caller hears itself is not told.
        """
        told: list[tuple[str, str]] = []
        time = Time()
        sources = {"base": BASE, "owner": role()}
        known = CredentialBook(
            sources, clock=time.clock, now=time.now, not_renewed=lambda name, detail: told.append((name, detail))
        )

        async def renew(left_s: float) -> None:
            time.to(left_s=left_s)
            await known.keys("owner")
            renewal = known._holdings["owner"].refresh
            assert renewal
            await asyncio.wait([renewal])

        await known.keys("owner")
        down = Fault(action="error", stage="call", call="AssumeRole", status=503)
        ses.faults.add(down)
        for left_s in (RENEW_S - 1, RENEW_S - 1 - RECHECK_S):
            await renew(left_s)
        ses.faults.clear()
        ses.faults.add(Fault(action="refuse", stage="call", call="AssumeRole", status=403, code="AccessDenied"))
        await renew(RENEW_S - 1 - 2 * RECHECK_S)
        known.forget("owner", await known.keys("owner"))
        with pytest.raises(CredentialTrouble):
            await known.keys("owner")

        assert [name for name, _ in told] == ["owner", "owner"]
        assert all(word in told[n][1] for n, word in enumerate(("ServiceUnavailable", "AccessDenied")))

    async def test_a_forgotten_session_is_assumed_again_once(self, ses: Simulator) -> None:
        """However many messages were refused with the old one."""
        known = book(role())
        old = await known.keys("owner")

        async def refused_message() -> Keys:
            known.forget("owner", old)
            return await known.keys("owner")

        keys = set(await asyncio.gather(*(refused_message() for _ in range(20))))

        assert len(keys) == 1
        assert old not in keys
        assert assumed(ses) == ["ok", "ok"]

    async def test_a_session_forgotten_while_its_successor_comes(self, ses: Simulator) -> None:
        """One call is enough for both reasons."""
        time = Time()
        known = book(role(), time=time)
        old = await known.keys("owner")
        ses.faults.add(Fault(action="delay", stage="call", call="AssumeRole"))
        time.to(left_s=RENEW_S - 1)
        await known.keys("owner")
        await ses.faults.wait_held()
        known.forget("owner", old)
        waiting = asyncio.create_task(known.keys("owner"))
        await asyncio.sleep(0)
        ses.faults.clear()

        assert await waiting != old
        assert assumed(ses) == ["ok", "ok"]


class Helper:
    """A profile whose program gives one key after the other, the last again and again, and counts its runs."""

    def __init__(self, folder: Path, *keys: AccessKey) -> None:
        self._runs = folder / "runs"
        expiration = (datetime.now(UTC) + HOUR).isoformat()
        for number, key in enumerate([*keys, keys[-1], keys[-1]], 1):
            fields = {"AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key}
            (folder / f"key{number}").write_text(json.dumps({"Version": 1, **fields, "Expiration": expiration}))
        program = folder / "program.sh"
        program.write_text(f"echo run >> {self._runs}\ncat {folder}/key$(grep -c run {self._runs})\n")
        (folder / "config").write_text(f"[profile p]\ncredential_process = /bin/sh {program}\n")

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines())


class TestTheKeysThatAssume:
    @pytest.fixture
    def program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Helper]:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        return partial(Helper, tmp_path)

    async def test_they_are_looked_up_once_for_all_roles(self, ses: Simulator, program: Callable[..., Helper]) -> None:
        """All roles of one source ask its provider once."""
        helper = program(DELEGATE)
        roles = [role(f"owner{number}", source="p") for number in range(4)]
        known = book(CredentialSource("p", profile="p"), *roles)

        await asyncio.gather(*(known.keys(one.name) for one in roles))

        assert helper.runs == 1
        assert assumed(ses) == ["ok"] * 4

    @pytest.mark.parametrize(
        ("keys", "calls"), [((DELEGATE,), 1), ((DELEGATE, SPARE), 2), ((DELEGATE, SPARE, DELEGATE), 2)]
    )
    async def test_ended_keys_are_looked_up_once_more(
        self, ses: Simulator, program: Callable[..., Helper], keys: tuple[AccessKey, ...], calls: int
    ) -> None:
        """STS says ExpiredToken of the keys that assume: others are tried once, the same ones never again."""
        ses.faults.add(Fault(action="refuse", stage="call", call="AssumeRole", status=403, code="ExpiredToken"))
        helper = program(*keys)

        with pytest.raises(CredentialTrouble, match="ExpiredToken"):
            await book(CredentialSource("p", profile="p"), role(source="p")).keys("owner")
        assert helper.runs == 2
        assert assumed(ses) == ["ExpiredToken"] * calls

    async def test_newer_keys_are_tried_once(self, ses: Simulator) -> None:
        """A chain heals from its middle: the first role is assumed anew, then the second."""
        known = book(role("first"), role("second", assume_role=SECOND, external_id=None, source="first"))
        await known.keys("first")
        ses.faults.add(
            Fault(action="refuse", stage="call", call="AssumeRole", status=403, code="ExpiredToken", count=1)
        )

        assert (await known.keys("second")).token
        assert assumed(ses) == ["ok", "ExpiredToken", "ok", "ok"]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Another maker's STS."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def test_another_makers_sts(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role is assumed in the account of its ARN, under the session's name."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    mine = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/send"
    known = book(role(assume_role=mine, external_id=EXTERNAL_ID))

    found = await caller(known, "owner")

    assert found == Caller(DEFAULT_ACCOUNT_ID, f"arn:aws:sts::{DEFAULT_ACCOUNT_ID}:assumed-role/send/relay-7")
