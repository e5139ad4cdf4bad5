"""Plain counts come out as Prometheus expects them."""

from __future__ import annotations

from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from tango.daemons.edge.metrics import EdgeMetrics
from tango.daemons.tallies import Buckets, Scrape
from tango.model.request import CallReply, Code, Outcome


def shown(scrape: Scrape) -> str:
    registry = CollectorRegistry()
    registry.register(cast("Collector", scrape))
    return generate_latest(registry).decode()


def test_a_histogram_is_cumulative_and_ends_at_infinity() -> None:
    buckets = Buckets((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        buckets.observe(value)
    text = shown(Scrape(lambda: [buckets.family("x_seconds", "x")]))
    assert 'x_seconds_bucket{le="0.1"} 2.0' in text
    assert 'x_seconds_bucket{le="1.0"} 3.0' in text
    assert 'x_seconds_bucket{le="+Inf"} 4.0' in text
    assert "x_seconds_count 4.0" in text
    assert "x_seconds_sum 7.65" in text


def test_every_outcome_is_there_from_the_start() -> None:
    scrape = Scrape()
    metrics = EdgeMetrics(scrape)
    metrics.watch(lambda: (), lambda: ())
    metrics.arrived()
    metrics.ended(CallReply("r", Outcome.LATE, Code.OK, total_ms=30.0))
    text = shown(scrape)
    assert "tango_requests_arrived_total 1.0" in text
    assert 'tango_requests_total{outcome="late"} 1.0' in text
    assert 'tango_requests_total{outcome="completed"} 0.0' in text
    assert 'tango_request_seconds_bucket{le="0.05"} 1.0' in text
