"""Most free: each task of a gang to the fitting offer that has the largest share free.

The share of an offer is min(CPU / largest CPU, memory / largest memory), both "largest" taken over
all offers of the snapshot, for an offer tells what is free and not how large its node is. The
scarcer resource decides, so a node rich in CPU but short of memory does not count as free. This is
the spreading rule that Kubernetes calls LeastAllocated, with min in place of the mean.

Gangs are taken in the order of the snapshot and placed whole or not at all; a later, smaller gang
may overtake one that does not fit. There is no backtracking within a gang: its tasks go in order,
largest first, so a gang that only a cleverer packing could place stays queued.

Cost: four heap operations a task. A gang of the same shape as one that did not fit is not tried
again in the same plan, nor a task beyond the most that is free, so a backlog that cannot move is
cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

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


@dataclass(slots=True)
class _Room:
    """What is left of an offer while the plan grows. order breaks ties, and is unique."""

    offer: BatchOffer
    order: int
    cpu_millis: int
    memory_bytes: int
    tasks: int


_Entry = tuple[float, int, int, _Room]

MAX_REJECTED = 8


class MostFree:
    """BatchPolicy; deterministic, ignores the snapshot's seed.

    A placement's score is 1 - share before the placement, 0..1, lower is better; its runner-up is
    the node that would have been next, of any site; rejected: the first few that are freer, but
    too small for the task.
    """

    name = "most-free"

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """A plan that never exceeds an offer's CPU or memory."""
        rooms = _Rooms(snapshot.offers)
        placements: list[Placement] = []
        unplaced: list[Unplaced] = []
        for gang in snapshot.gangs:
            placed = rooms.place(gang)
            if isinstance(placed, BatchTask):
                unplaced.append(Unplaced(gang.job_id, _reason(gang, placed)))
            else:
                placements.extend(placed)
        return BatchPlan(tuple(placements), tuple(unplaced))


class _Rooms:
    """The offers as the plan eats into them, the freest on top of a heap."""

    def __init__(self, offers: tuple[BatchOffer, ...]) -> None:
        self._most_cpu = max((offer.cpu_millis for offer in offers), default=0) or 1
        self._most_memory = max((offer.memory_bytes for offer in offers), default=0) or 1
        ordered = sorted(offers, key=lambda offer: (offer.edge, offer.node))
        self._heap: list[_Entry] = [
            self._entry(_Room(offer, order, offer.cpu_millis, offer.memory_bytes, offer.be_tasks))
            for order, offer in enumerate(ordered)
        ]
        heapify(self._heap)
        self._cpu_bound = self._most_cpu
        self._memory_bound = self._most_memory
        self._failed: dict[tuple[tuple[int, int], ...], int] = {}

    def place(self, gang: Gang) -> list[Placement] | BatchTask:
        """All placements of the gang, or the task for which there was no room."""
        tasks = sorted(
            gang.tasks, key=lambda task: (-task.cpu_millis, -task.memory_bytes, task.task_index)
        )
        shape = tuple((task.cpu_millis, task.memory_bytes) for task in tasks)
        if shape in self._failed:
            return tasks[self._failed[shape]]
        placed: list[Placement] = []
        taken: list[tuple[_Room, BatchTask]] = []
        for position, task in enumerate(tasks):
            found = self._take(task)
            if found is None:
                self._failed[shape] = position
                if not taken:
                    self._lower_bounds()
                self._undo(taken)
                return task
            placement, room = found
            placed.append(placement)
            taken.append((room, task))
        return placed

    def _take(self, task: BatchTask) -> tuple[Placement, _Room] | None:
        if task.cpu_millis > self._cpu_bound or task.memory_bytes > self._memory_bound:
            return None
        popped: list[_Entry] = []
        fitting: list[_Entry] = []
        while self._heap and len(fitting) < 2:
            entry = heappop(self._heap)
            room = entry[3]
            fits = task.cpu_millis <= room.cpu_millis and task.memory_bytes <= room.memory_bytes
            (fitting if fits else popped).append(entry)
        for entry in popped + fitting[1:]:
            heappush(self._heap, entry)
        if not fitting:
            return None
        score, _, _, best = fitting[0]
        runner_up = (fitting[1][3].offer.node, fitting[1][0]) if len(fitting) > 1 else ("", 0.0)
        rejected = tuple(_lack(entry[3], task) for entry in popped[:MAX_REJECTED])
        best.cpu_millis -= task.cpu_millis
        best.memory_bytes -= task.memory_bytes
        best.tasks += 1
        heappush(self._heap, self._entry(best))
        placement = Placement(
            task.job_id, task.task_index, best.offer.edge, best.offer.node, score, runner_up,
            rejected,
        )  # fmt: skip
        return placement, best

    def _undo(self, taken: list[tuple[_Room, BatchTask]]) -> None:
        if not taken:
            return
        for room, task in taken:
            room.cpu_millis += task.cpu_millis
            room.memory_bytes += task.memory_bytes
            room.tasks -= 1
        self._heap = [self._entry(entry[3]) for entry in self._heap]
        heapify(self._heap)

    def _lower_bounds(self) -> None:
        """Between gangs room only ever shrinks: the most that is free now is a bound from here."""
        self._cpu_bound = max((entry[3].cpu_millis for entry in self._heap), default=0)
        self._memory_bound = max((entry[3].memory_bytes for entry in self._heap), default=0)

    def _entry(self, room: _Room) -> _Entry:
        """Freest first; among equals the one with fewer BE tasks, then by edge and node name."""
        share = min(room.cpu_millis / self._most_cpu, room.memory_bytes / self._most_memory)
        return (1.0 - share, room.tasks, room.order, room)


def _lack(room: _Room, task: BatchTask) -> tuple[str, str]:
    short = "CPU" if task.cpu_millis > room.cpu_millis else "memory"
    return room.offer.node, f"not enough {short}"


def _reason(gang: Gang, task: BatchTask) -> str:
    need = f"{format_cpu(task.cpu_millis)} CPU and {format_memory(task.memory_bytes)}"
    if len(gang.tasks) == 1:
        return f"no node has {need} free"
    return f"no node has {need} free for task {task.task_index} of {len(gang.tasks)}"
