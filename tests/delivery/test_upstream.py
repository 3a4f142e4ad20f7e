"""Whether SES is up: mail's news first, then a probe, and only for those who ask.

In exact time, with a network made up, and with the relay's own gates.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pace_parts import DELIVERED, LOST, QUOTA, THROTTLED, UNAVAILABLE, UNREACHABLE, Log, clock, parcel, run

from relay.arn import parse_identity_arn
from relay.delivery.gates import GateRules, Gates
from relay.delivery.upstream import KEPT_S, TIMEOUT_S, Route, Unreachable, Upstream, routes_of
from relay.model import Identity, Outcome, Parcel, TransportName
from relay.policy.reachability import LATELY_S, TROUBLE_S

WEST, EAST = "us-west-2", "us-east-1"
API = Route(WEST, "api", "default")


@dataclass
class Network:
    """Where connections are to be had, and who has tried; `broken` is raised instead."""

    down: set[tuple[str, str]] = field(default_factory=set)
    latency: float = 0.1
    broken: Exception | None = None
    tried: list[tuple[str, str]] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def __call__(self, region: str, transport: TransportName, timeout_s: float) -> None:
        self.tried.append((region, transport))
        self.patience.append(timeout_s)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(min(self.latency, timeout_s))
        finally:
            self.at_once -= 1
        if self.broken:
            raise self.broken
        if (region, transport) in self.down or self.latency > timeout_s:
            raise Unreachable("connection refused")


class Scene:
    """A relay's knowledge of SES, with routes of its configuration."""

    def __init__(self, *routes: Route, network: Network | None = None) -> None:
        self.log, self.network = Log(), network or Network()
        self.gates = Gates(self.log.journal, clock(), GateRules(concurrency=32))
        self.upstream = Upstream(self.log.journal, clock().now, self.gates.news)
        self.upstream.change(routes or [API], self.network)

    async def mail(self, outcome: Outcome, count: int = 1, **changes: Any) -> None:
        """So many messages, each of which meets this."""

        async def send(_: Parcel) -> Outcome:
            return outcome

        for _ in range(count):
            each = parcel(**changes)
            gate = self.gates.of(each)
            if await gate.enter(each, self.gates.arrive(100)) is None:
                await gate.attempt(each, send)

    async def close(self) -> None:
        """The end of the relay."""
        await self.upstream.close()
        await self.gates.close()


