"""What the batch policies have in common: gangs in queue order, whole or not at all.

Gangs are taken in the order of the snapshot and placed whole or not at all; a later, smaller gang
may overtake one that does not fit. There is no backtracking within a gang: its tasks go in order,
largest first unless the policy says otherwise, so a gang that only a cleverer packing could place
stays queued. Tasks that name their cores go before all others of their gang: these may have any.

A gang of the same shape as one that did not fit is not tried again in the same plan, nor a task
beyond the most that is free, so a backlog that cannot move is cheap.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tango.algorithms.batch.unplaced import bars_of, unplaced_reason
from tango.model.affinity import NodeTerms
from tango.model.cores import format_cores
from tango.model.fixed_ports import port_taken
from tango.model.plan import (
    BatchOffer,
    BatchPlan,
    BatchSnapshot,
    BatchTask,
    Gang,
    Placement,
    TaskShape,
    Unplaced,
)

NO_CPU = "not enough CPU"
NO_MEMORY = "not enough memory"
NO_CORES = "not enough free cores"
MAX_REJECTED = 8

Order = Callable[[Gang], list[BatchTask]]


@dataclass(slots=True)
class Room:
    """What is left of an offer while the plan grows. order: its rank by edge and node.

    spare_millis: CPU beyond what is free that the policy may take; 0 for all but elastic ones.
    core_mask: free cores, ports: those that are taken, as in BatchOffer.
    """

    offer: BatchOffer
    order: int
    cpu_millis: int
    memory_bytes: int
    tasks: int
    all_cpu_millis: int
    all_memory_bytes: int
    spare_millis: int = 0
    core_mask: int = 0
    ports: frozenset[int] = frozenset()

    def fits(self, task: BatchTask) -> bool:
        """Whether the node will do, and what is left takes one more task."""
        offer = self.offer
        if (task.node or task.terms is not None or offer.taints) and offer.bars(task):
            return False
        return self.has_room(task)

    def has_room(self, task: BatchTask) -> bool:
        """Whether what is left takes one more task, if the node will do."""
        if task.cores and task.cores_among(self.core_mask) is None:
            return False
        if task.ports and not self.ports.isdisjoint(task.ports):
            return False
        return (
            task.cpu_millis <= self.cpu_millis + self.spare_millis
            and task.memory_bytes <= self.memory_bytes
        )

    def lack(self, task: BatchTask) -> tuple[str, str]:
        """(node, why the task does not fit there), as a Placement's `rejected` tells it."""
        why = self.offer.bars(task)
        if why:
            return self.offer.node, why
        if task.cores_among(self.core_mask) is None:
            if task.cpuset:
                return self.offer.node, f"core {format_cores(task.cpuset)} is not free"
            return self.offer.node, NO_CORES
        taken = self.ports.intersection(task.ports)
        if taken:
            return self.offer.node, port_taken(min(taken))
        lacks_cpu = task.cpu_millis > self.cpu_millis + self.spare_millis
        return self.offer.node, NO_CPU if lacks_cpu else NO_MEMORY

    def take(self, task: BatchTask) -> int:
        """Put the task here; the cores that it has then, for `give`."""
        cores = task.cores_among(self.core_mask)
        assert cores is not None
        self.cpu_millis -= task.cpu_millis
        self.memory_bytes -= task.memory_bytes
        self.core_mask ^= cores
        if task.ports:
            self.ports = self.ports.union(task.ports)
        self.tasks += 1
        return cores

    def give(self, task: BatchTask, cores: int) -> None:
        """Take it out again."""
        self.cpu_millis += task.cpu_millis
        self.memory_bytes += task.memory_bytes
        self.core_mask |= cores
        if task.ports:
            self.ports = self.ports.difference(task.ports)
        self.tasks -= 1


class Choice(NamedTuple):
    """The room for a task, and what decided it; see Placement."""

    room: Room
    score: float
    runner_up: tuple[str, float]
    rejected: tuple[tuple[str, str], ...]


class Split(NamedTuple):
    """Rooms of nodes that will do for a task, those of nodes that bar it, and these ones' order."""

    able: list[Room]
    barred: list[Room]
    orders: frozenset[int]


