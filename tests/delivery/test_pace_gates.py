"""Who shares a gate, what is asked about accounts and how often, and what a reload keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pace_parts import DELIVERED, UNREACHABLE, Log, Upstream, clock, parcel, run
from prometheus_client.parser import text_string_to_metric_families

from relay.aws.asking import Asker, Means, NotTold
from relay.aws.credentials import CredentialBook
from relay.aws.endpoints import ApiEndpoints, Question
from relay.aws.exchange import Exchange
from relay.delivery.gates import LOOK_AGAIN_S, SPREAD, TRY_AGAIN_S, GateRules, Gates
from relay.model import Outcome, Parcel

DENIED = NotTold("GetAccount: HTTP 403 AccessDenied", lasting=True)
DOWN = NotTold("GetAccount: refused", lasting=False)


def account(rate: float = 14.0, sent: float = 0.0) -> bytes:
    """GetAccount's answer."""
    quota = {"MaxSendRate": rate, "Max24HourSend": -1.0, "SentLast24Hours": sent}
    return json.dumps({"SendQuota": quota, "ProductionAccessEnabled": True, "SendingEnabled": True}).encode()


def whose(number: str) -> bytes:
    """GetCallerIdentity's answer."""
    return f"<GetCallerIdentityResult><Account>{number}</Account></GetCallerIdentityResult>".encode()


class Told(Asker):
    """An AWS that answers as the test says, after a second (STS after two), and keeps what it was asked."""

    def __init__(self, says: Callable[[Question, str, str], bytes | Exception]) -> None:
        exchange = Exchange(1, user_agent="t")
        super().__init__(Means(CredentialBook({}), ApiEndpoints(), exchange, lambda: datetime.now(UTC)))
        self._says = says
        self.asked: list[tuple[str, str, str]] = []
        self.closed = False

    async def ask(self, question: Question, credentials: str, region: str, name: str = "") -> bytes:
        self.asked.append((question, credentials, region))
        await asyncio.sleep(2 if question == "GetCallerIdentity" else 1)
        said = self._says(question, credentials, region)
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None:
        await super().close()
        self.closed = True


class Scene:
    """Gates, and who is asked."""

    def __init__(self, says: Callable[[Question, str, str], bytes | Exception], **rules: Any) -> None:
        self.log, self.aws = Log(), Told(says)
        self.rules = {"concurrency": 2, "asker": self.aws, **rules}
        self.gates = Gates(self.log.journal, clock(), GateRules(**self.rules))

    def rate(self, **changes: Any) -> float:
        """Recipients per second for such a parcel."""
        return round(self.gates.of(parcel(**changes)).rate, 3)

    async def send(self, each: Parcel, outcome: Outcome) -> None:
        """One attempt with this outcome."""
        gate = self.gates.of(each)
        assert await gate.enter(each, self.gates.arrive(5)) is None
        await gate.attempt(each, Upstream(lambda _, __: outcome, latency=0).send)


