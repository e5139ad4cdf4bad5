"""Small scenarios for the tests of the simulator."""

from __future__ import annotations

from typing import Any

from tango.model.service import ServiceSpec
from tango.sim.loads import JobLoad, JobShape, RequestLoad, SimService
from tango.sim.scenario import Costs, Policies, Scenario
from tango.sim.topology import NodeShape, Site, Topology
from tango.workload.job_patterns import JobPatternSpec
from tango.workload.patterns import PatternSpec

# Of their own: tests say which latencies these make.
COSTS = Costs(
    edge_request_s=0.00015, edge_answer_s=0.0001, worker_request_s=0.00015, worker_answer_s=0.0001
)
MIB = 2**20
GIB = 2**30


def service(name: str = "web", cpu_s: float = 0.005, **fields: Any) -> SimService:
    """A service whose requests take 5 ms of CPU, one at a time for each replica."""
    own = {
        key: fields.pop(key)
        for key in ("sites", "replicas_at", "threads", "start_s", "distribution")
        if key in fields
    }
    own["replicas"] = own.pop("replicas_at", ())
    spec = ServiceSpec(
        **{
            "name": name,
            "argv": ("serve",),
            "replicas": 4,
            "cpu_per_request_millis": 500,
            "deadline_s": 0.1,
            **fields,
        }
    )
    return SimService(spec, cpu_s, **own)


def site(name: str, nodes: int = 2, cpu: int = 2000, memory: int = 2 * GIB) -> Site:
    """Nodes are named after their site."""
    shapes = tuple(NodeShape(f"{name}{number}", cpu, memory) for number in range(1, nodes + 1))
    return Site(name, shapes)


def load(rate: float, service: str = "web", seconds: float = 20.0, **fields: Any) -> RequestLoad:
    """Poisson arrivals at each site."""
    return RequestLoad(service, PatternSpec("steady", rate, seconds), **fields)


def jobs(interval_s: float = 1.0, seconds: float = 20.0, **shape: Any) -> JobLoad:
    """One job each interval."""
    pattern = JobPatternSpec("steady", interval_s, seconds)
    return JobLoad(pattern, JobShape(**{"work_cpu_s": 2.0, **shape}))


def scenario(**fields: Any) -> Scenario:
    """One site, two nodes, one service, 100 requests a second."""
    return Scenario(
        **{
            "name": "small",
            "topology": Topology((site("a"),)),
            "services": (service(),),
            "duration_s": 20.0,
            "loads": (load(100.0),),
            "policies": Policies(traffic="least-loaded"),
            "costs": COSTS,
            **fields,
        }
    )
