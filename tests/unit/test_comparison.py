"""Figures of runs, and their comparison over seeds."""

from __future__ import annotations

import pytest

from tango.workload.comparison import FIGURES, compare, figures_of
from tango.workload.latency import LatencySummary
from tango.workload.report import JobCounts, NodeReport, Report, RequestCounts, ServiceReport


def report(completed: int = 90, p50: float | None = 5.0, duration_s: float = 10.0) -> Report:
    requests = RequestCounts(100, completed, 100 - completed)
    latency = LatencySummary() if p50 is None else LatencySummary(p50, 2 * p50, 3 * p50, 4 * p50)
    nodes = {"a": NodeReport.of(4, 6, 2000, 10), "b": NodeReport.of(1, 2, 1000, 10)}
    jobs = JobCounts(9, 5, 1, 2, 8.0)
    services = {"web": ServiceReport(requests, latency)}
    return Report(requests, latency, services, jobs, nodes, {}, 1, duration_s)


def test_figures_of_a_run() -> None:
    assert figures_of(report(), cores=3) == {
        "qos": 0.9,
        "requests_per_s": 9.0,
        "utilisation": pytest.approx(13 / 30),
        "lc_utilisation": pytest.approx(5 / 30),
        "be_utilisation": pytest.approx(8 / 30),
        "jobs_per_min": 30.0,
        "p50_ms": 5.0,
        "p95_ms": 10.0,
        "p99_ms": 15.0,
        "evictions": 2.0,
    }
    assert set(figures_of(report(), 3)) == {figure.name for figure in FIGURES}


def test_what_a_run_does_not_have_is_missing() -> None:
    assert "p95_ms" not in figures_of(report(0, None), 3)
    assert figures_of(report(duration_s=0.0), 3) == {}


def test_ratios_are_of_the_same_seeds() -> None:
    ours = {1: {"qos": 0.9}, 2: {"qos": 0.8}, 3: {"qos": 0.7}}
    theirs = {2: {"qos": 0.4}, 3: {"qos": 0.35}, 4: {"qos": 0.1}}
    first, second = compare({"ours": ours, "theirs": theirs, "none": {}}, "ours")
    assert (first.variant, first.seeds, first.ratios) == ("ours", (1, 2, 3), {})
    assert first.figures["qos"].mean == pytest.approx(0.8)
    assert second.ratios["qos"].mean == pytest.approx(2.0)
    assert second.ratios["qos"].count == 2
    assert set(second.to_dict()) == {"variant", "seeds", "figures", "ratios"}


def test_there_is_no_ratio_to_nothing() -> None:
    both = {"jobs_per_min": 0.0, "qos": 0.5}
    _, other = compare({"a": {1: {"jobs_per_min": 3.0, "qos": 1.0}}, "b": {1: both}}, "a")
    assert set(other.ratios) == {"qos"}
    assert other.figures["jobs_per_min"].mean == 0.0


def test_without_the_reference_there_is_no_ratio() -> None:
    (only,) = compare({"a": {}, "b": {1: {"qos": 1.0}}}, "a")
    assert (only.variant, only.ratios) == ("b", {})
