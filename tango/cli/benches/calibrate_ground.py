"""The real side of `tango bench calibrate`: two nodes of an embedded cluster, each of a size that
the kernel holds it to.

Both nodes' groups are on one core that the daemons and the load generator keep off, and each has a
CFS quota on its own group, LC and BE together: less than half of that core, so that the other node
can never keep it from its quota over a period.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from tango.adapters.cgroup_detect import detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.replica_http import ReplicaClient
from tango.cli.benches.calibrate_rules import RunFigures
from tango.cli.benches.figures import BenchFailed
from tango.cli.benches.process_cpu import core_busy_s, cpu_s, keep_on
from tango.model.cgroup import GroupTarget
from tango.model.errors import InvalidField
from tango.model.job import JobRecord, JobSpec, JobState
from tango.model.service import ServiceSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.embedded_plan import EmbeddedPlan, NodePlan
from tango.sdk.load import LoadRunner, RunRecord, ServiceLoad
from tango.workload.arrival import Arrival
from tango.workload.latency import LatencyHistogram

SITE = "site-a"
NODES = ("a1", "a2")
NODE_MILLIS = 450
PERIOD_US = 10_000
TRIVIAL = "/status/200"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds so far: of both nodes' sides, of the edge, and of the workers; and when.

    core_s: of everything on the nodes' core, where it was taken by the hypervisor included.
    """

    at_s: float
    lc_s: float
    be_s: float
    edge_s: float
    worker_s: float
    core_s: float = 0.0

    @property
    def others(self) -> float:
        """Share of the nodes' core that went to what is not theirs."""
        return max(0.0, self.core_s - self.lc_s - self.be_s) / self.at_s

    def since(self, before: Used) -> Used:
        """What was used meanwhile; at_s: how long that was."""
        return Used(
            self.at_s - before.at_s,
            self.lc_s - before.lc_s,
            self.be_s - before.be_s,
            self.edge_s - before.edge_s,
            self.worker_s - before.worker_s,
            self.core_s - before.core_s,
        )

    def beyond(self, idle: Used) -> Used:
        """Without what is used in that time where nothing is asked."""
        share = self.at_s / idle.at_s
        return Used(
            self.at_s,
            max(0.0, self.lc_s - share * idle.lc_s),
            max(0.0, self.be_s - share * idle.be_s),
            max(0.0, self.edge_s - share * idle.edge_s),
            max(0.0, self.worker_s - share * idle.worker_s),
            max(0.0, self.core_s - share * idle.core_s),
        )