class TestQuota:
    def test_it_is_read_in_the_background_and_then_holds(self) -> None:
        """The first message begins at 10 a second at once; a second later the quota is known, and said once."""

        async def scene() -> None:
            play = Scene(lambda *_: account(200))
            assert play.rate() == 10
            await asyncio.sleep(1.1)
            assert play.rate() == 200
            assert play.log.names == ["quota_read"]
            assert play.log.events[0]["recipients_per_second"] == 200
            assert play.log.events[0]["per_day"] is None
            await play.gates.close()

        run(scene())

    def test_it_is_asked_at_most_every_ten_minutes_and_only_while_mail_flows(self) -> None:
        async def scene() -> None:
            sent = iter(range(1000))
            play = Scene(lambda *_: account(sent=float(next(sent))))
            for _ in range(3600):
                play.rate()
                await asyncio.sleep(1)
            while_busy = len(play.aws.asked)
            await asyncio.sleep(86_400)
            await play.gates.close()

            assert 3600 / (LOOK_AGAIN_S * (1 + SPREAD)) - 1 < while_busy <= 3600 / LOOK_AGAIN_S
            assert len(play.aws.asked) == while_busy
            assert play.log.names == ["quota_read"]

        run(scene())

    def test_a_quota_that_changes_is_followed_and_told(self) -> None:
        async def scene() -> None:
            rates = iter([14.0, 50.0, 5.0])
            play = Scene(lambda *_: account(next(rates)))
            seen = []
            for _ in range(3):
                play.rate()
                await asyncio.sleep(2)
                seen.append(play.rate())
                await asyncio.sleep(LOOK_AGAIN_S * (1 + SPREAD))
            await play.gates.close()

            assert seen == [14, 50, 5]
            assert play.log.names == ["quota_read"] * 3

        run(scene())

    def test_without_permission_the_pace_is_learnt_and_that_is_told_once(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: DENIED)
            for _ in range(3):
                assert play.rate() == 10
                await asyncio.sleep(LOOK_AGAIN_S * (1 + SPREAD) + 2)
            await play.gates.close()

            assert play.log.names == ["quota_unknown"]
            assert play.log.events[0]["detail"] == f"{DENIED.detail}; {DENIED.detail}"

        run(scene())

    def test_who_could_not_be_asked_is_asked_again_soon(self) -> None:
        """SES was not reachable at start; a minute later it is."""

        async def scene() -> None:
            answers: Iterator[bytes | Exception] = iter([DOWN, account(14)])
            play = Scene(lambda *_: next(answers))
            play.rate()
            await asyncio.sleep(TRY_AGAIN_S * (1 + SPREAD) + 2)
            play.rate()
            await asyncio.sleep(2)
            assert play.rate() == 14
            await play.gates.close()

        run(scene())

    def test_what_is_known_is_kept_while_aws_says_nothing(self) -> None:
        async def scene() -> None:
            answers: Iterator[bytes | Exception] = iter([account(14), DOWN, DENIED, DENIED])
            play = Scene(lambda *_: next(answers))
            for _ in range(3):
                play.rate()
                await asyncio.sleep(2)
                assert play.rate() == 14
                await asyncio.sleep(LOOK_AGAIN_S * (1 + SPREAD))
            await play.gates.close()

        run(scene())

    def test_an_error_of_ours_is_told_and_mail_goes_on(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: ZeroDivisionError())
            play.rate()
            await asyncio.sleep(2)
            assert play.rate() == 10
            assert play.log.names == ["internal_error"]
            await play.gates.close()

        run(scene())

    def test_a_configured_number_is_a_ceiling(self) -> None:
        """Below the quota it counts, above it the quota does; without a quota it is where we begin."""

        async def scene() -> None:
            for max_rate, quota, rate in ((5.0, 14.0, 5.0), (50.0, 14.0, 14.0)):
                play = Scene(lambda *_, quota=quota: account(quota), max_rate=max_rate)
                assert play.rate() == max_rate
                await asyncio.sleep(2)
                assert play.rate() == rate
                await play.gates.close()

        run(scene())

    def test_the_metric_shows_it(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: account(14))
            play.rate()
            await asyncio.sleep(2)
            page = play.log.metrics.render()[0].decode()
            shown = [
                sample
                for family in text_string_to_metric_families(page)
                for sample in family.samples
                if sample.name == "ses_relay_pace_recipients_per_second"
            ]
            await play.gates.close()

            assert [sample.labels for sample in shown] == [{"credentials": "default", "region": "us-west-2"}]
            assert shown[0].value == 14

        run(scene())


