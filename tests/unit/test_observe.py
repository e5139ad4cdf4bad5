"""Looking at a cluster of which parts are away, and CPU and rates between looks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tango.model.cluster import NodeCapacity, NodeReport, NodeView, SideUsage
from tango.model.errors import Unavailable
from tango.model.job import JobRecord, JobState
from tango.model.service import ServiceSpec
from tango.model.views import JobCounts, RequestCounts, ServiceView
from tango.sdk.observe import ClusterSnapshot, CpuMeter, ServiceMeter, observe


def node(at_s: float, lc_s: float, be_s: float, name: str = "a1") -> NodeView:
    report = NodeReport(name, at_s, SideUsage(cpu_s=lc_s), SideUsage(cpu_s=be_s))
    return NodeView(name, "site-a", True, NodeCapacity(650, 2**30), report=report)


def service(counts: RequestCounts) -> ServiceView:
    spec = ServiceSpec("hello", ("hello",))
    return ServiceView(spec, 1, "site-a", (), 0, 0, 0, counts)


def look(at_s: float, counts: RequestCounts) -> ClusterSnapshot:
    return ClusterSnapshot(at_s, services=(service(counts),))


def test_cpu_is_what_the_counters_gained_between_reports() -> None:
    meter = CpuMeter()
    meter.see((node(100.0, 5.0, 50.0),))
    assert meter.rates() == {}
    meter.see((node(100.0, 5.0, 50.0),))  # the same report again says nothing
    meter.see((node(102.0, 5.5, 51.0),))
    rate = meter.rates()["a1"]
    assert (rate.lc_cpu_millis, rate.be_cpu_millis) == pytest.approx((250.0, 500.0))
    assert rate.capacity_millis == 650
    meter.see((node(103.0, 0.1, 51.0),))  # LC counts from nothing again
    use = meter.nodes["a1"]
    assert (use.lc_cpu_s, use.be_cpu_s, use.span_s) == pytest.approx((0.6, 1.0, 3.0))
    meter.see((replace(node(0, 0, 0), report=None),))
    assert meter.nodes["a1"].span_s == pytest.approx(3.0)


def test_rates_of_services_survive_a_restart_of_their_edge() -> None:
    meter = ServiceMeter()
    meter.see(look(10.0, RequestCounts(100, 90, 5, 3, 1)))
    assert meter.rates == {}
    meter.see(look(12.0, RequestCounts(140, 117, 5, 6, 1)))
    rate = meter.rates["site-a", "hello"]
    assert (rate.sent_per_s, rate.in_time_share) == (20.0, 0.9)
    meter.see(look(13.0, RequestCounts(141, 117, 5, 6, 1)))
    assert meter.rates["site-a", "hello"].in_time_share is None
    meter.see(look(14.0, RequestCounts(3, 3)))  # a new edge
    assert meter.rates == {}
    meter.see(look(15.0, RequestCounts(5, 5)))
    assert meter.rates["site-a", "hello"].sent_per_s == 2.0


class Edge:
    def __init__(self, name: str) -> None:
        self.name = name

    async def nodes(self) -> tuple[NodeView, ...]:
        if self.name == "frozen":
            await asyncio.sleep(60)
        if self.name == "gone":
            raise Unavailable("nothing answers at 127.0.0.1:1: connection refused")
        return (node(1.0, 1.0, 1.0),)

    async def services(self) -> tuple[ServiceView, ...]:
        return (service(RequestCounts()),)


class Cluster:
    sites = ("here", "frozen", "gone")

    def edge(self, name: str = "") -> Edge:
        return Edge(name)

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        raise Unavailable("the central master is stopping")


async def test_what_is_away_is_named_and_the_rest_is_seen() -> None:
    snapshot = await observe(Cluster(), timeout_s=0.05)
    assert [view.node for view in snapshot.nodes] == ["a1"]
    assert len(snapshot.services) == 1
    assert snapshot.jobs is None
    assert dict(snapshot.away) == {
        "central master": "the central master is stopping",
        "frozen": "no answer within 0.05 s",
        "gone": "nothing answers at 127.0.0.1:1: connection refused",
    }
