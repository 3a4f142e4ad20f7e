"""What operators' dashboards rely on: names, labels, and that nothing a client sends adds a series."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay import replies
from relay.model import Cause, Reply
from relay.observe.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def samples(metrics: Metrics) -> dict[str, float]:
    """The page as Prometheus reads it: `name{label=value,...}` to number."""
    page = metrics.render()[0].decode()
    return {
        sample.name
        + "{"
        + ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
        + "}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def deliver(metrics: Metrics, outcome: str = "delivered", **changed: float) -> None:
    facts = {"recipients": 1, "size": 2000, "seconds": 0.2} | changed
    metrics.message(
        "example.com", "us-west-2", "api", outcome,
        recipients=int(facts["recipients"]), size=int(facts["size"]), seconds=facts["seconds"],
    )  # fmt: skip


def test_messages_and_recipients_are_counted_by_route_and_outcome(metrics: Metrics) -> None:
    """Two delivered and one deferred are three messages in two series."""
    deliver(metrics, recipients=3)
    deliver(metrics, recipients=2)
    deliver(metrics, "deferred")
    route = "identity=example.com,outcome={},region=us-west-2,transport=api"
    seen = samples(metrics)

    assert seen["ses_relay_messages_total{" + route.format("delivered") + "}"] == 2
    assert seen["ses_relay_recipients_total{" + route.format("delivered") + "}"] == 5
    assert seen["ses_relay_messages_total{" + route.format("deferred") + "}"] == 1


def test_seconds_and_bytes_are_histograms(metrics: Metrics) -> None:
    """A message counts in every bucket that is at least its own size, and in the sum."""
    deliver(metrics, seconds=0.2, size=2000)
    route = "outcome=delivered,region=us-west-2,transport=api}"
    seen = samples(metrics)

    assert seen["ses_relay_delivery_seconds_bucket{identity=example.com,le=0.1," + route] == 0
    assert seen["ses_relay_delivery_seconds_bucket{identity=example.com,le=0.25," + route] == 1
    assert seen["ses_relay_delivery_seconds_sum{identity=example.com," + route] == pytest.approx(0.2)
    assert seen["ses_relay_message_bytes_bucket{identity=example.com,le=1000.0," + route] == 0
    assert seen["ses_relay_message_bytes_bucket{identity=example.com,le=10000.0," + route] == 1


def test_rejections_are_counted_by_codes_and_never_by_text(metrics: Metrics) -> None:
    """SES's reasons stand in texts; a series for each would never end."""
    for number in range(100):
        metrics.rejected(Reply(554, "5.6.0", f"Reason {number}"))
    metrics.rejected(replies.NO_RULE)
    seen = {key: value for key, value in samples(metrics).items() if key.startswith("ses_relay_rejections_total")}

    assert seen == {
        "ses_relay_rejections_total{reply=554 5.6.0}": 100,
        "ses_relay_rejections_total{reply=550 5.7.1}": 1,
    }


def test_throttling_and_lost_answers_have_counters_that_start_at_zero(metrics: Metrics) -> None:
    """An alert on an increase works from the first event on; other causes count nowhere."""
    before = samples(metrics)
    for cause in Cause:
        metrics.cause(cause)
    after = samples(metrics)

    assert before["ses_relay_throttled_total{}"] == before["ses_relay_unknown_outcomes_total{}"] == 0
    assert after["ses_relay_throttled_total{}"] == after["ses_relay_unknown_outcomes_total{}"] == 1


def test_connections_are_asked_for_when_somebody_looks(metrics: Metrics) -> None:
    """The gauge is the registry's own number, so it can never drift."""
    open_now = [1, 2, 3]
    metrics.count_connections(lambda: len(open_now))
    first = samples(metrics)["ses_relay_connections{}"]
    open_now.clear()

    assert (first, samples(metrics)["ses_relay_connections{}"]) == (3, 0)


def test_loop_lag_and_build_are_exposed(metrics: Metrics) -> None:
    """The version stands in a label, as Prometheus's convention has it."""
    metrics.loop_lag(0.25)
    seen = samples(metrics)

    assert seen["ses_relay_loop_lag_seconds{}"] == 0.25
    assert [
        value for key, value in seen.items() if key.startswith("ses_relay_build_info") and "version=1.2.3" in key
    ] == [1]


def test_the_pace_is_asked_for_when_somebody_looks(metrics: Metrics) -> None:
    """A gauge for each region shows what holds at that moment, not what held when it was set."""
    rates = iter([10.0, 5.0])
    metrics.watch_pace("default", "us-west-2", lambda: next(rates))
    series = "ses_relay_pace_recipients_per_second{credentials=default,region=us-west-2}"

    assert [samples(metrics)[series], samples(metrics)[series]] == [10, 5]


def test_upstream_has_a_series_for_each_region_of_which_something_is_known(metrics: Metrics) -> None:
    """A region that a reload took out of use does not stay up for ever."""

    def shown() -> dict[str, float]:
        return {key: value for key, value in samples(metrics).items() if key.startswith("ses_relay_upstream_up")}

    before = shown()
    metrics.upstream({"us-west-2": True, "eu-west-1": False})
    first = shown()
    metrics.upstream({"eu-west-1": True})

    assert before == {}
    assert first == {
        "ses_relay_upstream_up{region=us-west-2}": 1,
        "ses_relay_upstream_up{region=eu-west-1}": 0,
    }
    assert shown() == {"ses_relay_upstream_up{region=eu-west-1}": 1}


def test_every_name_is_ours_and_documented(metrics: Metrics) -> None:
    """Nothing but the list is exposed: no series of the library, of Python or of another registry."""
    deliver(metrics)
    metrics.rejected(replies.NO_RULE)
    families = {
        family.name: family.documentation for family in text_string_to_metric_families(metrics.render()[0].decode())
    }

    assert set(families) == {
        "ses_relay_messages", "ses_relay_recipients", "ses_relay_delivery_seconds", "ses_relay_message_bytes",
        "ses_relay_rejections", "ses_relay_unknown_outcomes", "ses_relay_throttled", "ses_relay_connections",
        "ses_relay_pace_recipients_per_second", "ses_relay_loop_lag_seconds", "ses_relay_build_info",
        "ses_relay_queue_messages", "ses_relay_queue_oldest_seconds", "ses_relay_upstream_up",
    }  # fmt: skip
    assert all(families.values())


def test_two_relays_in_one_process_do_not_share_counters() -> None:
    """Each has a registry of its own: tests and `demo` start several."""
    one, other = Metrics("1"), Metrics("2")
    one.cause(Cause.THROTTLED)

    assert samples(other)["ses_relay_throttled_total{}"] == 0


@pytest.mark.parametrize(
    ("accept", "content_type", "ending"),
    [
        ("", "text/plain; version=0.0.4", b"\n"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", b"# EOF\n"),
    ],
)
def test_the_page_comes_in_the_form_that_is_asked_for(
    metrics: Metrics, accept: str, content_type: str, ending: bytes
) -> None:
    """Prometheus asks for OpenMetrics, a person's curl for nothing."""
    page, served = metrics.render(accept)

    assert served.startswith(content_type)
    assert page.endswith(ending)


def test_labels_with_odd_characters_stay_one_label(metrics: Metrics) -> None:
    """An identity's name is the operator's text: quotes and newlines in it cannot forge a line."""
    metrics.message('a"b\nc', "us-west-2", "api", "delivered", recipients=1, size=1, seconds=0)

    assert (
        samples(metrics)['ses_relay_messages_total{identity=a"b\nc,outcome=delivered,region=us-west-2,transport=api}']
        == 1
    )
