"""Traces of a scenario file: requests and jobs that come when, and are what, a file says."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tango.adapters.cluster_traces import (
    read_instance_events,
    read_machine_events,
    read_openb_pods,
    read_task_events,
)
from tango.adapters.documents import Section
from tango.adapters.trace_files import read_azure_llm
from tango.sim.loads import JobArrival, JobShape, TracedRequest
from tango.sim.scenario_fields import BadRows, Reading, data_path, placed, rows
from tango.sim.scenario_topology import Places
from tango.workload import trace_jobs
from tango.workload.arrival import Arrival
from tango.workload.trace_jobs import JobRule, RunRule
from tango.workload.trace_replay import ReplayRule
from tango.workload.trace_requests import RequestRule, of_service, request_arrivals
from tango.workload.trace_scale import (
    BORG_2011_SCALE,
    BORG_2019_SCALE,
    OPENB_SCALE,
    NodeScale,
    offered_load,
)
from tango.workload.trace_tasks import BORG_2011, BORG_2019, TraceTask, borg_tasks, openb_tasks

_RUNS = RunRule()
_REPLAY = ReplayRule()
_REQUESTS = RequestRule()
_JOBS = JobRule()


class TraceKind(enum.Enum):
    """Whose format a file has. Borg 2011's is its task_events, 2019's its instance_events."""

    AZURE_LLM = "azure-llm"
    BORG_2011 = "borg-2011"
    BORG_2019 = "borg-2019"
    OPENB = "openb"


_SCALES = {
    TraceKind.BORG_2011: BORG_2011_SCALE,
    TraceKind.BORG_2019: BORG_2019_SCALE,
    TraceKind.OPENB: OPENB_SCALE,
}


@dataclass(frozen=True, slots=True)
class TracedUsers:
    """A RequestSource: a trace's arrivals, each at a site.

    weights: of the sites, among which it is drawn; () for one after the other. deadline_s: of each,
    or deadline_cpu_s times its work where that is longer; told with a request only if it is not the
    service's own.
    """

    service: str
    sites: tuple[str, ...]
    weights: tuple[float, ...]
    arrivals: Callable[[random.Random], Iterator[Arrival]]
    deadline_cpu_s: float
    deadline_s: float
    sends_deadline: bool

    def __call__(self, rng: random.Random) -> Iterator[TracedRequest]:
        """All requests, in order of time."""
        where = random.Random(rng.random())
        for number, arrival in enumerate(self.arrivals(rng)):
            if self.weights:
                site = where.choices(self.sites, self.weights)[0]
            else:
                site = self.sites[number % len(self.sites)]
            deadline_s = 0.0
            if self.sends_deadline:
                deadline_s = max(self.deadline_s, self.deadline_cpu_s * arrival.work)
            yield TracedRequest(arrival.at_s, self.service, site, arrival.work, deadline_s)


@dataclass(frozen=True, slots=True)
class AzureArrivals:
    """Requests of an Azure LLM trace; work from their token counts."""

    path: Path
    speed_up: float
    bad: BadRows

    def __call__(self, rng: random.Random) -> Iterator[Arrival]:
        """All of them, in order of time."""
        del rng
        skip = self.bad.skip
        return rows(read_azure_llm(self.path, speed_up=self.speed_up, skip_bad_rows=skip), self.bad)


@dataclass(frozen=True, slots=True)
class ClusterTasks:
    """The tasks of a cluster's trace, LC and BE. machines: that there are, None for any."""

    kind: TraceKind
    path: Path
    bad: BadRows
    machines: frozenset[int] | None = None
    part: int = 0
    parts: int = 1

    def __call__(self) -> Iterator[TraceTask]:
        """All of them, in order of submission; of several parts one."""
        tasks = self._all()
        return tasks if self.parts == 1 else of_service(tasks, self.part, self.parts)

    def _all(self) -> Iterator[TraceTask]:
        skip, bad, path = self.bad.skip, self.bad, self.path
        match self.kind:
            case TraceKind.BORG_2011:
                events = read_task_events(path, machines=self.machines, skip_bad_rows=skip)
                return borg_tasks(rows(events, bad), BORG_2011)
            case TraceKind.BORG_2019:
                events = read_instance_events(path, skip_bad_rows=skip)
                return borg_tasks(rows(events, bad), BORG_2019)
            case _:
                return openb_tasks(rows(read_openb_pods(path, skip_bad_rows=skip), bad))


