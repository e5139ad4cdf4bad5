"""A scenario: all that a simulation is told; frozen, and checked once at the door."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.model.settings import (
    CentralSettings,
    EdgeSettings,
    ServerSettings,
    WorkerSettings,
)
from tango.sim.loads import JobLoad, JobShape, RequestLoad, SimService, TraceLoad
from tango.sim.topology import CENTRAL, Topology
from tango.workload.bounds import require_number, require_whole
from tango.workload.job_patterns import JobPatternSpec
from tango.workload.patterns import MAX_DURATION_S

_NOWHERE = ServerSettings("", "", "")
MAX_COST_S = 60.0
# Nobody asks a simulated central master for jobs that have ended, and each takes some KiB.
KEEP_JOBS = 1_000


class FailureKind(enum.Enum):
    """What breaks.

    NODE: the machine is off: what runs there is gone. WORKER, EDGE, CENTRAL: kill -9 of that
    process; payload and store stay. SITE: the edge and all nodes of a site are off.
    LINK: no message passes between two ends: two sites, a site and "central", or a site and a node.
    """

    NODE = "node"
    WORKER = "worker"
    EDGE = "edge"
    CENTRAL = "central"
    SITE = "site"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class ScheduledFailure:
    """At at_s after the start of the load `name` breaks, and comes back repair_s later.

    name: of a node (NODE, WORKER) or site (EDGE, SITE); "" for CENTRAL. other: the far end (LINK).
    repair_s: None for never.
    """

    at_s: float
    kind: FailureKind
    name: str = ""
    other: str = ""
    repair_s: float | None = None


@dataclass(frozen=True, slots=True)
class FailureRate:
    """Each of `names` (() for all) breaks after Exp(mtbf_s), and is back after Exp(mttr_s).

    Links are those between sites that dial one another; they have no names here.
    """

    kind: FailureKind
    mtbf_s: float
    mttr_s: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policies:
    """Which policies run, and what is switched off.

    traffic, batch: by the name under which they are registered.
    follow_quota: D-VPA: True for all services, False for none, None as each declares.
    reassurance: None as the edge's settings say. forwarding: whether edges dial one another.
    """

    traffic: str = "dss-lc"
    batch: str = "most-free"
    follow_quota: bool | None = None
    reassurance: bool | None = None
    forwarding: bool = True


@dataclass(frozen=True, slots=True)
class SolveCost:
    """Seconds a policy is taken to need: base_s + per_unit_s * demands * offers (gangs, for BE)."""

    base_s: float
    per_unit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What the control plane itself takes, in seconds. None of it is measured at run time.

    edge_request_s, edge_answer_s: of an edge's process for a request that comes in, and for its
    answer; requests wait while it is busy. worker_request_s, worker_answer_s: the same of a worker,
    with the HTTP exchange. They add to latency; the nodes' CPU does not count them.
    store_commit_s: until a write is on disk; writes that come meanwhile go together after it.
    process_start_s: from the command until it runs; health_check_s: a check and its answer.
    redial_s, redial_longest_s: backoff of who dials, jittered. keepalive_s: silence after which a
    stream is given up whose other end is gone without a word.
    calibrated: what edge, worker and solve were measured on, for reports; "" for figures that are
    only plausible. The defaults (docs/simulate.md, Calibration) are of edges with some 50 requests
    a second, each of which wakes the processes up; thousands a second go together and take less.
    """

    edge_request_s: float = 0.00037
    edge_answer_s: float = 0.00037
    worker_request_s: float = 0.00032
    worker_answer_s: float = 0.00032
    traffic_solve: SolveCost = SolveCost(0.00020, 0.000002)
    batch_solve: SolveCost = SolveCost(0.00020, 0.000002)
    store_commit_s: float = 0.005
    process_start_s: float = 0.02
    health_check_s: float = 0.001
    redial_s: float = 0.2
    redial_longest_s: float = 2.0
    keepalive_s: float = 15.0
    calibrated: str = "tango bench calibrate, 2 cores of AMD EPYC, Linux 6.18, 2026-11-30"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. Times of loads and failures count from the start of the load.

    settle_s: before the load, in which daemons start, sites find one another and replicas get
    ready. warmup_s: the first part of the load, whose requests and CPU are not reported.
    edge, worker, central: templates; names, addresses, capacities, peers and policies are filled
    in by the simulator.
    """

    name: str
    topology: Topology
    services: tuple[SimService, ...]
    duration_s: float
    warmup_s: float = 0.0
    settle_s: float = 5.0
    seed: int = 0
    loads: tuple[RequestLoad | TraceLoad, ...] = ()
    jobs: tuple[JobLoad, ...] = ()
    failures: tuple[ScheduledFailure | FailureRate, ...] = ()
    policies: Policies = Policies()
    costs: Costs = Costs()
    edge: EdgeSettings = EdgeSettings(_NOWHERE, "edge")
    worker: WorkerSettings = WorkerSettings(_NOWHERE, "node", "edge")
    central: CentralSettings = CentralSettings(_NOWHERE, keep_jobs=KEEP_JOBS)

    def validate(self) -> None:
        """Raise InvalidField for the first field that is wrong."""
        check_name(self.name, "name")
        require_number("duration_s", self.duration_s, 0, MAX_DURATION_S, above=True)
        require_number("warmup_s", self.warmup_s, 0, self.duration_s)
        require_number("settle_s", self.settle_s, 1, 3600)
        self.topology.validate()
        names = self._validate_services()
        sites = {site.name for site in self.topology.sites}
        for at, load in enumerate(self.loads):
            if isinstance(load, RequestLoad):
                _known(f"loads[{at}].service", (load.service,), names, "service")
                _known(f"loads[{at}].sites", load.sites, sites, "site")
                require_number(f"loads[{at}].deadline_s", load.deadline_s, 0, 3600)
        for at, job in enumerate(self.jobs):
            _validate_job(f"jobs[{at}]", job)
        for at, failure in enumerate(self.failures):
            self._validate_failure(f"failures[{at}]", failure)
        _validate_costs(self.costs)

    def _validate_services(self) -> set[str]:
        sites = {site.name for site in self.topology.sites}
        seen: set[str] = set()
        for at, service in enumerate(self.services):
            place = f"services[{at}]"
            try:
                service.spec.validate()
            except InvalidField as error:
                raise error.at("", place) from None
            if service.spec.name in seen:
                fix = "rename one"
                raise InvalidField(f"{place}.name", f"{service.spec.name!r} is given twice", fix)
            seen.add(service.spec.name)
            _known(f"{place}.sites", service.sites, sites, "site")
            _known(f"{place}.replicas", tuple(dict(service.replicas)), sites, "site")
            require_number(f"{place}.cpu_s", service.cpu_s, 0, 3600, above=True)
            require_number(f"{place}.start_s", service.start_s, 0, 3600)
            require_whole(f"{place}.threads", service.threads, 1, 1024)
        return seen

    def _validate_failure(self, place: str, failure: ScheduledFailure | FailureRate) -> None:
        kind = failure.kind
        sites = {site.name for site in self.topology.sites}
        nodes = {node.name for _, node in self.topology.nodes()}
        known = nodes if kind in (FailureKind.NODE, FailureKind.WORKER) else sites
        what = "node" if known is nodes else "site"
        if isinstance(failure, FailureRate):
            require_number(f"{place}.mtbf_s", failure.mtbf_s, 0, MAX_DURATION_S, above=True)
            require_number(f"{place}.mttr_s", failure.mttr_s, 0, MAX_DURATION_S, above=True)
            if failure.names and kind in (FailureKind.LINK, FailureKind.CENTRAL):
                raise InvalidField(f"{place}.names", f"{kind.value} takes none", "leave it out")
            _known(f"{place}.names", failure.names, known, what)
            return
        require_number(f"{place}.at_s", failure.at_s, 0, MAX_DURATION_S)
        if failure.repair_s is not None:
            require_number(f"{place}.repair_s", failure.repair_s, 0, MAX_DURATION_S)
        if kind is FailureKind.LINK:
            _known(f"{place}.name", (failure.name,), sites, "site")
            _known(f"{place}.other", (failure.other,), sites | nodes | {CENTRAL}, "site or node")
        elif kind is not FailureKind.CENTRAL:
            _known(f"{place}.name", (failure.name,), known, what)


def _validate_job(place: str, job: JobLoad) -> None:
    if isinstance(job.source, JobPatternSpec) != (job.shape is not None):
        fix = "give one with a pattern, and none with a trace"
        raise InvalidField(f"{place}.shape", "does not go with the source", fix)
    if job.shape is not None:
        validate_shape(job.shape, f"{place}.shape")


def validate_shape(shape: JobShape, place: str = "shape") -> None:
    """Raise InvalidField for the first field of a job that is out of range."""
    check_name(shape.name, f"{place}.name")
    require_number(f"{place}.work_cpu_s", shape.work_cpu_s, 0, MAX_DURATION_S, above=True)
    require_number(f"{place}.used_share", shape.used_share, 0, 100)
    require_number(f"{place}.threads", shape.threads, 0, 1024, above=True)
    require_whole(f"{place}.tasks", shape.tasks, 1, 100)
    require_whole(f"{place}.cpu_millis", shape.cpu_millis, 1, 1_000_000)
    require_whole(f"{place}.memory_bytes", shape.memory_bytes, 2**20, 2**50)
    require_whole(f"{place}.priority", shape.priority, -1000, 1000)
    require_whole(f"{place}.retries", shape.retries, 0, 1000)


def _validate_costs(costs: Costs) -> None:
    for name in (
        "edge_request_s", "edge_answer_s", "worker_request_s", "worker_answer_s", "store_commit_s",
        "process_start_s", "health_check_s", "redial_s", "redial_longest_s", "keepalive_s",
    ):  # fmt: skip
        require_number(f"costs.{name}", getattr(costs, name), 0, MAX_COST_S)
    for name in ("traffic_solve", "batch_solve"):
        cost: SolveCost = getattr(costs, name)
        require_number(f"costs.{name}.base_s", cost.base_s, 0, MAX_COST_S)
        require_number(f"costs.{name}.per_unit_s", cost.per_unit_s, 0, MAX_COST_S)


def _known(place: str, names: tuple[str, ...], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            shown = ", ".join(sorted(known)[:8]) or "none"
            raise InvalidField(place, f"no {what} is named {name!r}", f"use one of: {shown}")
