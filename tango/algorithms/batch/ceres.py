"""CERES, small: CPU that running batch tasks hold and do not use, before any of them is stopped.

A re-implementation, as a baseline, of the resource reclamation of "CERES: Container-Based Elastic
Resource Management System for Mixed Workloads" (ICPP 2021), from its abstract: where idle resources
do not suffice for newcomers, take back what swollen batch tasks were allocated beyond their use,
and only then preempt common batch tasks. Here (whole cores are never reclaimed, only preempted):

1. what is idle: the node whose CPU is least held afterwards;
2. what is reclaimable: the same, with CPU that BE tasks hold and measurably do not use (the edge
   screens for swollen tasks, algorithms/quota/reclaim.py). More is then held than there is;
3. for the first gang that still waits: running tasks of lower priority are preempted, if that makes
   room for all of it. Lowest priority first, of those the youngest; the node where the highest
   victim is lowest, then the fewest. One gang a plan.

Not re-implemented: memory is never reclaimed (it is incompressible, and a wrong guess kills);
stragglers of LC services are not expanded here (QoS re-assurance does that, and LC takes CPU from
BE at once by the kernel's weights); its thresholds are not published in the abstract, ours are our
own. CERES preempts for latency-sensitive tasks; between BE jobs, which this policy places, priority
stands for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tango.algorithms.batch.least_loaded import load
from tango.algorithms.batch.packing import Room, largest_first, pack
from tango.algorithms.batch.scored import Lowest
from tango.model.cores import mask_of
from tango.model.plan import (
    BatchPlan,
    BatchSnapshot,
    BatchTask,
    Gang,
    Preemption,
    RunningTask,
    Unplaced,
)

# So many of the gangs that wait are tried to make room for, in queue order.
MAX_TRIED = 4


class Ceres:
    """BatchPolicy, elastic. score: share of the node's CPU held afterwards; above 1: reclaimed."""

    name = "ceres"
    elastic = True

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        packing = Lowest(snapshot, reclaim=True)
        packing.score = load
        plan = pack(snapshot, packing, "free or unused")
        preempt = _first_preemption(snapshot, plan, packing.rooms)
        if preempt is None:
            return plan
        n = len(preempt.attempt_ids)
        asks = f"; asks to preempt {n} task{'s' if n > 1 else ''} of lower priority"
        unplaced = tuple(
            Unplaced(one.job_id, one.reason + asks) if one.job_id == preempt.job_id else one
            for one in plan.unplaced
        )
        return replace(plan, unplaced=unplaced, preempt=preempt)


def _first_preemption(
    snapshot: BatchSnapshot, plan: BatchPlan, rooms: Sequence[Room]
) -> Preemption | None:
    """For the first waiting gang that it makes room for; None for none."""
    if not snapshot.running:
        return None
    waiting = {one.job_id for one in plan.unplaced}
    lowest = min(task.priority for task in snapshot.running)
    tried = 0
    for gang in snapshot.gangs:
        if gang.job_id not in waiting or gang.priority <= lowest:
            continue
        victims = _victims(gang, rooms, snapshot.running)
        if victims and _suffices(gang, rooms, victims):
            return Preemption(gang.job_id, tuple(task.attempt_id for task in victims))
        tried += 1
        if tried == MAX_TRIED:
            break
    return None


def _suffices(gang: Gang, rooms: Sequence[Room], victims: Sequence[RunningTask]) -> bool:
    """Whether the gang is placed once they have ended: packing does not look for the best way."""
    offers = []
    for room in rooms:
        offer = room.offer
        here = [one for one in victims if (one.edge, one.node) == (offer.edge, offer.node)]
        cpu = room.cpu_millis + sum(one.cpu_millis for one in here)
        memory = room.memory_bytes + sum(one.memory_bytes for one in here)
        offers.append(
            replace(
                offer,
                cpu_millis=cpu,
                memory_bytes=memory,
                be_held_millis=room.all_cpu_millis - offer.lc_held_millis - cpu,
                be_memory_bytes=room.all_memory_bytes - offer.lc_memory_bytes - memory,
                reclaimable_millis=0 if here else room.spare_millis,
                core_mask=room.core_mask | mask_of(_cores(here)),
                ports=tuple(room.ports.difference(port for one in here for port in one.ports)),
            )
        )
    packing = Lowest(BatchSnapshot((gang,), tuple(offers)), reclaim=True)
    packing.score = load
    return not isinstance(packing.place(gang), BatchTask)


