"""Requests and jobs of a trace while a simulation runs: when they come, and what they are."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.cluster_traces import (
    read_instance_events,
    read_openb_pods,
    read_task_events,
)
from tango.adapters.trace_files import read_azure_llm
from tango.sim.loads import JobArrival, JobShape, TracedRequest
from tango.sim.scenario_fields import BadRows, rows
from tango.sim.trace_pace import Told
from tango.workload import trace_jobs
from tango.workload.arrival import Arrival
from tango.workload.trace_jobs import JobRule
from tango.workload.trace_requests import RequestRule, of_service, request_arrivals
from tango.workload.trace_scale import NodeScale
from tango.workload.trace_tasks import BORG_2011, BORG_2019, TraceTask, borg_tasks, openb_tasks


class TraceKind(enum.Enum):
    """Whose format a file has. Borg 2011's is its task_events, 2019's its instance_events."""

    AZURE_LLM = "azure-llm"
    BORG_2011 = "borg-2011"
    BORG_2019 = "borg-2019"
    OPENB = "openb"


@dataclass(frozen=True, slots=True)
class TracedUsers:
    """A RequestSource: a trace's arrivals, each at a site.

    weights: of the sites, among which it is drawn; () for one after the other. deadline_s: of each,
    or deadline_cpu_s times its work where that is longer; told with a request only if it is not the
    service's own. told: what people are told of it.
    """

    told: Told
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
    cores that it asks for, at least one. told: what people are told of it."""

    told: Told
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
