"""Looks at a whole cluster at once: what answers, what is away, and CPU between two looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tango.model.cluster import NodeView
from tango.model.errors import TangoError
from tango.model.job import JobRecord, JobState
from tango.model.views import JobCounts, RequestCounts, ServiceView
from tango.workload.timeline import NodeSecond

T = TypeVar("T")

# A daemon that is frozen must not freeze the view of the others.
OBSERVE_TIMEOUT_S = 2.0
CENTRAL = "central master"


class SiteView(Protocol):
    """What is asked of one edge; EdgeClient is one."""

    async def nodes(self) -> tuple[NodeView, ...]:
        """All nodes of the site."""
        ...

    async def services(self) -> tuple[ServiceView, ...]:
        """All services of the site."""
        ...


class ClusterView(Protocol):
    """What is asked of a cluster; Client is one."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        ...

    def edge(self, name: str = "") -> SiteView:
        """One site's edge master."""
        ...

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        """The newest jobs, and the counts over all."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """One look. away: who did not answer, and why; jobs is None while the central master is away.

    at_s: the observer's loop time when the look was complete.
    """

    at_s: float
    nodes: tuple[NodeView, ...] = ()
    services: tuple[ServiceView, ...] = ()
    jobs: JobCounts | None = None
    away: Mapping[str, str] = field(default_factory=dict)


async def observe(cluster: ClusterView, *, timeout_s: float = OBSERVE_TIMEOUT_S) -> ClusterSnapshot:
    """Ask every edge and the central master at once. Never raises for one that is away."""
    away: dict[str, str] = {}

    async def asked(who: str, question: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await question
        except TimeoutError:
            away[who] = f"no answer within {timeout_s:g} s"
        except TangoError as error:
            away[who] = str(error)
        return None

    async def site(name: str) -> tuple[tuple[NodeView, ...], tuple[ServiceView, ...]]:
        edge = cluster.edge(name)
        return await edge.nodes(), await edge.services()

    async with asyncio.TaskGroup() as group:
        jobs = group.create_task(asked(CENTRAL, cluster.jobs(limit=1)))
        sites = [group.create_task(asked(name, site(name))) for name in cluster.sites]
    answers = [answer for task in sites if (answer := task.result()) is not None]
    counted = jobs.result()
    return ClusterSnapshot(
        asyncio.get_running_loop().time(),
        tuple(node for nodes, _ in answers for node in nodes),
        tuple(service for _, services in answers for service in services),
        counted[1] if counted is not None else None,
        away,
    )


@dataclass(slots=True)
class NodeUse:
    """CPU seconds that a node's two sides used between its first and its last report so far."""

    capacity_millis: int
    first_at_s: float
    last_at_s: float
    lc_seen_s: float
    be_seen_s: float
    lc_cpu_s: float = 0.0
    be_cpu_s: float = 0.0
    rate: NodeSecond | None = None

    @property
    def span_s(self) -> float:
        """Time between the two reports, on the node's own clock."""
        return self.last_at_s - self.first_at_s


class CpuMeter:
    """Adds up what the kernel's cumulative counters gained from report to report.

    A worker's report carries when it was made, so rates are right however late it is read. A
    counter that falls was begun anew (the node came back empty): its value is all new.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeUse] = {}

    def see(self, views: tuple[NodeView, ...]) -> None:
        """Take one look's nodes; reports that were seen before change nothing."""
        for view in views:
            report = view.report
            if report is None:
                continue
            use = self.nodes.get(view.node)
            lc_s, be_s = report.lc.cpu_s, report.be.cpu_s
            if use is None:
                self.nodes[view.node] = NodeUse(
                    view.capacity.cpu_millis, report.at_s, report.at_s, lc_s, be_s
                )
                continue
            passed_s = report.at_s - use.last_at_s
            if passed_s <= 0:
                continue
            lc_gain, be_gain = _gain(use.lc_seen_s, lc_s), _gain(use.be_seen_s, be_s)
            use.lc_cpu_s += lc_gain
            use.be_cpu_s += be_gain
            use.lc_seen_s, use.be_seen_s, use.last_at_s = lc_s, be_s, report.at_s
            use.capacity_millis = view.capacity.cpu_millis
            use.rate = NodeSecond(
                lc_gain / passed_s * 1000, be_gain / passed_s * 1000, use.capacity_millis
            )

    def rates(self) -> dict[str, NodeSecond]:
        """Each node's CPU between its last two reports."""
        return {name: use.rate for name, use in self.nodes.items() if use.rate is not None}


def _gain(before_s: float, now_s: float) -> float:
    return now_s - before_s if now_s >= before_s else now_s


@dataclass(frozen=True, slots=True)
class ServiceRate:
    """One service at one site between two looks. in_time_share: of the requests that ended, 0..1;
    None where none did."""

    sent_per_s: float
    in_time_share: float | None


class ServiceMeter:
    """Rates from the edges' counters, which begin anew when an edge does."""

    def __init__(self) -> None:
        self.rates: dict[tuple[str, str], ServiceRate] = {}
        self._seen: dict[tuple[str, str], tuple[float, RequestCounts]] = {}

    def see(self, snapshot: ClusterSnapshot) -> None:
        """Take one look; rates by (site, service) are since the look before it."""
        seen = {
            (view.edge, view.spec.name): (snapshot.at_s, view.counts) for view in snapshot.services
        }
        self.rates = {}
        for key, (at_s, now) in seen.items():
            before_s, before = self._seen.get(key, (at_s, now))
            sent, ended = now.sent - before.sent, _ended(now) - _ended(before)
            if at_s <= before_s or sent < 0 or ended < 0:
                continue
            in_time = (now.completed - before.completed) / ended if ended else None
            self.rates[key] = ServiceRate(sent / (at_s - before_s), in_time)
        self._seen = seen


def _ended(counts: RequestCounts) -> int:
    return counts.completed + counts.late + counts.rejected + counts.failed