@dataclass(frozen=True, slots=True)
class ClusterArrivals:
    """Requests of a cluster trace's LC tasks."""

    tasks: ClusterTasks
    scale: NodeScale
    rule: RequestRule

    def __call__(self, rng: random.Random) -> Iterator[Arrival]:
        """All of them, in order of time."""
        return request_arrivals(self.tasks(), self.scale, self.rule, rng)


@dataclass(frozen=True, slots=True)
class TracedJobs:
    """A JobSource: the BE tasks of a cluster's trace. threads: of each task, 0 for as many as the
    cores that it asks for, at least one."""

    name: str
    tasks: ClusterTasks
    scale: NodeScale
    rule: JobRule
    threads: float
    used_share: float
    retries: int

    def __call__(self, rng: random.Random) -> Iterator[JobArrival]:
        """All jobs, in order of time."""
        for job in trace_jobs.job_arrivals(self.tasks(), self.scale, self.rule, rng):
            shape = JobShape(
                job.work_cpu_s,
                job.tasks,
                job.cpu_millis,
                job.memory_bytes,
                self.used_share,
                max(-1000, min(1000, job.priority)),
                self.retries,
                self.threads or max(1.0, job.cpu_millis / 1000),
                name=self.name,
            )
            yield JobArrival(job.at_s, shape)


def request_arrivals_of(
    section: Section, places: Places, reading: Reading, rate: float | None
) -> Callable[[random.Random], Iterator[Arrival]]:
    """The arrivals of a [[loads]] with a trace. rate: wanted in the mean, which takes a first pass.

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
        return replace(azure, speed_up=_factor(section, azure(rng), rate))
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
    factor = _factor(section, found(rng), rate)
    with placed(section, speed_up="rate", per_core_s="rate"):
        if rule.requests == "live":
            return replace(found, rule=replace(rule, per_core_s=rule.per_core_s * factor))
        replay = replace(rule.replay, speed_up=rule.replay.speed_up * factor)
        return replace(found, rule=replace(rule, replay=replay))


def _factor(section: Section, arrivals: Iterator[Arrival], rate: float) -> float:
    """How many times as fast they must come for a mean rate."""
    count, last_s = 0, 0.0
    for arrival in arrivals:
        count, last_s = count + 1, arrival.at_s
    if not count or last_s <= 0:
        fix = "choose another part of it"
        raise section.error("file", f"has {count} requests over {last_s:g} s: no rate", fix)
    return rate * last_s / count


def job_source(section: Section, name: str, places: Places, reading: Reading) -> TracedJobs:
    """The jobs of a [[jobs]] with a trace; cpu_load: as a share of all nodes' CPU, by a first pass.

    Raises InvalidField with field, file and line; RowError for a broken row of the trace.
    """
    kind = section.choice("trace", TraceKind)
    if kind is TraceKind.AZURE_LLM:
        raise section.error("trace", "has no jobs", "use a cluster's trace")
    tasks = _tasks(section, kind, data_path(section, "file", reading.base), reading)
    scale = _scale(section, kind, places)
    speed_up = section.number("speed_up", 1.0, low=1e-6, high=1e6)
    if "cpu_load" in section and "speed_up" in section:
        raise section.error("speed_up", "stands beside 'cpu_load'", "leave one of them out")
    if "cpu_load" not in section:
        speed_up *= reading.load
    with placed(section):
        rule = JobRule(
            _replay(section, speed_up),
            _runs(section),
            section.number("cpu_use", _JOBS.cpu_use),
            section.integer("gang", _JOBS.gang),
        )
    found = TracedJobs(
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
    with placed(section, trace="file", load="cpu_load"):
        offered = offered_load((job.at_s, job.total_cpu_s) for job in jobs)
        factor = offered.speed_up_to(wanted, places.cpu_millis)
    return replace(found, rule=replace(rule, replay=replace(rule.replay, speed_up=factor)))


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
