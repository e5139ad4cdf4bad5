"""Scales a trace's tasks to an edge: sizes of nodes and requests, load, and deadlines.

Traces come from data centres; an edge has smaller nodes, fewer of them, and another load. Each rule
here is explicit and its figures are ours, not the traces'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.model.units import MAX_CPU_MILLIS, MAX_MEMORY_BYTES
from tango.workload.bounds import require_number, require_whole

GIB = 2**30
MAX_FACTOR = 1e6


@dataclass(frozen=True, slots=True)
class NodeScale:
    """A machine of `machine_cpu` and `machine_memory` (the trace's units) becomes one edge node of
    `cpu_millis` and `memory_bytes`; every other machine and every request in proportion.

    A request is at least min_cpu_millis and min_memory_bytes, and at most that one node: a task
    that fits into no node would wait for ever. What a task does not tell is `unknown` of the node.
    """

    machine_cpu: float
    machine_memory: float
    cpu_millis: int = 4000
    memory_bytes: int = 8 * GIB
    min_cpu_millis: int = 10
    min_memory_bytes: int = 16 * 2**20
    unknown: float = 0.025

    def __post_init__(self) -> None:
        require_number("machine_cpu", self.machine_cpu, 0, 2.0**60, above=True)
        require_number("machine_memory", self.machine_memory, 0, 2.0**60, above=True)
        require_whole("cpu_millis", self.cpu_millis, 1, MAX_CPU_MILLIS)
        require_whole("memory_bytes", self.memory_bytes, 2**20, MAX_MEMORY_BYTES)
        require_whole("min_cpu_millis", self.min_cpu_millis, 1, self.cpu_millis)
        require_whole("min_memory_bytes", self.min_memory_bytes, 2**20, self.memory_bytes)
        require_number("unknown", self.unknown, 0, 1)

    def request_cpu_millis(self, cpu: float | None) -> int:
        """A task's CPU request on the edge."""
        share = self.unknown if cpu is None else cpu / self.machine_cpu
        return min(self.cpu_millis, max(self.min_cpu_millis, round(share * self.cpu_millis)))

    def request_memory_bytes(self, memory: float | None) -> int:
        """A task's memory request on the edge."""
        share = self.unknown if memory is None else memory / self.machine_memory
        size = round(share * self.memory_bytes)
        return min(self.memory_bytes, max(self.min_memory_bytes, size))

    def node_cpu_millis(self, cpu: float) -> int:
        """A machine's CPU on the edge, one millicore at least."""
        return max(1, round(cpu / self.machine_cpu * self.cpu_millis))

    def node_memory_bytes(self, memory: float) -> int:
        """A machine's memory on the edge, 1 MiB at least."""
        return max(2**20, round(memory / self.machine_memory * self.memory_bytes))


# Each trace's most common machine becomes the edge node. Borg 2011: 0.5 CPU and 0.5 memory (Reiss
# et al., "Heterogeneity and Dynamicity of Clouds at Scale", SoCC 2012, table 1). openb: 96 cores
# and 384 GiB (596 of 1,523 nodes). Borg 2019's eight cells differ: there it is the largest machine.
BORG_2011_SCALE = NodeScale(0.5, 0.5)
BORG_2019_SCALE = NodeScale(1.0, 1.0)
OPENB_SCALE = NodeScale(96_000.0, 384.0 * GIB)


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """What a stream of work asks of a cluster: cpu_s CPU seconds within span_s seconds."""

    count: int
    span_s: float
    cpu_s: float

    def load(self, capacity_millis: float) -> float:
        """Work over capacity: 1.0 keeps every core busy all the time. InvalidField: no span."""
        require_number("capacity_millis", capacity_millis, 0, 2.0**60, above=True)
        if self.span_s <= 0:
            problem = f"{self.count} arrivals at one time have no rate"
            raise InvalidField("trace", problem, "give a trace, or a part of one, that takes time")
        return self.cpu_s / self.span_s / (capacity_millis / 1000)

    def speed_up_to(self, wanted: float, capacity_millis: float) -> float:
        """The factor by which arrivals must come faster (work unchanged) for the wanted load.

        Below 1 it spreads them. Raises InvalidField where there is no work, and for a factor beyond
        1,000,000 either way.
        """
        require_number("load", wanted, 0, 1000, above=True)
        offered = self.load(capacity_millis)
        if offered <= 0:
            raise InvalidField("trace", "it brings no work", "take another part of it")
        factor = wanted / offered
        if not 1 / MAX_FACTOR <= factor <= MAX_FACTOR:
            problem = f"it would have to be sped up by {factor:g}"
            raise InvalidField("load", problem, "choose another capacity or part of the trace")
        return factor


def offered_load(work: Iterable[tuple[float, float]], span_s: float | None = None) -> OfferedLoad:
    """Adds up (at_s, CPU seconds) in one pass. span_s: None takes the time of the last arrival."""
    count, cpu_s, last_s = 0, 0.0, 0.0
    for at_s, each_s in work:
        count, cpu_s, last_s = count + 1, cpu_s + each_s, max(last_s, at_s)
    return OfferedLoad(count, last_s if span_s is None else span_s, cpu_s)


@dataclass(frozen=True, slots=True)
class DeadlineRule:
    """deadline = factor * service time, and floor_s at least.

    No trace has deadlines: both defaults are ours. The floor keeps a short request from being late
    by the network and one turn of the scheduler alone.
    """

    factor: float = 5.0
    floor_s: float = 0.05

    def __post_init__(self) -> None:
        require_number("factor", self.factor, 1, MAX_FACTOR)
        require_number("floor_s", self.floor_s, 0.001, 3600)

    def deadline_s(self, service_s: float) -> float:
        """The deadline of a request that takes `service_s` on an idle node."""
        return max(self.floor_s, self.factor * service_s)
