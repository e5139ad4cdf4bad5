"""LC tasks to arrivals of requests, by both rules."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.trace_jobs import RunRule
from tango.workload.trace_replay import ReplayRule
from tango.workload.trace_requests import (
    RequestRule,
    mean_demand,
    of_service,
    request_arrivals,
)
from tango.workload.trace_scale import NodeScale
from tango.workload.trace_tasks import Fate, TraceTask

SCALE = NodeScale(1.0, 1.0, cpu_millis=4000)


def task(
    at_s: float, run_s: float = 100, cpu: float = 0.25, *, critical: bool = True, job: str = "1"
) -> TraceTask:
    return TraceTask(f"{job}.0", job, at_s, run_s, Fate.FINISHED, critical, cpu, 0.1)


def requests(tasks: Iterable[TraceTask], seed: int = 1, **rule: Any) -> list[Arrival]:
    return list(request_arrivals(tasks, SCALE, RequestRule(**rule), random.Random(seed)))


def test_each_task_is_a_request_whose_work_is_its_cpu() -> None:
    tasks = [task(0), task(2, critical=False), task(4, cpu=0.5), task(4, cpu=1e-4), task(6, cpu=9)]
    replay = ReplayRule(speed_up=2)
    assert requests(tasks, reference=1, replay=replay, max_work=3) == [
        Arrival(0, 1),
        Arrival(2, 2),
        Arrival(2, 0.1),
        Arrival(3, 3),
    ]


def test_work_from_cpu_time() -> None:
    tasks = [task(0, run_s=10), task(1, run_s=50)]
    assert requests(tasks, work="cpu-time", reference=20) == [Arrival(0, 0.5), Arrival(1, 2.5)]
    assert requests(tasks, work="cpu-time", reference=20, runs=RunRule(run_factor=0.1)) == [
        Arrival(0, 0.1),
        Arrival(1, 0.25),
    ]


@pytest.mark.parametrize("work", ["cpu", "cpu-time"])
def test_the_mean_demand_as_reference_makes_the_mean_work_one(work: str) -> None:
    rng = random.Random(4)
    tasks = [task(n, run_s=rng.uniform(10, 30), cpu=rng.uniform(0.2, 0.4)) for n in range(200)]
    rule = RequestRule(work=work)
    reference = mean_demand(tasks, SCALE, rule, random.Random(1))
    found = requests(tasks, work=work, reference=reference)
    assert sum(arrival.work for arrival in found) / 200 == pytest.approx(1)


def test_no_task_has_no_mean() -> None:
    with pytest.raises(InvalidField, match="trace: none of its tasks is LC"):
        mean_demand([task(0, critical=False)], SCALE, RequestRule(), random.Random(1))


def test_live_requests_follow_the_cores_of_live_tasks() -> None:
    tasks = [task(0, 1000, 0.25), task(200, 300, 0.5), task(600, 100, 0.25)]
    found = [arrival.at_s for arrival in requests(tasks, requests="live", per_core_s=10)]
    assert found == sorted(found)
    for start_s, end_s, cores in ((0, 200, 1), (200, 500, 3), (500, 600, 1), (600, 700, 2)):
        wanted = (end_s - start_s) * cores * 10
        count = sum(start_s <= at_s < end_s for at_s in found)
        assert count == pytest.approx(wanted, abs=5 * wanted**0.5)
    assert 990 < found[-1] < 1000
    assert requests(tasks, requests="live", per_core_s=10) == [Arrival(at_s) for at_s in found]


def test_live_requests_pause_where_nothing_lives_and_stop_at_the_end() -> None:
    tasks = [task(10, 20), task(100, 1e6)]
    replay = ReplayRule(end_s=400, speed_up=2)
    runs = RunRule(max_s=1e6)
    found = requests(tasks, requests="live", per_core_s=20, replay=replay, runs=runs)
    times = [arrival.at_s for arrival in found]
    # The first lives from 5 to 25 s, the second from 50 s on; 400 s of trace are 200 s of replay.
    assert min(times) > 5
    assert not any(25 <= at_s < 50 for at_s in times)
    assert 199 < max(times) < 200


def test_a_trace_without_lc_has_no_requests() -> None:
    for rule in ("task", "live"):
        assert requests([task(0, critical=False)], requests=rule) == []


def test_each_job_belongs_to_one_service() -> None:
    tasks = [task(n, job=str(n % 40)) for n in range(400)]
    shares = [list(of_service(tasks, index, 3)) for index in range(3)]
    assert sum(map(len, shares)) == 400
    owners = [{task.job for task in share} for share in shares]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert all(owners)
    assert [t.job for t in of_service([task(0, job="3418309")], 0, 2)] == ["3418309"]
    with pytest.raises(InvalidField, match="index: 3 is out of range; write 0 to 2"):
        of_service(tasks, 3, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": "x"},
        {"work": "x"},
        {"reference": 0},
        {"min_work": -1},
        {"max_work": 0.05},
        {"per_core_s": 0},
    ],
)
def test_rules_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match=next(iter(wrong))):
        RequestRule(**wrong)
