"""Nodes and jobs with whole cores, for a central master on its bench."""

from __future__ import annotations

from central_bench import MIB, Bench, node

from tango.adapters.policies import batch_policy
from tango.model.cluster import NodeView
from tango.model.job import JobSpec, TaskSpec

GIB = 2**30


def worker(name: str, count: int, gib: int = 64, **more: object) -> NodeView:
    """A node of so many cores, all of them for tasks."""
    ids = {"cores": tuple(range(count)), **more}
    return node(name, count * 1000, gib * GIB, **ids)


def pinned(*tasks: TaskSpec, priority: int = 0) -> JobSpec:
    """A job of these tasks."""
    return JobSpec("job", tasks, priority=priority)


def asks(*cores: int, priority: int = 0, memory: int = 64 * MIB) -> JobSpec:
    """A job of one task for each of these numbers of cores."""
    tasks = (
        TaskSpec(f"t{at}", ("true",), cores=count, memory_bytes=memory)
        for at, count in enumerate(cores)
    )
    return pinned(*tasks, priority=priority)


def named(node_name: str, cpuset: tuple[int, ...] = (), cores: int = 0) -> JobSpec:
    """A job of one task that names its node, and its cores by id or number."""
    return pinned(TaskSpec("t0", ("true",), cores=cores, node=node_name, cpuset=cpuset))


def bench(policy: str, *nodes: NodeView, max_overtaken: int = 64) -> Bench:
    """The daemon's policy of that name, and one site of these nodes."""
    made = Bench(policy=batch_policy(policy), max_overtaken=max_overtaken)
    made.edge_up(*nodes)
    return made


def placed(central: Bench, job_id: str) -> list[tuple[str, tuple[int, ...]]]:
    """(node, core ids) of each task of the job, as it is on disk."""
    return [(task.node, task.cores) for task in central.job(job_id).tasks]


def free(central: Bench, name: str) -> tuple[int, int, int] | None:
    """(cores as bits, millicores, bytes) that the node of e1 offers; None for nothing."""
    offer = central.central._core.sites.offer("e1", name)
    return None if offer is None else (offer.core_mask, offer.cpu_millis, offer.memory_bytes)