class TestReadiness:
    def test_before_the_first_message_the_regions_of_the_configuration_are_probed(self) -> None:
        """A relay that has sent nothing yet says whether it could."""

        async def scene() -> None:
            play = Scene(API, Route(EAST, "smtp", "other"), network=Network(down={(EAST, "smtp")}))
            assert await play.upstream.ask() == {WEST: True, EAST: False}
            assert sorted(play.network.tried) == [(EAST, "smtp"), (WEST, "api")]
            await play.close()

        run(scene())

    @pytest.mark.parametrize("outcome", [DELIVERED, THROTTLED, QUOTA])
    def test_where_ses_has_answered_lately_nobody_probes(self, outcome: Outcome) -> None:
        """Any answer is one, whatever a probe would find; later, it counts no more."""

        async def scene() -> None:
            play = Scene(network=Network(down={(WEST, "api")}))
            await play.mail(outcome)
            await asyncio.sleep(LATELY_S - 1)
            assert await play.upstream.ask() == {WEST: True}
            assert play.network.tried == []
            await asyncio.sleep(2)
            assert await play.upstream.ask() == {WEST: False}
            assert play.network.tried == [(WEST, "api")]
            await play.close()

        run(scene())

    @pytest.mark.parametrize("outcome", [UNREACHABLE, UNAVAILABLE, LOST])
    def test_what_mail_is_suspended_for_is_down_without_a_probe(self, outcome: Outcome) -> None:
        """Three in a row met nobody, or nobody who takes mail: that a connection may be had would say less."""

        async def scene() -> None:
            play = Scene()
            await play.mail(DELIVERED)
            await play.mail(outcome, 3)
            assert await play.upstream.ask() == {WEST: False}
            assert play.network.tried == []
            await play.mail(DELIVERED)
            assert await play.upstream.ask() == {WEST: True}
            assert play.network.tried == []
            await play.close()

        run(scene())

    def test_an_outage_that_nobody_tries_to_get_through_any_more_is_probed(self) -> None:
        """Else who waits for readiness before he sends would wait for ever."""

        async def scene() -> None:
            play = Scene()
            await play.mail(UNREACHABLE, 3)
            await asyncio.sleep(TROUBLE_S - 1)
            assert await play.upstream.ask() == {WEST: False}
            await asyncio.sleep(1)
            assert await play.upstream.ask() == {WEST: True}
            assert play.network.tried == [(WEST, "api")]
            assert play.log.names == ["paused", "upstream_reachable"]
            await play.close()

        run(scene())

    def test_wrong_credentials_of_one_are_not_the_regions_trouble(self) -> None:
        """The other's way is idle, and is probed."""

        async def scene() -> None:
            play = Scene(API, replace(API, credentials="other"), replace(API, credentials="third", transport="smtp"))
            await play.mail(UNREACHABLE, 3, credentials="third", transport="smtp")
            assert await play.upstream.ask() == {WEST: True}
            assert play.network.tried == [(WEST, "api")]
            await play.close()

        run(scene())

    def test_only_idle_ways_are_probed(self) -> None:
        """What mail has just met by the API says more than a connection to it; by SMTP nobody knows."""

        async def scene() -> None:
            smtp = replace(API, transport="smtp")
            play, other = Scene(API, smtp), Scene(API, smtp)
            await play.mail(UNREACHABLE, 3)
            assert await play.upstream.ask() == {WEST: True}
            assert play.network.tried == [(WEST, "smtp")]
            await other.mail(UNREACHABLE, 3, transport="smtp")
            assert await other.upstream.ask() == {WEST: True}
            assert other.network.tried == [(WEST, "api")]
            await play.close()
            await other.close()

        run(scene())

    def test_one_transport_of_two_will_do_and_the_second_is_tried_only_if_need_be(self) -> None:
        """Together they take no longer than one."""

        async def scene() -> None:
            both = [API, replace(API, transport="smtp")]
            play, other = Scene(*both), Scene(*both, network=Network(down={(WEST, "api")}))
            assert await play.upstream.ask() == await other.upstream.ask() == {WEST: True}
            assert play.network.tried == [(WEST, "api")]
            assert other.network.tried == [(WEST, "api"), (WEST, "smtp")]
            assert other.network.patience == [TIMEOUT_S / 2] * 2
            await play.close()
            await other.close()

        run(scene())

    def test_a_result_is_kept_and_many_who_ask_cost_one_connection(self) -> None:
        """Hundreds of probers of hundreds of sidecars are no load on SES."""

        async def scene() -> None:
            play = Scene()
            asked = [play.upstream.ask() for _ in range(100)]
            assert await asyncio.gather(*asked) == [{WEST: True}] * 100
            await asyncio.sleep(KEPT_S - 0.01)
            await play.upstream.ask()
            assert len(play.network.tried) == 1
            await asyncio.sleep(0.02)
            await play.upstream.ask()
            assert len(play.network.tried) == 2
            assert play.network.most_at_once == 1
            await play.close()

        run(scene())

    def test_regions_are_probed_side_by_side(self) -> None:
        """Whoever asks waits for the slowest, not for all of them."""

        async def scene() -> None:
            play = Scene(*(replace(API, region=f"region-{number}") for number in range(20)))
            began = clock().now()
            assert set((await play.upstream.ask()).values()) == {True}
            assert clock().now() - began == pytest.approx(0.1)
            assert len(play.network.tried) == 20
            await play.close()

        run(scene())

    def test_a_network_that_says_nothing_is_waited_for_no_longer_than_that(self) -> None:
        async def scene() -> None:
            play = Scene(network=Network(latency=1000))
            began = clock().now()
            assert await play.upstream.ask() == {WEST: False}
            assert clock().now() - began == pytest.approx(TIMEOUT_S)
            await play.close()

        run(scene())

    def test_mail_is_quicker_than_a_probe(self) -> None:
        """What the probe finds afterwards changes nothing, nor is it told."""

        async def scene() -> None:
            play = Scene(network=Network(down={(WEST, "api")}))
            asked = asyncio.ensure_future(play.upstream.ask())
            await asyncio.sleep(0.05)
            await play.mail(DELIVERED)
            assert await asked == {WEST: True}
            assert play.log.names == []
            await play.close()

        run(scene())

    def test_our_own_fault_is_told_and_is_not_up(self) -> None:
        async def scene() -> None:
            play = Scene(network=Network(broken=ValueError("oops")))
            assert await play.upstream.ask() == {WEST: False}
            assert play.log.names == ["internal_error", "upstream_unreachable"]
            await play.close()

        run(scene())