def plan_ground() -> EmbeddedPlan:
    """Two nodes on the last core. Raises InvalidField on a machine of one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise InvalidField("cores", "there is one", "two are needed: one for the nodes alone")
    memory_bytes = psutil.virtual_memory().available // 2 // len(NODES)
    nodes = tuple(NodePlan(name, SITE, NODE_MILLIS, memory_bytes, str(cores[-1])) for name in NODES)
    return EmbeddedPlan((SITE,), nodes, "cpuset", 100)


class Ground:
    """The nodes of a cluster that runs, capped; the daemons and this process off their core."""

    def __init__(self, cluster: EmbeddedCluster, plan: EmbeddedPlan) -> None:
        self._cluster = cluster
        self._capacity = sum(node.cpu_millis for node in plan.nodes) / 1000
        self._core = int(plan.nodes[0].cpuset)
        self._groups: dict[str, CgroupDriver] = {}
        for node in plan.nodes:
            groups = detect(f"{cluster.cgroup_root}/{node.name}").cgroups
            if groups is None or "cpuset" not in groups.features().controllers:
                raise BenchFailed("this machine lets us use no control groups with cpuset")
            self._groups[node.name] = groups
            wrong = groups.apply("", GroupTarget(node.cpu_millis, PERIOD_US, cpuset=node.cpuset))
            if wrong:
                raise BenchFailed(f"the kernel did not take {wrong}")
        members = json.loads((cluster.state_dir / "processes.json").read_text())
        self._pids = {kind: _pids(members, kind) for kind in ("central", "edge", "worker")}
        others = os.sched_getaffinity(0) - {self._core}
        every = [pid for pids in self._pids.values() for pid in pids]
        masters = self._pids["central"] + self._pids["edge"]
        helpers = [child.pid for pid in masters for child in psutil.Process(pid).children()]
        keep_on((*every, *helpers, os.getpid()), others)

    def close(self) -> None:
        """The descriptors; the cluster ends the groups."""
        for groups in self._groups.values():
            groups.close()

    def used(self) -> Used:
        """The kernel's counters."""
        groups = self._groups.values()
        return Used(
            time.monotonic(),
            sum(each.usage("lc").cpu_s for each in groups),
            sum(each.usage("be").cpu_s for each in groups),
            sum(map(cpu_s, self._pids["edge"])),
            sum(map(cpu_s, self._pids["worker"])),
            core_busy_s(self._core),
        )

    async def idle(self, seconds: float) -> Used:
        """What is used while nothing is asked."""
        before = self.used()
        await asyncio.sleep(seconds)
        return self.used().since(before)

    async def start_be(self, client: Client, job: JobSpec) -> None:
        """The job, one task on each node; put again where the batch policy saw it otherwise."""
        limit = time.monotonic() + START_S
        while True:
            found = await self._until_running(client, await client.submit(job), limit)
            if {task.node for task in found.tasks} == set(self._groups):
                return
            if time.monotonic() > limit:
                places = [(task.node, task.state.value) for task in found.tasks]
                raise BenchFailed(f"BE tasks run at {places}, not one on each of the nodes")
            await client.cancel(found.job_id)
            async with asyncio.timeout(START_S):
                await client.wait(found.job_id)

    async def _until_running(self, client: Client, job: JobRecord, limit: float) -> JobRecord:
        """The job once all of its tasks run, or as it is at the limit."""
        while time.monotonic() < limit:
            if all(task.state is JobState.RUNNING for task in job.tasks):
                break
            await asyncio.sleep(0.05)
            job = await client.job(job.job_id)
        return job

    async def warm_up(
        self, client: Client, spec: ServiceSpec, arrivals: Sequence[Arrival], seconds: float
    ) -> None:
        """Send the arrivals, whatever comes of them."""
        await self._send(client, spec, arrivals, seconds, "/", None)

    async def load(
        self, client: Client, spec: ServiceSpec, arrivals: Sequence[Arrival], seconds: float
    ) -> tuple[RunFigures, Used]:
        """Send the arrivals, open loop; CPU shares are from the first full second to the last."""
        seen: list[Used] = []

        def look(_: RunRecord, t_s: float) -> None:
            if t_s <= seconds:
                seen.append(self.used())

        before = self.used()
        record = await self._send(client, spec, arrivals, seconds, "/", look)
        whole = self.used().since(before)
        tally = record.services[spec.name].tally
        counts, latency = tally.counts(), tally.latency.summary()
        if len(seen) < 2:
            raise BenchFailed(f"{seconds:g} s are too short to see CPU")
        between = seen[-1].since(seen[0])
        offered_s = between.at_s * self._capacity
        figures = RunFigures(
            counts.sent,
            counts.completed,
            counts.completed / max(1, counts.sent),
            (counts.completed + counts.late) / seconds,
            counts.completed / seconds,
            between.lc_s / offered_s,
            between.be_s / offered_s,
            latency.p50,
            latency.p95,
            latency.p99,
            between.others,
        )
        return figures, whole

    async def trivial(
        self, client: Client, spec: ServiceSpec, arrivals: Sequence[Arrival], seconds: float
    ) -> tuple[LatencyHistogram, Used]:
        """Carried requests that cost the replica next to nothing."""
        before = self.used()
        record = await self._send(client, spec, arrivals, seconds, TRIVIAL, None)
        tally = record.services[spec.name].tally
        if tally.counts().completed < len(arrivals):
            raise BenchFailed(f"of trivial requests not all were answered: {tally.counts()}")
        return tally.latency, self.used().since(before)

    async def direct(self, client: Client, spec: ServiceSpec, count: int) -> LatencyHistogram:
        """The same, straight to a replica, one after the other."""
        (service,) = [each for each in await client.services() if each.spec.name == spec.name]
        port = service.replicas[0].status.port
        latency = LatencyHistogram()
        http = ReplicaClient()
        try:
            for _ in range(count):
                begun = time.perf_counter()
                await http.request(port, "GET", TRIVIAL, timeout_s=spec.timeout_s)
                latency.add((time.perf_counter() - begun) * 1000)
        finally:
            await http.close()
        return latency

    async def _send(
        self,
        client: Client,
        spec: ServiceSpec,
        arrivals: Sequence[Arrival],
        seconds: float,
        path: str,
        look: Callable[[RunRecord, float], None] | None,
    ) -> RunRecord:
        load = ServiceLoad(
            spec.name, arrivals, spec.deadline_s, client.sites, path, timeout_s=spec.timeout_s
        )
        runner = LoadRunner(client, [load], duration_s=seconds, on_second=look)
        return await runner.run()


def _pids(members: Sequence[dict[str, object]], kind: str) -> list[int]:
    return [int(str(member["pid"])) for member in members if member["kind"] == kind]


def python() -> str:
    """This environment's; not resolved: through its link it knows where its packages are."""
    return os.path.abspath(sys.executable)  # noqa: PTH100
