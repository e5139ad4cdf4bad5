"""Traces of a scenario file: requests and jobs that come when, and are what, a file says."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tango.adapters.cluster_traces import (
    read_machine_events,
)
from tango.adapters.documents import Section
from tango.sim.scenario_fields import Reading, data_path, placed, rows
from tango.sim.scenario_topology import Places
from tango.sim.trace_pace import (
    MeanOver,
    Told,
    asked_words,
    live_factor,
    load_factor,
    mean_over,
    rate_factor,
)
from tango.sim.trace_sources import (
    AzureArrivals,
    ClusterArrivals,
    ClusterTasks,
    TracedJobs,
    TraceKind,
)
from tango.workload import trace_jobs
from tango.workload.arrival import Arrival
from tango.workload.trace_jobs import JobRule, RunRule
from tango.workload.trace_replay import ReplayRule
from tango.workload.trace_requests import RequestRule
from tango.workload.trace_scale import (
    BORG_2011_SCALE,
    BORG_2019_SCALE,
    OPENB_SCALE,
    NodeScale,
)

_RUNS = RunRule()
_REPLAY = ReplayRule()
_REQUESTS = RequestRule()
_JOBS = JobRule()


_SCALES = {
    TraceKind.BORG_2011: BORG_2011_SCALE,
    TraceKind.BORG_2019: BORG_2019_SCALE,
    TraceKind.OPENB: OPENB_SCALE,
}


def request_arrivals_of(
    section: Section, places: Places, reading: Reading, rate: float | None, over: MeanOver
) -> Callable[[random.Random], Iterator[Arrival]]:
    """The arrivals of a [[loads]] with a trace. rate: wanted in the mean, which takes a first pass
    of what it is the mean over.

    Raises InvalidField with field, file and line; RowError for a broken row of the trace.
    """
    kind = section.choice("trace", TraceKind)
    path = data_path(section, "file", reading.base)
    speed_up = section.number("speed_up", 1.0, low=1e-6, high=1e6)
    if rate is not None and "speed_up" in section:
        raise section.error("speed_up", "stands beside a rate", "leave one of them out")
    if rate is None:
        speed_up *= reading.load
    rng = random.Random(reading.seed)
    if kind is TraceKind.AZURE_LLM:
        azure = AzureArrivals(path, speed_up, reading.bad)
        if rate is None:
            return azure
        times = _times(azure(rng))
        factor = rate_factor(section, times, rate, over, reading.duration_s)
        return replace(azure, speed_up=factor)
    with placed(section):
        rule = RequestRule(
            section.string("requests", _REQUESTS.requests),
            section.string("work", _REQUESTS.work),
            section.number("reference", _REQUESTS.reference),
            section.number("min_work", _REQUESTS.min_work),
            section.number("max_work", _REQUESTS.max_work),
            section.number("per_core", _REQUESTS.per_core_s),
            _replay(section, speed_up),
            _runs(section),
        )
    tasks = _tasks(section, kind, path, reading)
    found = ClusterArrivals(tasks, _scale(section, kind, places), rule)
    if rate is None:
        return found
    live = rule.requests == "live"
    factor_of = live_factor if live else rate_factor
    factor = factor_of(section, _times(found(rng)), rate, over, reading.duration_s)
    with placed(section, speed_up="rate", per_core_s="rate"):
        if live:
            return replace(found, rule=replace(rule, per_core_s=rule.per_core_s * factor))
        replay = replace(rule.replay, speed_up=rule.replay.speed_up * factor)
        return replace(found, rule=replace(rule, replay=replay))


def _times(arrivals: Iterator[Arrival]) -> Iterator[float]:
    return (arrival.at_s for arrival in arrivals)


def told_of(section: Section, who: str, reading: Reading, asked: str) -> Told:
    """What people are told of the trace of a table. who: a service, or jobs."""
    kind, path = section.choice("trace", TraceKind), data_path(section, "file", reading.base)
    return Told(section.field("file"), f"{who} from {path.name} ({kind.value})", asked)


def job_source(section: Section, name: str, places: Places, reading: Reading) -> TracedJobs:
    """The jobs of a [[jobs]] with a trace; cpu_load: as a share of all nodes' CPU, by a first pass.

    Raises InvalidField with field, file and line; RowError for a broken row of the trace.
    """
    kind = section.choice("trace", TraceKind)
    if kind is TraceKind.AZURE_LLM:
        raise section.error("trace", "has no jobs", "use a cluster's trace")
    path = data_path(section, "file", reading.base)
    tasks = _tasks(section, kind, path, reading)
    scale = _scale(section, kind, places)
    speed_up = section.number("speed_up", 1.0, low=1e-6, high=1e6)
    if "cpu_load" in section and "speed_up" in section:
        raise section.error("speed_up", "stands beside 'cpu_load'", "leave one of them out")
    if "cpu_load" not in section:
        speed_up *= reading.load
    over = mean_over(section)
    with placed(section):
        rule = JobRule(
            _replay(section, speed_up),
            _runs(section),
            section.number("cpu_use", _JOBS.cpu_use),
            section.integer("gang", _JOBS.gang),
        )
    found = TracedJobs(
        told_of(section, name, reading, ""),
        name,
        tasks,
        scale,
        rule,
        section.number("threads", 0.0, low=0, high=1024),
        section.number("used_share", 1.0, low=0, high=100),
        section.integer("retries", 0, low=0, high=1000),
    )
    if "cpu_load" not in section:
        return found
    wanted = section.number("cpu_load", low=0.0001, high=100) * reading.load
    jobs = trace_jobs.job_arrivals(tasks(), scale, rule, random.Random(reading.seed))
    work = ((job.at_s, job.total_cpu_s) for job in jobs)
    factor = load_factor(section, work, wanted, places.cpu_millis, over, reading.duration_s)
    with placed(section, speed_up="cpu_load"):
        paced = replace(rule, replay=replace(rule.replay, speed_up=factor))
    asked = asked_words(section, over, f"{100 * wanted:.3g} % of all CPU")
    return replace(found, rule=paced, told=told_of(section, name, reading, asked))


def _tasks(section: Section, kind: TraceKind, path: Path, reading: Reading) -> ClusterTasks:
    machines = None
    if "machines" in section:
        if kind is not TraceKind.BORG_2011:
            raise section.error("machines", "goes with borg-2011 only", "leave it out")
        skip = reading.bad.skip
        listed = read_machine_events(
            data_path(section, "machines", reading.base), skip_bad_rows=skip
        )
        machines = frozenset(event.machine for event in rows(listed, reading.bad))
    parts = section.integer("parts", 1, low=1, high=1000)
    part = section.integer("part", 1, low=1, high=parts)
    return ClusterTasks(kind, path, reading.bad, machines, part - 1, parts)


def _replay(section: Section, speed_up: float) -> ReplayRule:
    return ReplayRule(
        section.number("start_s", _REPLAY.start_s),
        section.number("end_s") if "end_s" in section else math.inf,
        speed_up,
        section.string("initial", _REPLAY.initial),
        section.number("initial_s", _REPLAY.initial_s),
    )


def _runs(section: Section) -> RunRule:
    return RunRule(
        section.string("never_ran", _RUNS.never_ran),
        section.number("run_factor", _RUNS.run_factor),
        section.number("run_median_s", _RUNS.median_s),
        section.number("run_sigma", _RUNS.sigma),
        section.number("run_min_s", _RUNS.min_s),
        section.number("run_max_s", _RUNS.max_s),
    )


def _scale(section: Section, kind: TraceKind, places: Places) -> NodeScale:
    """The trace's ordinary machine becomes the largest node that there is."""
    nodes = [node for _, node in places.topology.nodes()]
    largest = max(nodes, key=lambda node: (node.cpu_millis, node.memory_bytes))
    plain = _SCALES[kind]
    cpu_millis = section.cpu("node_cpu", largest.cpu_millis)
    memory_bytes = section.memory("node_memory", largest.memory_bytes)
    with placed(section, cpu_millis="node_cpu", memory_bytes="node_memory"):
        return NodeScale(
            plain.machine_cpu,
            plain.machine_memory,
            cpu_millis,
            memory_bytes,
            min(plain.min_cpu_millis, cpu_millis),
            min(plain.min_memory_bytes, memory_bytes),
            plain.unknown,
        )
