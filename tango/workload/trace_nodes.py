"""Machines of a trace to edge nodes that come, change and go, and the CPU share that tasks use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.workload.bounds import require_number, require_whole
from tango.workload.cluster_events import MICROS, MachineEvent, MachineStep, TaskEvent, TaskUsage
from tango.workload.openb import OpenbNode
from tango.workload.trace_scale import NodeScale


@dataclass(frozen=True, slots=True)
class NodeChange:
    """From at_s on the node has this size; 0 and 0: it is gone."""

    at_s: float
    name: str
    cpu_millis: int
    memory_bytes: int


def borg_nodes(
    events: Iterable[MachineEvent], scale: NodeScale, *, start_s: float = 0.0, speed_up: float = 1.0
) -> Iterator[NodeChange]:
    """Each machine event as a change of a node; those before start_s happen at 0, all in order.

    A capacity that is not told is the latest one told of that machine, else the ordinary machine's.
    Memory follows the number of machines.
    """
    require_number("start_s", start_s, 0, 2.0**53)
    require_number("speed_up", speed_up, 0, 1e6, above=True)
    known: dict[int, tuple[float, float]] = {}
    for event in events:
        cpu, memory = known.get(event.machine, (scale.machine_cpu, scale.machine_memory))
        cpu = cpu if event.cpu is None else event.cpu
        memory = memory if event.memory is None else event.memory
        known[event.machine] = cpu, memory
        at_s = max(0.0, event.at_us / MICROS - start_s) / speed_up
        if event.step is MachineStep.REMOVE:
            yield NodeChange(at_s, str(event.machine), 0, 0)
        else:
            size = scale.node_cpu_millis(cpu), scale.node_memory_bytes(memory)
            yield NodeChange(at_s, str(event.machine), *size)


def openb_nodes(nodes: Iterable[OpenbNode], scale: NodeScale) -> Iterator[NodeChange]:
    """Each node, there from the start."""
    for node in nodes:
        yield NodeChange(
            0.0,
            node.name,
            scale.node_cpu_millis(node.cpu_millis),
            scale.node_memory_bytes(node.memory_bytes),
        )


class UsageShare:
    """How much of its CPU request a task really uses, for JobRule.cpu_use: core seconds used
    over core seconds requested, in Borg's usage windows whose task's request is known.

    Remembers the latest request of max_tasks tasks; others are counted in `unknown`.
    """

    def __init__(self, max_tasks: int = 500_000) -> None:
        require_whole("max_tasks", max_tasks, 1, 100_000_000)
        self.windows = 0
        self.unknown = 0
        self._max_tasks = max_tasks
        self._requests: dict[tuple[int, int], float] = {}
        self._used = 0.0
        self._requested = 0.0

    def request(self, event: TaskEvent) -> None:
        """Remember what the task asks for."""
        key = (event.job, event.index)
        if event.cpu and (key in self._requests or len(self._requests) < self._max_tasks):
            self._requests[key] = event.cpu

    def usage(self, usage: TaskUsage) -> None:
        """Count one window."""
        request = self._requests.get((usage.job, usage.index))
        if request is None:
            self.unknown += 1
            return
        window_s = (usage.end_us - usage.start_us) / MICROS
        self.windows += 1
        self._used += usage.cpu * window_s
        self._requested += request * window_s

    @property
    def share(self) -> float:
        """Used over requested. Raises InvalidField where no window counted."""
        if self._requested <= 0:
            problem = f"none of its {self.unknown} windows is of a task with a known request"
            raise InvalidField("usage", problem, "give the task_events of the same time")
        return self._used / self._requested
