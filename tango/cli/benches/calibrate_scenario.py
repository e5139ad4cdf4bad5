"""The simulator's side of `tango bench calibrate`: the same nodes, service, work and arrivals."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tango.cli.benches.calibrate_rules import Measured, RunFigures, costs_of, delays_of
from tango.cli.benches.figures import BenchFailed
from tango.model.job import JobSpec
from tango.model.service import ServiceSpec
from tango.model.settings import EdgeSettings, ServerSettings
from tango.sdk.embedded_plan import EmbeddedPlan
from tango.sim.loads import JobArrival, JobLoad, JobShape, RequestLoad, SimService
from tango.sim.run import simulate
from tango.sim.scenario import Policies, Scenario
from tango.sim.topology import NodeShape, Site, Topology
from tango.workload.arrival import Arrival
from tango.workload.patterns import MAX_DURATION_S

# Between the last arrival of the warm-up and the first that counts.
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs have in common. be: the job beside the service, whose tasks never end."""

    plan: EmbeddedPlan
    cap_period_us: int
    spec: ServiceSpec
    be: JobSpec
    measured: Measured
    where: str


@dataclass(frozen=True, slots=True)
class Load:
    """Arrivals of one run; those that warm up first are not counted. with_be: beside BE work."""

    warm_up: Sequence[Arrival]
    warm_up_s: float
    arrivals: Sequence[Arrival]
    seconds: float
    with_be: bool


def scenario_of(setting: Setting, load: Load, name: str) -> Scenario:
    """The whole run, warm-up first."""
    counts_from = load.warm_up_s + PAUSE_S if load.warm_up else 0.0
    times = [arrival.at_s for arrival in load.warm_up]
    times += [counts_from + arrival.at_s for arrival in load.arrivals]

    def source(_: random.Random) -> Iterator[Arrival]:
        return map(Arrival, times)

    nodes = tuple(
        NodeShape(
            node.name, node.cpu_millis, node.memory_bytes, cap_period_us=setting.cap_period_us
        )
        for node in setting.plan.nodes
    )
    # The embedded edge's own; what a scenario takes by default is another.
    policy = EdgeSettings(ServerSettings("", "", ""), "").traffic_policy
    return Scenario(
        name,
        Topology((Site("here", nodes),), delays=delays_of(setting.measured)),
        (SimService(setting.spec, setting.measured.request_cpu / 1000),),
        duration_s=counts_from + load.seconds,
        warmup_s=counts_from,
        loads=(RequestLoad(setting.spec.name, source),),
        jobs=(_jobs(setting.be),) if load.with_be else (),
        policies=Policies(traffic=policy),
        costs=costs_of(setting.measured, setting.where),
    )


def simulated(setting: Setting, load: Load, name: str) -> RunFigures:
    """Run it. Raises BenchFailed where its service or job did not come up."""
    outcome = simulate(scenario_of(setting, load, name))
    if outcome.problems:
        raise BenchFailed(f"the simulation says: {'; '.join(outcome.problems)}")
    report = outcome.report
    requests, latency = report.requests, report.latency_ms
    offered_s = load.seconds * sum(node.cpu_millis for node in setting.plan.nodes) / 1000
    return RunFigures(
        requests.sent,
        requests.completed,
        requests.completed / max(1, requests.sent),
        (requests.completed + requests.late) / load.seconds,
        requests.completed / load.seconds,
        sum(node.lc_cpu_seconds for node in report.nodes.values()) / offered_s,
        sum(node.be_cpu_seconds for node in report.nodes.values()) / offered_s,
        latency.p50,
        latency.p95,
        latency.p99,
    )


def _jobs(spec: JobSpec) -> JobLoad:
    task = spec.tasks[0]
    shape = JobShape(
        MAX_DURATION_S,
        tasks=len(spec.tasks),
        cpu_millis=task.cpu_millis,
        memory_bytes=task.memory_bytes,
        name=spec.name,
    )

    def source(_: random.Random) -> Iterator[JobArrival]:
        return iter((JobArrival(0.0, shape),))

    return JobLoad(source)
