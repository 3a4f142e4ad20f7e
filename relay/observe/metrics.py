"""Every metric the relay has, under the names that operators put into dashboards: all begin with `ses_relay_`.

Owns a registry of its own, so that nothing but this list is ever exposed. Counting is one dictionary lookup and
an addition: label children are made once, and their number is bounded by the configuration (identities) and by
our own words (outcomes, reply codes), never by what a client sends. Safe to render from another thread.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from relay.model import Cause, Reply

_ROUTE = ("identity", "region", "transport", "outcome")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 40_000_000)

# The library's `_created` samples double the number of series and say nothing that `up` does not.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation there


@dataclass(frozen=True, slots=True)
class _Route:
    """The children of one identity, region, transport and outcome."""

    messages: Counter
    recipients: Counter
    seconds: Histogram
    size: Histogram


class Metrics:
    """Counts what the relay does, in the words of the field, and writes it down for Prometheus."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        self._messages = Counter(
            "ses_relay_messages", "Messages answered, and parcels that have left the queue", _ROUTE, registry=registry
        )
        self._recipients = Counter("ses_relay_recipients", "Recipients of the messages", _ROUTE, registry=registry)
        self._seconds = Histogram(
            "ses_relay_delivery_seconds",
            "From the end of DATA to the answer",
            _ROUTE,
            buckets=_SECONDS,
            registry=registry,
        )
        self._bytes = Histogram(
            "ses_relay_message_bytes", "Size of the messages as received", _ROUTE, buckets=_BYTES, registry=registry
        )
        self._rejections = Counter(
            "ses_relay_rejections", "Replies 4yz and 5yz, by code and enhanced code", ("reply",), registry=registry
        )
        self._unknown = Counter(
            "ses_relay_unknown_outcomes", "Attempts whose answer was lost: sent or not, nobody knows", registry=registry
        )
        self._throttled = Counter("ses_relay_throttled", "Attempts that SES throttled", registry=registry)
        self._pace = Gauge(
            "ses_relay_pace_recipients_per_second",
            "How fast we send at most, at this moment",
            ("credentials", "region"),
            registry=registry,
        )
        self._upstream = Gauge(
            "ses_relay_upstream_up",
            "Whether SES takes mail in a region in use, as far as was known when the page was made",
            ("region",),
            registry=registry,
        )
        self._queued = Gauge("ses_relay_queue_messages", "Parcels in the spool", ("state",), registry=registry)
        self._oldest = Gauge(
            "ses_relay_queue_oldest_seconds", "Age of what has waited longest for delivery", registry=registry
        )
        self._connections = Gauge("ses_relay_connections", "Open client connections", registry=registry)
        self._loop_lag = Gauge(
            "ses_relay_loop_lag_seconds", "Longest delay of the event loop in the last 15 s", registry=registry
        )
        build = Info("ses_relay_build", "What is running", registry=registry)
        build.info({"version": version, "python": platform.python_version()})
        self._regions: set[str] = set()
        self._routes: dict[tuple[str, str, str, str], _Route] = {}
        self._replies: dict[tuple[int, str], Counter] = {}
        self._causes = {Cause.THROTTLED: self._throttled, Cause.LOST_ANSWER: self._unknown}

    def message(
        self, identity: str, region: str, transport: str, outcome: str, *, recipients: int, size: int, seconds: float
    ) -> None:
        """One message was answered; `size` in bytes as received, `seconds` from the end of DATA."""
        route = self._route((identity, region, transport, outcome))
        route.messages.inc()
        route.recipients.inc(recipients)
        route.seconds.observe(seconds)
        route.size.observe(size)

    def left_queue(self, identity: str, region: str, transport: str, outcome: str, recipients: int) -> None:
        """A spooled parcel is delivered or dead."""
        route = self._route((identity, region, transport, outcome))
        route.messages.inc()
        route.recipients.inc(recipients)

    def queue(self, parcels: Mapping[str, int], oldest_s: float) -> None:
        """How many parcels there are of each state, and how long the oldest has been waiting."""
        for state in ("queued", "held", "dead"):
            self._queued.labels(state).set(parcels.get(state, 0))
        self._oldest.set(oldest_s)

    def rejected(self, reply: Reply) -> None:
        """A client was told 4yz or 5yz; the text is not counted by, since it may quote SES."""
        key = (reply.code, reply.enhanced)
        counter = self._replies.get(key)
        if counter is None:
            counter = self._replies[key] = self._rejections.labels(f"{reply.code} {reply.enhanced}")
        counter.inc()

    def cause(self, cause: Cause) -> None:
        """Why one attempt did not deliver; causes without a metric of their own are passed over."""
        counter = self._causes.get(cause)
        if counter is not None:
            counter.inc()

    def watch_pace(self, credentials: str, region: str, rate: Callable[[], float]) -> None:
        """Ask `rate` for recipients per second whenever somebody looks; it may be called from another thread."""
        self._pace.labels(credentials, region).set_function(rate)

    def upstream(self, regions: Mapping[str, bool]) -> None:
        """Whether SES is up, for each region in use of which that is known; others have no series."""
        for region in self._regions - regions.keys():
            self._upstream.remove(region)
        for region, up in regions.items():
            self._upstream.labels(region).set(up)
        self._regions = set(regions)

    def count_connections(self, count: Callable[[], int]) -> None:
        """Ask `count` whenever somebody looks; it may be called from another thread."""
        self._connections.set_function(count)

    def loop_lag(self, seconds: float) -> None:
        """How late the event loop has been lately."""
        self._loop_lag.set(seconds)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page and its content type, in the newest form that the Accept header `accept` allows."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _route(self, key: tuple[str, str, str, str]) -> _Route:
        return self._routes.get(key) or self._open_route(key)

    def _open_route(self, key: tuple[str, str, str, str]) -> _Route:
        route = self._routes[key] = _Route(
            self._messages.labels(*key),
            self._recipients.labels(*key),
            self._seconds.labels(*key),
            self._bytes.labels(*key),
        )
        return route