class TestAccounts:
    """Two names of credentials, one account or two."""

    async def shared(self, play: Scene, **other: Any) -> bool:
        """Whether parcels of both names have one gate, once the accounts are known."""
        changes = {"credentials": "other", **other}
        play.gates.of(parcel()), play.gates.of(parcel(**changes))
        await asyncio.sleep(3)
        return play.gates.of(parcel()) is play.gates.of(parcel(**changes))

    def test_credentials_of_one_account_share_the_pace_of_a_region(self) -> None:
        def says(question: Question, *_: str) -> bytes:
            return whose("111122223333") if question == "GetCallerIdentity" else account()

        async def scene() -> None:
            play = Scene(says, whose=True)
            assert await self.shared(play)
            assert not await self.shared(play, region="eu-west-1")
            await play.gates.close()

        run(scene())

    def test_credentials_of_two_accounts_do_not(self) -> None:
        def says(question: Question, credentials: str, _: str) -> bytes:
            number = "111122223333" if credentials == "default" else "444455556666"
            return whose(number) if question == "GetCallerIdentity" else account()

        async def scene() -> None:
            play = Scene(says, whose=True)
            assert not await self.shared(play)
            await play.gates.close()

        run(scene())

    def test_nor_do_those_of_which_nobody_knows(self) -> None:
        """STS does not answer: quotas are read all the same."""

        async def scene() -> None:
            play = Scene(lambda question, *_: DOWN if question == "GetCallerIdentity" else account(), whose=True)
            assert not await self.shared(play)
            assert play.rate() == 14
            await play.gates.close()

        run(scene())

    def test_sts_is_left_alone_where_it_is_not_wanted(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: account())
            assert not await self.shared(play)
            await play.gates.close()
            assert {question for question, _, _ in play.aws.asked} == {"GetAccount"}

        run(scene())

    def test_the_quota_that_one_of_them_may_read_holds_for_both(self) -> None:
        def says(question: Question, credentials: str, _: str) -> bytes | Exception:
            if question == "GetCallerIdentity":
                return whose("111122223333")
            return account(200) if credentials == "other" else DENIED

        async def scene() -> None:
            play = Scene(says, whose=True)
            play.gates.of(parcel())
            await asyncio.sleep(3)
            assert play.rate() == 10
            assert await self.shared(play)
            assert play.rate() == 200
            play.gates.change(GateRules(concurrency=1))
            assert play.rate() == 200
            await play.gates.close()

        run(scene())

    def test_an_outage_of_one_of_them_is_remembered_when_they_come_together(self) -> None:
        """Its keys are wrong, also at the gate that it shares from now on."""

        def says(question: Question, *_: str) -> bytes:
            return whose("111122223333") if question == "GetCallerIdentity" else account()

        async def scene() -> None:
            play = Scene(says, whose=True)
            play.gates.of(parcel())
            await asyncio.sleep(3)
            for _ in range(3):
                await play.send(parcel(credentials="other"), UNREACHABLE)
            await asyncio.sleep(2.01)
            late = parcel(credentials="other")
            gate = play.gates.of(late)
            assert gate is play.gates.of(parcel())
            assert gate.conditions.is_suspended(late)
            assert not gate.conditions.is_suspended(parcel())
            await play.gates.close()

        run(scene())


class TestReload:
    def test_it_changes_the_rules_and_keeps_what_was_learnt(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: account(200))
            gate = play.gates.of(parcel())
            await asyncio.sleep(2)
            play.gates.change(GateRules(concurrency=4, max_rate=50))
            assert play.gates.of(parcel()) is gate
            assert play.rate() == 50
            play.gates.change(GateRules(concurrency=4))
            assert play.rate() == 200
            await play.gates.close()

        run(scene())

    def test_accounts_are_looked_at_again(self) -> None:
        """The keys may be another account's now, which shares nothing with the old one."""
        numbers = {"default": "111122223333", "other": "111122223333"}

        def says(question: Question, credentials: str, _: str) -> bytes:
            return whose(numbers[credentials]) if question == "GetCallerIdentity" else account()

        async def scene() -> None:
            play, later = Scene(says, whose=True), Told(says)
            assert await TestAccounts().shared(play)
            numbers["other"] = "444455556666"
            play.gates.change(GateRules(concurrency=2, asker=later, whose=True))
            assert not await TestAccounts().shared(play)
            await play.gates.close()
            assert play.aws.closed
            assert later.closed
            assert ("GetAccount", "other", "us-west-2") in later.asked

        run(scene())

    def test_who_is_being_asked_when_it_comes_is_not_believed_any_more(self) -> None:
        """The answer to the old keys comes after the reload: the new ones are asked."""

        async def scene() -> None:
            play, later = Scene(lambda *_: account(1)), Told(lambda *_: account(99))
            play.gates.of(parcel())
            await asyncio.sleep(0.5)
            play.gates.change(GateRules(concurrency=2, asker=later))
            play.gates.of(parcel())
            await asyncio.sleep(3)
            assert play.rate() == 99
            assert play.log.names == ["quota_read"]
            await play.gates.close()

        run(scene())

    def test_after_closing_nobody_is_asked(self) -> None:
        async def scene() -> None:
            play = Scene(lambda *_: account())
            play.gates.of(parcel())
            await play.gates.close()
            asked = len(play.aws.asked)
            await play.send(parcel(), DELIVERED)
            await play.send(parcel(region="eu-west-1"), DELIVERED)
            await asyncio.sleep(5)
            assert play.log.names == []
            assert len(play.aws.asked) == asked

        run(scene())
