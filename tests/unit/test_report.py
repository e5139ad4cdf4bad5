"""The common report: its invariants, its JSON form, merging."""

from __future__ import annotations

import json
import math

import pytest

from tango.model.request import Outcome
from tango.workload.latency import LatencyHistogram, LatencySummary
from tango.workload.report import (
    JobCounts,
    NodeReport,
    Report,
    RequestCounts,
    RequestTally,
    ServiceReport,
)


def tally(completed: int, late: int = 0, rejected: int = 0, failed: int = 0) -> RequestTally:
    found = RequestTally()
    for _ in range(completed + late + rejected + failed):
        found.send()
    for at in range(completed):
        found.end(Outcome.COMPLETED, 10.0 + at)
    for _ in range(late):
        found.end(Outcome.LATE, 500.0)
    for _ in range(rejected):
        found.end(Outcome.REJECTED, 1.0)
    for _ in range(failed):
        found.end(Outcome.FAILED)
    return found


def test_parts_must_add_up_to_sent() -> None:
    with pytest.raises(ValueError, match="is not sent"):
        RequestCounts(sent=3, completed=1, late=1)


@pytest.mark.parametrize("name", ["sent", "completed", "late", "rejected", "failed"])
def test_counts_are_not_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RequestCounts(**{name: -1})


def test_counts_add_and_tell_violations() -> None:
    total = RequestCounts(4, 1, 1, 1, 1) + RequestCounts(2, 2)
    assert total == RequestCounts(6, 3, 1, 1, 1)
    assert total.violations == 3
    assert total.satisfied_share == 0.5
    assert RequestCounts().satisfied_share is None


def test_counts_field_names_are_the_outcomes() -> None:
    assert set(RequestCounts().to_dict()) == {"sent"} | {outcome.value for outcome in Outcome}


def test_tally_counts_only_answers_in_latency() -> None:
    found = tally(2, 1, 1, 1)
    assert found.counts() == RequestCounts(5, 2, 1, 1, 1)
    assert found.latency.count == 3
    assert found.latency.max_ms == 500


def test_tally_refuses_to_report_requests_in_flight() -> None:
    found = RequestTally()
    found.send()
    assert found.in_flight == 1
    with pytest.raises(ValueError, match="is not sent"):
        found.counts()


def test_tally_refuses_what_was_not_sent_and_completed_without_latency() -> None:
    found = RequestTally()
    with pytest.raises(ValueError, match="more requests"):
        found.end(Outcome.FAILED)
    found.send()
    with pytest.raises(ValueError, match="has a latency"):
        found.end(Outcome.COMPLETED)
    found.end(Outcome.LATE)  # given up at the deadline: no latency is known
    assert found.counts() == RequestCounts(1, late=1)
    assert found.latency.summary() == LatencySummary()


def test_report_has_the_documented_keys_in_order() -> None:
    report = Report.of(
        {"a": tally(3, 1), "b": tally(1, rejected=2, failed=1)},
        seed=7,
        duration_s=2.5,
        jobs=JobCounts(5, 3, 1, 2, 4.5),
        nodes={"w1": NodeReport.of(1.0, 0.5, 1000, 2.5)},
        policies={"traffic": "least-loaded"},
    )
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(found) == [
        "requests",
        "latency_ms",
        "services",
        "jobs",
        "nodes",
        "policies",
        "seed",
        "duration_s",
    ]
    assert found["requests"] == {
        "sent": 8,
        "completed": 4,
        "late": 1,
        "rejected": 2,
        "failed": 1,
    }
    assert list(found["latency_ms"]) == ["p50", "p95", "p99", "max"]
    assert found["latency_ms"]["max"] == 500
    assert found["services"]["b"]["requests"]["rejected"] == 2
    assert set(found["services"]["b"]) == {"requests", "latency_ms"}
    assert found["jobs"] == {
        "submitted": 5,
        "succeeded": 3,
        "failed": 1,
        "evictions": 2,
        "cpu_seconds": 4.5,
    }
    assert found["nodes"] == {
        "w1": {"cpu_utilisation": 0.6, "lc_cpu_seconds": 1.0, "be_cpu_seconds": 0.5}
    }
    assert (found["seed"], found["duration_s"]) == (7, 2.5)


def test_report_of_nothing_has_null_percentiles() -> None:
    found = Report.of({}, seed=0, duration_s=0).to_dict()
    assert found["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}


def test_services_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up"):
        Report(
            RequestCounts(2, 2),
            LatencySummary(),
            {"a": ServiceReport(RequestCounts(1, 1))},
            JobCounts(),
            {},
            {},
            0,
            1.0,
        )


def test_job_counts() -> None:
    assert JobCounts(2, 1, 0, 3, 1.5) + JobCounts(1, 0, 1, 0, 0.5) == JobCounts(3, 1, 1, 3, 2.0)
    with pytest.raises(ValueError, match="more jobs ended"):
        JobCounts(submitted=1, succeeded=1, failed=1)
    with pytest.raises(ValueError, match="cpu_seconds"):
        JobCounts(cpu_seconds=math.nan)


def test_node_without_capacity_has_no_utilisation() -> None:
    assert NodeReport.of(1, 1, 0, 10).cpu_utilisation == 0


def test_summary_refuses_disorder() -> None:
    with pytest.raises(ValueError, match="in order"):
        LatencySummary(2.0, 1.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="missing"):
        LatencySummary(p50=1.0)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_histogram_refuses_what_is_no_latency(bad: float) -> None:
    histogram = LatencyHistogram()
    with pytest.raises(ValueError, match="not a latency"):
        histogram.add(bad)
    assert histogram.count == 0


def test_histogram_of_one_value_is_exact() -> None:
    histogram = LatencyHistogram()
    histogram.add(12.345)
    assert histogram.summary() == LatencySummary(12.345, 12.345, 12.345, 12.345)


def test_histogram_beyond_its_range_stays_within_what_it_saw() -> None:
    histogram = LatencyHistogram()
    for value in (0.0, 1e-9, 1e12, 2e12):
        histogram.add(value)
    low, high, largest = histogram.percentiles(25, 75, 100)
    assert low <= 0.001
    assert 1e7 < high <= 2e12
    assert largest == 2e12


def test_percentiles_of_nothing() -> None:
    with pytest.raises(ValueError, match="no latency"):
        LatencyHistogram().percentiles(50)