class Packing(ABC):
    """The offers as one plan eats into them.

    reclaim: take what is reclaimable too. order: in which a gang's tasks look for a room.
    What not every policy needs is made when it is asked for: a solve is mostly for one small gang,
    and looks at all nodes.
    """

    def __init__(
        self, snapshot: BatchSnapshot, *, reclaim: bool = False, order: Order | None = None
    ) -> None:
        self._order = order or largest_first
        self._reclaim = reclaim
        self.offers = snapshot.offers
        self._splits: dict[tuple[NodeTerms | None, str], Split] = {}
        self._failed: dict[tuple[TaskShape, ...], int] = {}
        # What a task may ask for at most; no bound until the first gang finds no room.
        self._cpu_bound = self._memory_bound = math.inf

    @cached_property
    def rooms(self) -> list[Room]:
        """All of them, by edge and node."""
        offers = sorted(self.offers, key=lambda offer: (offer.edge, offer.node))
        return [self._room(offer, order) for order, offer in enumerate(offers)]

    def _room(self, offer: BatchOffer, order: int) -> Room:
        return Room(
            offer,
            order,
            offer.cpu_millis,
            offer.memory_bytes,
            offer.be_tasks,
            max(1, offer.all_cpu_millis),
            max(1, offer.all_memory_bytes),
            offer.reclaimable_millis if self._reclaim else 0,
            offer.core_mask,
            frozenset(offer.ports),
        )

    @cached_property
    def most_cpu_millis(self) -> int:
        """The largest that was free in the snapshot, 1 at least."""
        return max(1, max((offer.cpu_millis for offer in self.offers), default=0))

    @cached_property
    def most_memory_bytes(self) -> int:
        """The same of memory."""
        return max(1, max((offer.memory_bytes for offer in self.offers), default=0))

    @cached_property
    def tainted(self) -> bool:
        """Whether some node is."""
        return any(offer.taints for offer in self.offers)

    def split(self, task: BatchTask) -> Split:
        """Which nodes will do for the task; looked at once for all that say the same of nodes."""
        if task.terms is None and not task.node and not self.tainted:
            return Split(self.rooms, [], frozenset())
        key = task.terms, task.node
        found = self._splits.get(key)
        if found is None:
            barred = [room for room in self.rooms if room.offer.bars(task)]
            orders = frozenset(room.order for room in barred)
            able = [room for room in self.rooms if room.order not in orders]
            found = self._splits[key] = Split(able, barred, orders)
        return found

    @abstractmethod
    def find(self, task: BatchTask) -> Choice | None:
        """The room for this task; None for none. Nothing is taken yet."""

    def changed(self, room: Room) -> None:  # noqa: B027 - most need not know
        """A task was put into the room that `find` has just chosen."""

    def restored(self) -> None:  # noqa: B027 - most need not know
        """Tasks of a gang that did not fit as a whole were taken out again."""

    def place(self, gang: Gang) -> list[Placement] | BatchTask:
        """All placements of the gang, or the task for which there was no room."""
        tasks = self._order(gang)
        shape = tuple(task.shape for task in tasks)
        if shape in self._failed:
            return tasks[self._failed[shape]]
        placed: list[Placement] = []
        taken: list[tuple[Room, BatchTask, int]] = []
        for position, task in enumerate(tasks):
            choice = self._choice(task)
            if choice is None:
                self._failed[shape] = position
                self._undo(taken)
                self._cpu_bound, self._memory_bound = self.most_left()
                return task
            room = choice.room
            taken.append((room, task, room.take(task)))
            self.changed(room)
            offer = room.offer
            placed.append(
                Placement(task.job_id, task.task_index, offer.edge, offer.node, *choice[1:])
            )
        return placed

    def _choice(self, task: BatchTask) -> Choice | None:
        if task.cpu_millis > self._cpu_bound or task.memory_bytes > self._memory_bound:
            return None
        return self.find(task)

    def _undo(self, taken: list[tuple[Room, BatchTask, int]]) -> None:
        if not taken:
            return
        for room, task, cores in taken:
            room.give(task, cores)
        self.restored()

    def most_left(self) -> tuple[int, int]:
        """The most CPU and memory of any room: between gangs room only ever shrinks."""
        rooms = self.rooms
        cpu_millis = max((room.cpu_millis + room.spare_millis for room in rooms), default=0)
        return cpu_millis, max((room.memory_bytes for room in rooms), default=0)


def pack(
    snapshot: BatchSnapshot, packing: Packing, free: str = "free", *, strict: bool = False
) -> BatchPlan:
    """A plan of whole gangs. free: a word for what the packing gives, for the reasons.

    strict: no gang goes before one of higher priority, whether or not it would be in its way.
    """
    placements: list[Placement] = []
    unplaced: list[Unplaced] = []
    first: Gang | None = None
    bars: dict[TaskShape, tuple[int, Counter[str]]] = {}
    for gang in snapshot.gangs:
        if strict and first is not None and gang.priority < first.priority:
            reason = f"job {first.job_id} of priority {first.priority} goes first"
            unplaced.append(Unplaced(gang.job_id, reason))
            continue
        placed = packing.place(gang)
        if isinstance(placed, BatchTask):
            chooses = placed.node or placed.terms is not None or packing.tainted
            if chooses and placed.shape not in bars:
                bars[placed.shape] = bars_of(placed, snapshot.offers)
            reason = unplaced_reason(gang, placed, free, bars.get(placed.shape))
            unplaced.append(Unplaced(gang.job_id, reason))
            first = first or gang
        else:
            placements.extend(placed)
    return BatchPlan(tuple(placements), tuple(unplaced))


def largest_first(gang: Gang) -> list[BatchTask]:
    """The gang's tasks: those that name their cores, then most cores, CPU and memory first."""
    return sorted(
        gang.tasks,
        key=lambda task: (
            not task.cpuset,
            -task.cores,
            -task.cpu_millis,
            -task.memory_bytes,
            task.task_index,
        ),
    )


def as_given(gang: Gang) -> list[BatchTask]:
    """The same for tasks that ask for cores, but in the job's own order; others largest first."""
    if not any(task.cores for task in gang.tasks):
        return largest_first(gang)
    return sorted(gang.tasks, key=lambda task: (not task.cpuset, task.task_index))
