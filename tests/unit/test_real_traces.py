"""The published files, from reading to arrivals; skipped where they are absent."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from shared_data import BORG, EUA_SITES, EUA_USERS, OPENB_NODES, OPENB_PODS, needs

from tango.adapters.cluster_traces import (
    read_job_events,
    read_machine_events,
    read_openb_nodes,
    read_openb_pods,
    read_sites,
    read_task_events,
    read_task_usage,
    read_users,
)
from tango.workload.geography import DelayModel, delays_ms, distances_km, neighbours, site_shares
from tango.workload.trace_jobs import JobArrival, JobRule, job_arrivals
from tango.workload.trace_nodes import UsageShare, borg_nodes, openb_nodes
from tango.workload.trace_replay import ReplayRule
from tango.workload.trace_requests import RequestRule, mean_demand, request_arrivals
from tango.workload.trace_scale import BORG_2011_SCALE, OPENB_SCALE, offered_load
from tango.workload.trace_tasks import borg_tasks, openb_tasks

MACHINES, TASKS = BORG / "machine_events.csv", BORG / "task_events.csv"
JOBS, USAGE = BORG / "job_events.csv", BORG / "task_usage.csv"
LAST_DAYS = ReplayRule(start_s=134 * 86_400)


@needs(MACHINES)
def test_borg_machines() -> None:
    with read_machine_events(MACHINES) as rows:
        nodes = list(borg_nodes(rows, BORG_2011_SCALE))
    assert len({node.name for node in nodes}) == len(nodes) == 1523
    sizes = Counter((node.cpu_millis, round(node.memory_bytes / 2**30)) for node in nodes)
    assert sizes == {(4000, 8): 1291, (4000, 4): 215, (4000, 2): 17}


@needs(TASKS, JOBS)
def test_borg_tasks_belong_to_its_jobs() -> None:
    jobs = {event.job for event in read_job_events(JOBS)}
    tasks = list(borg_tasks(read_task_events(TASKS)))
    assert (len(jobs), len(tasks)) == (670, 1015)
    assert len({task.job for task in tasks} & {str(job) for job in jobs}) > 0
    # Class 2 or 3 and priority 9 or more: counted with awk.
    assert sum(task.latency_critical for task in tasks) == 911
    assert all(task.initial for task in tasks)


@needs(TASKS)
def test_borg_sample_to_jobs_and_requests() -> None:
    tasks = list(borg_tasks(read_task_events(TASKS)))
    jobs = list(job_arrivals(tasks, BORG_2011_SCALE, JobRule(), random.Random(1)))
    assert len(jobs) == 104
    assert all(0 <= job.at_s < 600 for job in jobs)
    rng = random.Random(1)
    rule = RequestRule(
        reference=mean_demand(tasks, BORG_2011_SCALE, RequestRule(), rng), max_work=100, min_work=0
    )
    requests = list(request_arrivals(tasks, BORG_2011_SCALE, rule, rng))
    assert len(requests) == 911
    assert sum(each.work for each in requests) / 911 == pytest.approx(1)


@needs(TASKS, USAGE)
def test_borg_tasks_use_a_third_of_what_they_ask_for() -> None:
    share = UsageShare()
    for event in read_task_events(TASKS):
        share.request(event)
    for usage in read_task_usage(USAGE):
        share.usage(usage)
    assert (share.windows, share.unknown) == (599, 78)
    assert share.share == pytest.approx(0.301, abs=0.001)


@needs(OPENB_NODES)
def test_openb_nodes() -> None:
    nodes = list(openb_nodes(read_openb_nodes(OPENB_NODES), OPENB_SCALE))
    assert len(nodes) == 1523
    ordinary = (OPENB_SCALE.cpu_millis, OPENB_SCALE.memory_bytes)
    assert Counter((n.cpu_millis, n.memory_bytes) for n in nodes).most_common(1) == [
        (ordinary, 596)
    ]


@needs(OPENB_PODS)
def test_openb_pods() -> None:
    tasks = list(openb_tasks(read_openb_pods(OPENB_PODS)))
    fates = Counter((task.latency_critical, task.fate.value) for task in tasks)
    assert fates[True, "never_ran"] + fates[False, "never_ran"] == 897
    assert sum(count for (critical, _), count in fates.items() if critical) == 4647 + 100 + 7
    assert len(tasks) == 8152


@needs(OPENB_PODS)
def test_openb_at_a_wanted_load() -> None:
    tasks = list(openb_tasks(read_openb_pods(OPENB_PODS)))

    def jobs(speed_up: float) -> list[JobArrival]:
        rule = JobRule(replay=ReplayRule(start_s=LAST_DAYS.start_s, speed_up=speed_up))
        return list(job_arrivals(tasks, OPENB_SCALE, rule, random.Random(3)))

    capacity = 8 * 4000
    offered = offered_load((job.at_s, job.total_cpu_s) for job in jobs(1))
    faster = jobs(offered.speed_up_to(0.9, capacity))
    assert len(faster) == offered.count > 1000
    load = offered_load((job.at_s, job.total_cpu_s) for job in faster).load(capacity)
    assert load == pytest.approx(0.9)


@needs(EUA_SITES, EUA_USERS)
def test_eua_places() -> None:
    sites = list(read_sites(EUA_SITES))
    assert len(sites) == 125
    table = distances_km(sites)
    assert 1 < max(map(max, table)) < 5  # central Melbourne
    delays = delays_ms(table, DelayModel())
    assert 0.5 < delays[0][1] < 0.6
    assert all(len(set(near)) == 5 for near in neighbours(table, 5))
    with read_users(EUA_USERS) as users:
        shares = site_shares(sites, users)
    assert sum(share.users for share in shares) == 816
    assert sum(share.share for share in shares) == pytest.approx(1)
    assert max(share.access_km for share in shares) < 0.5


PROGRAM = """
import random, sys
from pathlib import Path
from tango.adapters.cluster_traces import read_openb_pods
from tango.workload.trace_jobs import JobRule, job_arrivals
from tango.workload.trace_requests import RequestRule, of_service, request_arrivals
from tango.workload.trace_scale import OPENB_SCALE
from tango.workload.trace_tasks import openb_tasks
tasks = list(openb_tasks(read_openb_pods(Path(sys.argv[1]))))
print(list(job_arrivals(tasks, OPENB_SCALE, JobRule(gang=3), random.Random(7))))
rule = RequestRule(requests="live", per_core_s=0.0001)
print(list(request_arrivals(of_service(tasks, 1, 3), OPENB_SCALE, rule, random.Random(7))))
"""


@needs(OPENB_PODS)
def test_processes_and_hash_seeds_make_no_difference() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(OPENB_PODS)],
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.count(b"Arrival(") > 3400
        digests.add(hashlib.sha256(run.stdout).hexdigest())
    assert len(digests) == 1
