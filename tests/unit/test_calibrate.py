"""What `tango bench calibrate` derives and how it judges; and its scenario, simulated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tango.cli.benches.calibrate_ground import PERIOD_US, Used
from tango.cli.benches.calibrate_rules import (
    Measured,
    RunFigures,
    compare,
    costs_of,
    delays_of,
    missed,
)
from tango.cli.benches.calibrate_scenario import Load, Setting, scenario_of, simulated
from tango.model.job import JobSpec, TaskSpec
from tango.model.service import ServiceSpec
from tango.sdk.embedded_plan import EmbeddedPlan, NodePlan
from tango.workload.arrival import Arrival

MEASURED = Measured(
    direct=0.5, carried=2.4, edge_cpu=0.6, worker_cpu=0.4, trivial_cpu=0.2, request_cpu=10.0
)
FIGURES = RunFigures(1000, 950, 0.95, 98.0, 95.0, 0.6, 0.3, 30.0, 80.0, 120.0)
PLAN = EmbeddedPlan(
    ("site-a",),
    tuple(NodePlan(name, "site-a", 450, 2**30, "1") for name in ("a1", "a2")),
    "cpuset",
    100,
)
SETTING = Setting(
    PLAN,
    PERIOD_US,
    ServiceSpec(
        "service", ("x",), replicas=2, concurrency=2, cpu_per_request_millis=200, deadline_s=0.2
    ),
    JobSpec("work", tuple(TaskSpec(f"be-{n}", ("y",), cpu_millis=50) for n in range(2))),
    MEASURED,
    "nowhere",
)


def test_costs_add_up_to_the_latency_that_was_measured() -> None:
    costs, delays = costs_of(MEASURED, "here"), delays_of(MEASURED)
    assert costs.calibrated == "here"
    assert costs.edge_request_s == costs.edge_answer_s == pytest.approx(0.0003)
    assert costs.worker_request_s == costs.worker_answer_s == pytest.approx(0.0002)
    control_s = 2 * (costs.edge_request_s + costs.worker_request_s)
    ways_s = 2 * (delays.user_edge_s + delays.edge_worker_s)
    assert 1000 * (control_s + ways_s) == pytest.approx(MEASURED.carried - MEASURED.trivial_cpu)


def test_no_message_takes_less_than_no_time() -> None:
    assert delays_of(replace(MEASURED, carried=1.0)).user_edge_s == 0.0


def _out(**fields: float) -> list[str]:
    return [each.what for each in missed(compare(FIGURES, replace(FIGURES, **fields)))]


@pytest.mark.parametrize(
    ("field", "within", "beyond"),
    [
        ("qos", (0.901, 0.999), (0.899, 1.001)),
        ("answered_per_s", (88.3, 107.7), (88.1, 107.9)),
        ("lc_cpu", (0.551, 0.649), (0.549, 0.651)),
        ("p95_ms", (60.1, 99.9), (59.9, 100.1)),
    ],
)
def test_bounds_hold_on_both_sides(
    field: str, within: tuple[float, float], beyond: tuple[float, float]
) -> None:
    for value in within:
        assert _out(**{field: value}) == []
    for value in beyond:
        assert field in _out(**{field: value})


def test_cpu_of_both_sides_together_has_a_bound_too() -> None:
    assert _out(lc_cpu=0.64, be_cpu=0.34) == ["cpu"]
    assert _out(lc_cpu=0.66, be_cpu=0.24) == ["lc_cpu", "be_cpu"]


def test_two_ms_are_allowed_where_a_quarter_is_less() -> None:
    quick = replace(FIGURES, p95_ms=4.0)
    assert missed(compare(quick, replace(quick, p95_ms=5.9))) == ()
    assert missed(compare(quick, replace(quick, p95_ms=6.1)))


def test_percentiles_that_no_bound_is_on_are_only_shown() -> None:
    assert _out(p50_ms=300.0, p99_ms=1.0) == []


def test_a_side_that_answers_nothing_is_out_of_bounds() -> None:
    silent = RunFigures(1000, 0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
    for pair in ((FIGURES, silent), (silent, FIGURES)):
        out = {each.what for each in missed(compare(*pair))}
        assert out >= {"qos", "answered_per_s", "cpu", "p95_ms"}


def test_what_idle_daemons_use_is_taken_off_by_time() -> None:
    idle = Used(2.0, 0.02, 0.0, 0.04, 0.1)
    net = Used(10.0, 1.1, 0.0, 0.5, 0.4).beyond(idle)
    assert (net.lc_s, net.edge_s) == (pytest.approx(1.0), pytest.approx(0.3))
    assert net.worker_s == 0.0, "never below none"


def _load(rate: float, seconds: float, *, with_be: bool) -> Load:
    times = [Arrival((number + 0.5) / rate) for number in range(round(rate * seconds))]
    return Load(times[: round(rate)], 1.0, times, seconds, with_be)


def test_the_scenario_holds_nodes_as_the_kernel_does_and_counts_after_the_warm_up() -> None:
    load = _load(10.0, 4.0, with_be=True)
    scenario = scenario_of(SETTING, load, "one")
    scenario.validate()
    assert [node.cap_period_us for _, node in scenario.topology.nodes()] == [PERIOD_US] * 2
    assert simulated(SETTING, load, "one").sent == 40


def test_be_takes_what_requests_leave_of_a_capped_node() -> None:
    alone = simulated(SETTING, _load(20.0, 4.0, with_be=False), "alone")
    beside = simulated(SETTING, _load(20.0, 4.0, with_be=True), "beside")
    assert alone.qos == beside.qos == 1.0
    # 20 requests a second of 10 ms on 0.9 cores.
    assert alone.lc_cpu == pytest.approx(0.2 / 0.9, rel=0.02)
    assert alone.be_cpu == 0.0
    assert beside.cpu == pytest.approx(1.0, abs=0.01)
    assert beside.lc_cpu == pytest.approx(alone.lc_cpu, rel=0.02)
    # 10 ms of CPU are more than two periods' quota: at least one pause of 5.5 ms.
    assert alone.p50_ms is not None
    assert 15.5 < alone.p50_ms < 25.0
