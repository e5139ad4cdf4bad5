"""Tasks to jobs: pace, sizes, work, gangs, and what never ran."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable
from typing import Any

import pytest

from tango.model.errors import InvalidField
from tango.workload.trace_jobs import JobArrival, JobRule, RunRule, job_arrivals
from tango.workload.trace_replay import ReplayRule, replayed
from tango.workload.trace_scale import NodeScale
from tango.workload.trace_tasks import Fate, TraceTask

SCALE = NodeScale(0.5, 0.5, cpu_millis=4000, memory_bytes=8 * 2**30)


def task(
    at_s: float = 0,
    run_s: float = 100,
    fate: Fate = Fate.FINISHED,
    *,
    name: str = "1.0",
    critical: bool = False,
    cpu: float | None = 0.125,
    initial: bool = False,
) -> TraceTask:
    job = name.partition(".")[0]
    return TraceTask(name, job, at_s, run_s, fate, critical, cpu, 0.0625, 3, initial)


def jobs(tasks: Iterable[TraceTask], seed: int = 1, **rule: Any) -> list[JobArrival]:
    return list(job_arrivals(tasks, SCALE, JobRule(**rule), random.Random(seed)))


def test_a_task_becomes_a_job() -> None:
    assert jobs([task(5), task(6, critical=True)]) == [
        JobArrival(5, 1000, 2**30, 100.0, 1, 3, "1.0")
    ]


def test_work_is_run_times_cores_times_use() -> None:
    (found,) = jobs([task()], runs=RunRule(run_factor=0.1), cpu_use=0.3)
    assert found.work_cpu_s == pytest.approx(100 * 0.1 * 1.0 * 0.3)
    (found,) = jobs([task(run_s=1e9)], runs=RunRule(max_s=50))
    assert found.work_cpu_s == 50
    (found,) = jobs([task(run_s=0)], runs=RunRule(min_s=2))
    assert found.work_cpu_s == 2  # it ended in the second it began


def test_part_and_pace() -> None:
    replay = ReplayRule(start_s=10, end_s=30, speed_up=4)
    found = jobs([task(at_s) for at_s in (9, 10, 20, 29.9, 30, 20)], replay=replay)
    assert [job.at_s for job in found] == [0, 2.5, pytest.approx(4.975)]


def test_reading_stops_at_the_end() -> None:
    def tasks() -> Iterable[TraceTask]:
        yield task(1)
        yield task(3)
        raise AssertionError("read on")

    assert len(jobs(tasks(), replay=ReplayRule(end_s=3))) == 1


def test_what_was_there_before_is_spread_over_the_empty_start() -> None:
    tasks = [task(0, name=f"{n}.0", initial=True) for n in range(400)] + [task(300), task(700)]
    found = jobs(tasks)
    times = [job.at_s for job in found]
    assert times == sorted(times)
    assert len(times) == 402
    early = [at_s for at_s in times if at_s not in (300, 700)]
    assert max(early) < 600
    assert statistics.mean(early) == pytest.approx(300, abs=40)
    assert jobs(tasks) == found
    assert [job.at_s for job in jobs(tasks, seed=2)] != times


def test_other_ways_to_begin() -> None:
    tasks = [task(0, initial=True), task(0, initial=True), task(700)]
    at_once = jobs(tasks, replay=ReplayRule(initial="at-once"))
    assert [job.at_s for job in at_once] == [0, 0, 700]
    assert [job.at_s for job in jobs(tasks, replay=ReplayRule(initial="leave-out"))] == [700]
    with pytest.raises(InvalidField, match="initial: more than 1 tasks are there when the trace"):
        jobs(tasks, replay=ReplayRule(max_initial=1))


def test_a_trace_of_nothing_but_initial_tasks() -> None:
    found = list(replayed([task(0, initial=True)] * 3, ReplayRule(), random.Random(5)))
    assert [at_s for at_s, _ in found] == sorted(at_s for at_s, _ in found)
    assert len(found) == 3


def test_what_never_ran_draws_from_the_runs_before_it() -> None:
    ran = [task(n, run_s=40 + n % 3) for n in range(60)]
    never = [task(60 + n, 0, Fate.NEVER_RAN) for n in range(50)]
    works = {job.work_cpu_s for job in jobs([*ran, *never])[60:]}
    assert works == {40, 41, 42}
    left = jobs([*ran, *never], runs=RunRule(never_ran="leave-out"))
    assert len(left) == 60


def test_where_few_runs_are_known_a_log_normal_is_drawn() -> None:
    never = [task(n, 0, Fate.NEVER_RAN) for n in range(4000)]
    found = jobs(never, runs=RunRule(median_s=200, sigma=1))
    assert statistics.median(job.work_cpu_s for job in found) == pytest.approx(200, rel=0.1)


def test_an_unfinished_run_counts_as_seen_and_teaches_nothing() -> None:
    unfinished = [task(n, 7, Fate.UNFINISHED) for n in range(50)]
    just_begun = [task(60, 0, Fate.UNFINISHED)]
    found = jobs([*unfinished, *just_begun], runs=RunRule(median_s=1e4, sigma=0))
    assert {job.work_cpu_s for job in found[:50]} == {7}
    assert found[50].work_cpu_s == pytest.approx(1e4)


def test_gangs() -> None:
    tasks = [
        task(1, 10, name="1.0"),
        task(1, 30, name="1.1"),
        task(1, 20, name="1.2"),
        task(1, 20, name="1.3", cpu=0.25),
        task(1, 20, name="2.0", cpu=0.25),
        task(2, 20, name="2.1", cpu=0.25),
    ]
    found = jobs(tasks, gang=2)
    assert [(job.name, job.tasks, job.work_cpu_s) for job in found] == [
        ("1.0", 2, 20),
        ("1.2", 1, 20),
        ("1.3", 1, 40),
        ("2.0", 1, 40),
        ("2.1", 1, 40),
    ]
    alone = jobs(tasks)
    assert sum(job.total_cpu_s for job in found) == sum(job.total_cpu_s for job in alone)
    assert jobs([], gang=2) == []


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (
            lambda: RunRule(never_ran="x"),
            "never_ran: 'x' is no rule; choose one of draw, leave-out",
        ),
        (lambda: RunRule(run_factor=0), "run_factor"),
        (lambda: RunRule(min_s=9, max_s=8), "max_s"),
        (lambda: JobRule(gang=101), "gang: 101 is out of range; write 1 to 100"),
        (lambda: JobRule(cpu_use=0), "cpu_use"),
        (lambda: ReplayRule(end_s=0), "end_s"),
        (lambda: ReplayRule(start_s=-1), "start_s"),
        (lambda: ReplayRule(speed_up=0), "speed_up"),
        (lambda: ReplayRule(initial="x"), "initial: 'x' is no way to begin; choose one of spread"),
    ],
)
def test_rules_out_of_range(make: Any, field: str) -> None:
    with pytest.raises(InvalidField, match=field):
        make()