class TestMetrics:
    def test_a_glance_does_not_wait_and_knows_next_time(self) -> None:
        """The first scrape has nothing to say; the connection it causes is made behind it."""

        async def scene() -> None:
            play = Scene(API, replace(API, region=EAST), network=Network(down={(EAST, "api")}))
            assert play.upstream.glance() == {}
            await asyncio.sleep(1)
            assert play.upstream.glance() == {WEST: True, EAST: False}
            assert len(play.network.tried) == 2
            await play.close()

        run(scene())

    def test_scrapes_cause_a_connection_in_thirty_seconds_at_most_and_mail_none(self) -> None:
        """Ten minutes of scrapes each second, the last five with mail."""

        async def scene() -> None:
            play = Scene()
            for second in range(600):
                if second >= 300 and second % 30 == 0:
                    await play.mail(DELIVERED)
                play.upstream.glance()
                await asyncio.sleep(1)
            assert 300 / (KEPT_S + 1) - 1 <= len(play.network.tried) <= 300 / KEPT_S
            await play.close()

        run(scene())

    def test_what_was_known_last_stands_until_it_is_known_better(self) -> None:
        """SES was up by its answers; when mail has ended, the series does not go while it is probed."""

        async def scene() -> None:
            play = Scene(network=Network(down={(WEST, "api")}))
            await play.mail(DELIVERED)
            assert play.upstream.glance() == {WEST: True}
            await asyncio.sleep(LATELY_S)
            assert play.upstream.glance() == {WEST: True}
            await asyncio.sleep(1)
            assert play.upstream.glance() == {WEST: False}
            await play.close()

        run(scene())

    def test_nobody_asks_nobody_probes(self) -> None:
        async def scene() -> None:
            play = Scene()
            await play.mail(DELIVERED)
            await asyncio.sleep(3600)
            assert play.network.tried == []
            await play.close()

        run(scene())


class TestLog:
    def test_a_change_is_told_once(self) -> None:
        """With the reason, and not again at each probe."""

        async def scene() -> None:
            play = Scene(network=Network(down={(WEST, "api")}))
            for _ in range(3):
                await play.upstream.ask()
                await asyncio.sleep(KEPT_S)
            play.network.down.clear()
            for _ in range(2):
                await play.upstream.ask()
                await asyncio.sleep(KEPT_S)
            assert play.log.names == ["upstream_unreachable", "upstream_reachable"]
            told = play.log.events[0]
            assert (told["region"], told["detail"]) == (WEST, "api: connection refused")
            await play.close()

        run(scene())


class TestReload:
    def test_the_regions_are_the_new_configurations(self) -> None:
        """A region that stays is probed anew, since its endpoint may be another, and is known meanwhile."""

        async def scene() -> None:
            play, later = Scene(API, replace(API, region=EAST)), Network(down={(WEST, "api")})
            await play.upstream.ask()
            play.upstream.change([API, replace(API, region="eu-west-1")], later)
            assert play.upstream.glance() == {WEST: True}
            assert await play.upstream.ask() == {WEST: False, "eu-west-1": True}
            assert sorted(later.tried) == [("eu-west-1", "api"), (WEST, "api")]
            await play.close()

        run(scene())

    @pytest.mark.parametrize("after_s", [0, 0.05])
    def test_who_is_asking_when_it_comes_hears_of_the_new_ones(self, after_s: float) -> None:
        """Even when the probe had not begun to run."""

        async def scene() -> None:
            play, later = Scene(), Network()
            asked = asyncio.ensure_future(play.upstream.ask())
            await asyncio.sleep(after_s)
            play.upstream.change([replace(API, region=EAST)], later)
            assert await asked == {EAST: True}
            assert later.tried == [(EAST, "api")]
            await play.close()

        run(scene())

    def test_the_old_networks_silence_is_not_waited_for(self) -> None:
        """The endpoint that the reload has put right is asked at once."""

        async def scene() -> None:
            play = Scene(network=Network(latency=1000))
            asked = asyncio.ensure_future(play.upstream.ask())
            await asyncio.sleep(1)
            play.upstream.change([API], Network())
            began = clock().now()
            assert await asked == {WEST: True}
            assert clock().now() - began == pytest.approx(0.1)
            assert play.network.at_once == 0
            await play.close()

        run(scene())

    @pytest.mark.parametrize("after_s", [0, 0.05])
    def test_the_end_ends_probes_and_there_are_none_after_it(self, after_s: float) -> None:
        """Whoever is asking hears that nothing is known to be up."""

        async def scene() -> None:
            play = Scene()
            asked = asyncio.ensure_future(play.upstream.ask())
            await asyncio.sleep(after_s)
            await play.upstream.close()
            assert await asked == {WEST: False}
            began = len(play.network.tried)
            await asyncio.sleep(3600)
            assert await play.upstream.ask() == {WEST: False}
            assert len(play.network.tried) == began
            await play.close()

        run(scene())


def test_routes_are_those_of_the_identities_each_once() -> None:
    """A thousand identities of one account are one way."""
    arn = parse_identity_arn("arn:aws:ses:us-west-2:111122223333:identity/example.com")
    one = Identity("a", ("@example.com",), arn, arn, arn, WEST)
    others = [
        replace(one, name="b"), replace(one, name="c", transport="smtp"), replace(one, name="d", credentials="x"),
    ]  # fmt: skip

    assert routes_of([one, *others]) == [API, replace(API, credentials="x"), replace(API, transport="smtp")]