def _cores(tasks: Sequence[RunningTask]) -> tuple[int, ...]:
    return tuple(core for task in tasks for core in task.cores)


class _Node:
    """A room with what may be preempted there, the first to go first.

    Once something is, its reclaimable CPU no longer counts: it may have been the victims'.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.cpu_millis = room.cpu_millis + room.spare_millis
        self.memory_bytes = room.memory_bytes
        self.spare_millis = room.spare_millis
        self.core_mask = room.core_mask
        self.ports = room.ports
        self.tasks: list[RunningTask] = []

    def needed(self, task: BatchTask) -> list[RunningTask] | None:
        """The victims that make room for the task; None where not even all of them do."""
        if self.room.offer.bars(task):
            return None
        cpu = task.cpu_millis - self.cpu_millis
        memory = task.memory_bytes - self.memory_bytes
        cores, ports = self.core_mask, self.ports.intersection(task.ports)
        if cpu <= 0 and memory <= 0 and not ports and task.cores_among(cores) is not None:
            return []
        cpu += self.spare_millis
        chosen: list[RunningTask] = []
        for victim in self.tasks:
            chosen.append(victim)
            cpu -= victim.cpu_millis
            memory -= victim.memory_bytes
            cores |= mask_of(victim.cores)
            ports = ports.difference(victim.ports)
            if cpu <= 0 and memory <= 0 and not ports and task.cores_among(cores) is not None:
                break
        else:
            return None
        # Those that were not needed after all are spared, the highest priority first.
        for victim in chosen[::-1]:
            without = cores & ~mask_of(victim.cores)
            spared = cpu + victim.cpu_millis <= 0 and memory + victim.memory_bytes <= 0
            spared = spared and not set(victim.ports).intersection(task.ports)
            if spared and task.cores_among(without) is not None:
                cpu += victim.cpu_millis
                memory += victim.memory_bytes
                cores = without
                chosen.remove(victim)
        return chosen

    def take(self, task: BatchTask, victims: list[RunningTask]) -> None:
        """Put the task in the place of the victims."""
        if victims:
            self.cpu_millis -= self.spare_millis
            self.spare_millis = 0
        for victim in victims:
            self.tasks.remove(victim)
            self.cpu_millis += victim.cpu_millis
            self.memory_bytes += victim.memory_bytes
            self.core_mask |= mask_of(victim.cores)
            self.ports = self.ports.difference(victim.ports)
        self.ports = self.ports.union(task.ports)
        self.cpu_millis -= task.cpu_millis
        self.memory_bytes -= task.memory_bytes
        self.core_mask ^= task.cores_among(self.core_mask) or 0


class _Best(NamedTuple):
    """cost: the highest priority among the victims and how many they are, then the node's order."""

    cost: tuple[float, int, int]
    node: _Node
    victims: list[RunningTask]


def _victims(
    gang: Gang, rooms: Sequence[Room], running: Sequence[RunningTask]
) -> list[RunningTask]:
    """Whom to stop so that the whole gang fits; nobody where that cannot be."""
    nodes = {(room.offer.edge, room.offer.node): _Node(room) for room in rooms}
    for task in sorted(running, key=lambda one: (one.priority, -one.started_at, one.attempt_id)):
        node = nodes.get((task.edge, task.node))
        if node is not None and task.priority < gang.priority:
            node.tasks.append(task)
    victims: list[RunningTask] = []
    for wanted in largest_first(gang):
        best: _Best | None = None
        for node in nodes.values():
            needed = node.needed(wanted)
            if needed is None:
                continue
            highest = max((one.priority for one in needed), default=float("-inf"))
            cost = (highest, len(needed), node.room.order)
            if best is None or cost < best.cost:
                best = _Best(cost, node, needed)
        if best is None:
            return []
        best.node.take(wanted, best.victims)
        victims += best.victims
    return victims
