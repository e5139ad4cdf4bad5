"""What holds for every trace: broken bytes, lives of tasks, loads, places."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.cluster_traces import (
    read_collection_events,
    read_instance_events,
    read_job_events,
    read_machine_events,
    read_openb_nodes,
    read_openb_pods,
    read_sites,
    read_task_events,
    read_task_usage,
    read_users,
)
from tango.model.errors import InvalidField
from tango.workload.cluster_events import MICROS, Step, TaskEvent
from tango.workload.eua import Place
from tango.workload.geography import distance_km, site_shares
from tango.workload.trace_jobs import JobRule, job_arrivals
from tango.workload.trace_replay import ReplayRule
from tango.workload.trace_requests import RequestRule, request_arrivals
from tango.workload.trace_rows import RowError
from tango.workload.trace_scale import BORG_2011_SCALE, offered_load
from tango.workload.trace_tasks import BorgRule, Fate, TraceTask, borg_tasks

# A reader, the header of its files, and one good row.
FORMATS: list[tuple[Callable[..., Iterator[Any]], str, str]] = [
    (read_machine_events, "", "0,{n},0,plat=,0.5,0.5"),
    (read_task_events, "", "5,,7,{n},,0,u=,2,1,0.01,0.01,0,0"),
    (read_job_events, "", "5,,{n},0,u=,2,n=,l="),
    (read_task_usage, "", "600,900,7,{n},41,0.5,0.25,0,0,0,0,0,0,0,0,2,0,0,1,0"),
    (
        read_instance_events,
        (
            "time,type,collection_id,scheduling_class,priority,instance_index,"
            "resource_request.cpus,resource_request.memory\n"
        ),
        "5,0,7,2,103,{n},0.1,0.1",
    ),
    (
        read_collection_events,
        "",
        '{{"time":5,"type":0,"collection_id":{n},"scheduling_class":1,"priority":9}}',
    ),
    (read_openb_nodes, "sn,cpu_milli,memory_mib\n", "n{n},1000,1024"),
    (
        read_openb_pods,
        "name,cpu_milli,memory_mib,qos,pod_phase,creation_time,deletion_time,scheduled_time\n",
        "p{n},1000,1024,BE,Running,5,9,6",
    ),
    (read_sites, "SITE_ID,LATITUDE,LONGITUDE\n", "{n},-37.8,144.9"),
    (read_users, "Latitude,Longitude\n", "-37.8,144.{n}"),
]
formats = st.sampled_from(FORMATS)
# Lines near enough to rows to get past the first check.
cells = st.sampled_from(["", "0", "-1", "7", "1e400", "nan", "x", '"', "{}", "0.5", "99", "\x00"])
near_lines = st.one_of(
    st.binary(max_size=40),
    st.lists(cells, min_size=1, max_size=21).map(lambda row: ",".join(row).encode()),
    st.sampled_from([b"{", b"[]", b'{"time":1}', b'{"time":{},"type":[]}', b"null", b"{}{}"]),
)


@given(formats, st.lists(near_lines, max_size=6), st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_a_file_holds_the_error_names_its_line(
    form: tuple[Callable[..., Iterator[Any]], str, str], lines: list[bytes], skip: bool
) -> None:
    read, header, _ = form
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        path.write_bytes(header.encode() + b"\n".join(lines))
        error: RowError | None = None
        try:
            list(read(path, skip_bad_rows=skip))
        except RowError as caught:
            error = caught
    if error is not None:
        assert str(error).startswith(f"{path}:{error.line}: {error.column or 'row'}: ")
        assert 1 <= error.line <= 2 + sum(line.count(b"\n") + 1 for line in lines)


@given(formats, st.lists(st.booleans(), min_size=1, max_size=20).filter(any))
@settings(max_examples=200, deadline=None)
def test_skipping_leaves_every_good_row(
    form: tuple[Callable[..., Iterator[Any]], str, str], good: list[bool]
) -> None:
    read, header, row = form
    rows = [row.format(n=n) if fine else "x,y" for n, fine in enumerate(good)]
    if read is read_collection_events and not good[0]:
        rows[0] = "{"  # its first line says whether it is JSON
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        path.write_text(header + "\n".join(rows))
        with read(path, skip_bad_rows=True) as trace:  # type: ignore[attr-defined]
            found = list(trace)
    before = header.count("\n") + 1
    lines = [number for number, fine in enumerate(good, before) if fine]
    assert len(found) == len(lines)
    assert trace.skipped == good.count(False)
    assert [getattr(each, "line", line) for each, line in zip(found, lines, strict=True)] == lines


@st.composite
def event_streams(draw: st.DrawFn) -> list[TaskEvent]:
    times = sorted(draw(st.lists(st.integers(0, 1000), max_size=60)))
    steps = st.sampled_from([*Step, Step.SUBMIT, Step.SUBMIT, Step.SCHEDULE, Step.FINISH])
    return [
        TaskEvent(
            line,
            at_s * MICROS,
            draw(steps),
            draw(st.integers(1, 4)),
            0,
            None,
            draw(st.integers(0, 3)),
            draw(st.integers(0, 11)),
            draw(st.one_of(st.none(), st.floats(0, 1))),
            0.1,
        )
        for line, at_s in enumerate(times, 1)
    ]


@given(event_streams(), st.integers(1, 2000), st.integers(1, 10))
@settings(max_examples=300, deadline=None)
def test_lives_are_told_in_order_and_once(
    events: list[TaskEvent], horizon_s: int, max_held: int
) -> None:
    rule = BorgRule(horizon_s=horizon_s, max_held=max_held)
    tasks = list(borg_tasks(events, rule))
    assert tasks == list(borg_tasks(events, rule))
    submits = [(event.at_us / MICROS, event.job) for event in events if event.step is Step.SUBMIT]
    told = [(task.submitted_s, int(task.job)) for task in tasks]
    assert [at_s for at_s, _ in told] == sorted(at_s for at_s, _ in told)
    # Each is a submission, in the trace's order; not each is a task: a task may be submitted again.
    remaining = iter(submits)
    assert all(each in remaining for each in told)
    assert {job for _, job in told} == {job for _, job in submits}
    for task in tasks:
        assert 0 <= task.run_s <= 1000
        assert (task.run_s == 0) or task.fate is not Fate.NEVER_RAN


tasks_of_all_kinds = st.lists(
    st.builds(
        TraceTask,
        name=st.just("1.0"),
        job=st.sampled_from(["1", "2"]),
        submitted_s=st.floats(0, 5000),
        run_s=st.floats(0, 1e5),
        fate=st.sampled_from(Fate),
        latency_critical=st.booleans(),
        cpu=st.one_of(st.none(), st.floats(0, 2)),
        memory=st.one_of(st.none(), st.floats(0, 2)),
        priority=st.integers(0, 11),
    ),
    max_size=40,
).map(lambda tasks: sorted(tasks, key=lambda task: task.submitted_s))


@given(tasks_of_all_kinds, st.integers(0, 8), st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_jobs_are_in_order_fit_a_node_and_repeat_with_the_seed(
    tasks: list[TraceTask], initial: int, gang: int, seed: int
) -> None:
    there = [TraceTask("0.0", "0", 0, 9, Fate.FINISHED, False, 0.1, 0.1, 1, True)] * initial
    rule = JobRule(gang=gang)
    found = list(job_arrivals(there + tasks, BORG_2011_SCALE, rule, random.Random(seed)))
    again = list(job_arrivals(there + tasks, BORG_2011_SCALE, rule, random.Random(seed)))
    assert found == again
    assert [job.at_s for job in found] == sorted(job.at_s for job in found)
    wanted = initial + sum(not task.latency_critical for task in tasks)
    assert sum(job.tasks for job in found) == wanted
    for job in found:
        assert 1 <= job.cpu_millis <= BORG_2011_SCALE.cpu_millis
        assert 2**20 <= job.memory_bytes <= BORG_2011_SCALE.memory_bytes
        assert job.work_cpu_s > 0
        assert 1 <= job.tasks <= gang


@given(tasks_of_all_kinds, st.integers(0, 2**32), st.floats(0.05, 3))
@settings(max_examples=150, deadline=None)
def test_the_speed_up_gives_the_wanted_load(
    tasks: list[TraceTask], seed: int, wanted: float
) -> None:
    def load(speed_up: float) -> Any:
        rule = JobRule(replay=ReplayRule(speed_up=speed_up))
        jobs = job_arrivals(tasks, BORG_2011_SCALE, rule, random.Random(seed))
        return offered_load((job.at_s, job.total_cpu_s) for job in jobs)

    try:
        speed_up = load(1).speed_up_to(wanted, 32_000)
    except InvalidField:
        return  # no span, or no work
    assert load(speed_up).load(32_000) == pytest.approx(wanted, rel=1e-9)


@given(tasks_of_all_kinds, st.sampled_from(["task", "live"]), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_requests_are_in_order_bounded_and_repeat_with_the_seed(
    tasks: list[TraceTask], way: str, seed: int
) -> None:
    rule = RequestRule(requests=way, per_core_s=0.01)
    found = list(request_arrivals(tasks, BORG_2011_SCALE, rule, random.Random(seed)))
    assert found == list(request_arrivals(tasks, BORG_2011_SCALE, rule, random.Random(seed)))
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)
    assert all(rule.min_work <= each.work <= rule.max_work for each in found)
    if way == "task":
        assert len(found) == sum(task.latency_critical for task in tasks)


places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


@given(places, places, places)
def test_distances_are_a_metric(one: Place, other: Place, third: Place) -> None:
    direct = distance_km(one, third)
    assert 0 <= direct <= 20_016
    assert direct == pytest.approx(distance_km(third, one), abs=1e-6)
    # 1 m: near the antipode, and for points close by, rounding shows.
    assert direct <= distance_km(one, other) + distance_km(other, third) + 1e-3


@given(st.lists(places, min_size=1, max_size=8), st.lists(places, min_size=1, max_size=30))
def test_every_user_is_shared_out_once(sites: list[Place], users: list[Place]) -> None:
    shares = site_shares(sites, users)
    assert sum(share.users for share in shares) == len(users)
    assert sum(share.share for share in shares) == pytest.approx(1)
