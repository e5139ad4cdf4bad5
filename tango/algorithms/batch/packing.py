"""What the batch policies have in common: gangs in queue order, whole or not at all.

Gangs are taken in the order of the snapshot and placed whole or not at all; a later, smaller gang
may overtake one that does not fit. There is no backtracking within a gang: its tasks go in order,
largest first, so a gang that only a cleverer packing could place stays queued.

A gang of the same shape as one that did not fit is not tried again in the same plan, nor a task
beyond the most that is free, so a backlog that cannot move is cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from tango.model.plan import (
    BatchOffer,
    BatchPlan,
    BatchSnapshot,
    BatchTask,
    Gang,
    Placement,
    Unplaced,
)
from tango.model.units import format_cpu, format_memory

NO_CPU = "not enough CPU"
NO_MEMORY = "not enough memory"
MAX_REJECTED = 8


@dataclass(slots=True)
class Room:
    """What is left of an offer while the plan grows. order: its rank by edge and node.

    spare_millis: CPU beyond what is free that the policy may take; 0 for all but elastic ones.
    """

    offer: BatchOffer
    order: int
    cpu_millis: int
    memory_bytes: int
    tasks: int
    all_cpu_millis: int
    all_memory_bytes: int
    spare_millis: int = 0

    def fits(self, task: BatchTask) -> bool:
        """Whether what is left takes one more task."""
        return (
            task.cpu_millis <= self.cpu_millis + self.spare_millis
            and task.memory_bytes <= self.memory_bytes
        )

    def lack(self, task: BatchTask) -> tuple[str, str]:
        """(node, why the task does not fit there), as a Placement's `rejected` tells it."""
        lacks_cpu = task.cpu_millis > self.cpu_millis + self.spare_millis
        return self.offer.node, NO_CPU if lacks_cpu else NO_MEMORY


class Choice(NamedTuple):
    """The room for a task, and what decided it; see Placement."""

    room: Room
    score: float
    runner_up: tuple[str, float]
    rejected: tuple[tuple[str, str], ...]


class Packing(ABC):
    """The offers as one plan eats into them. rooms: by edge and node.

    most_cpu_millis, most_memory_bytes: the largest that was free in the snapshot, 1 at least.
    reclaim: take what is reclaimable too.
    """

    def __init__(self, snapshot: BatchSnapshot, *, reclaim: bool = False) -> None:
        offers = sorted(snapshot.offers, key=lambda offer: (offer.edge, offer.node))
        self.rooms = [
            Room(
                offer,
                order,
                offer.cpu_millis,
                offer.memory_bytes,
                offer.be_tasks,
                max(1, offer.all_cpu_millis),
                max(1, offer.all_memory_bytes),
                offer.reclaimable_millis if reclaim else 0,
            )
            for order, offer in enumerate(offers)
        ]
        self.most_cpu_millis = max(1, max((offer.cpu_millis for offer in offers), default=0))
        self.most_memory_bytes = max(1, max((offer.memory_bytes for offer in offers), default=0))
        self._failed: dict[tuple[tuple[int, int], ...], int] = {}
        self._bound()

    @abstractmethod
    def find(self, task: BatchTask) -> Choice | None:
        """The room for this task; None for none. Nothing is taken yet."""

    def changed(self, room: Room) -> None:  # noqa: B027 - most need not know
        """A task was put into the room that `find` has just chosen."""

    def restored(self) -> None:  # noqa: B027 - most need not know
        """Tasks of a gang that did not fit as a whole were taken out again."""

    def place(self, gang: Gang) -> list[Placement] | BatchTask:
        """All placements of the gang, or the task for which there was no room."""
        tasks = largest_first(gang)
        shape = tuple((task.cpu_millis, task.memory_bytes) for task in tasks)
        if shape in self._failed:
            return tasks[self._failed[shape]]
        placed: list[Placement] = []
        taken: list[tuple[Room, BatchTask]] = []
        for position, task in enumerate(tasks):
            choice = self._choice(task)
            if choice is None:
                self._failed[shape] = position
                self._undo(taken)
                self._bound()
                return task
            room = choice.room
            room.cpu_millis -= task.cpu_millis
            room.memory_bytes -= task.memory_bytes
            room.tasks += 1
            self.changed(room)
            taken.append((room, task))
            offer = room.offer
            placed.append(
                Placement(task.job_id, task.task_index, offer.edge, offer.node, *choice[1:])
            )
        return placed

    def _choice(self, task: BatchTask) -> Choice | None:
        if task.cpu_millis > self._cpu_bound or task.memory_bytes > self._memory_bound:
            return None
        return self.find(task)

    def _undo(self, taken: list[tuple[Room, BatchTask]]) -> None:
        if not taken:
            return
        for room, task in taken:
            room.cpu_millis += task.cpu_millis
            room.memory_bytes += task.memory_bytes
            room.tasks -= 1
        self.restored()

    def _bound(self) -> None:
        """Between gangs room only ever shrinks: the most that is left now is a bound from here."""
        self._cpu_bound = max((one.cpu_millis + one.spare_millis for one in self.rooms), default=0)
        self._memory_bound = max((room.memory_bytes for room in self.rooms), default=0)


def pack(snapshot: BatchSnapshot, packing: Packing, free: str = "free") -> BatchPlan:
    """A plan of whole gangs. free: a word for what the packing gives, for the reasons."""
    placements: list[Placement] = []
    unplaced: list[Unplaced] = []
    for gang in snapshot.gangs:
        placed = packing.place(gang)
        if isinstance(placed, BatchTask):
            unplaced.append(Unplaced(gang.job_id, unplaced_reason(gang, placed, free)))
        else:
            placements.extend(placed)
    return BatchPlan(tuple(placements), tuple(unplaced))


def largest_first(gang: Gang) -> list[BatchTask]:
    """The gang's tasks in the order in which they look for a room."""
    return sorted(
        gang.tasks, key=lambda task: (-task.cpu_millis, -task.memory_bytes, task.task_index)
    )


def unplaced_reason(gang: Gang, task: BatchTask, free: str) -> str:
    """Why the gang waits: no node has what this task of it needs."""
    need = f"{format_cpu(task.cpu_millis)} CPU and {format_memory(task.memory_bytes)}"
    if len(gang.tasks) == 1:
        return f"no node has {need} {free}"
    return f"no node has {need} {free} for task {task.task_index} of {len(gang.tasks)}"
