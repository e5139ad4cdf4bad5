"""What the batch policies have in common that score every node for each task; the lowest wins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from tango.algorithms.batch.packing import (
    MAX_REJECTED,
    Choice,
    Order,
    Packing,
    Room,
    largest_first,
    pack,
)
from tango.model.plan import BatchPlan, BatchSnapshot, BatchTask

Score = Callable[[Room, BatchTask], float]


class Scored(ABC):
    """BatchPolicy: each task to the fitting node of the lowest score at that moment.

    Ties go by edge and node name. rejected: the first few by name that are too small for the task.
    O(nodes) a task.
    """

    name: str
    order: Order = staticmethod(largest_first)

    @abstractmethod
    def scores(self, packing: Packing, seed: int) -> Score:
        """How a room that fits a task is scored in one plan; lower is better."""

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        packing = Lowest(snapshot, order=self.order)
        packing.score = self.scores(packing, snapshot.seed)
        return pack(snapshot, packing)


class Lowest(Packing):
    """Rooms of the lowest score first; the score is set before the first `find`."""

    score: Score

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        score = self.score
        first: tuple[float, Room] | None = None
        second: tuple[float, Room] | None = None
        able, barred, _ = self.split(task)
        rejected = barred[:MAX_REJECTED]
        most = len(rejected) + MAX_REJECTED
        for room in able:
            if not room.has_room(task):
                if len(rejected) < most:
                    rejected.append(room)
                continue
            value = score(room, task)
            if first is None or value < first[0]:
                first, second = (value, room), first
            elif second is None or value < second[0]:
                second = value, room
        if first is None:
            return None
        runner_up = (second[1].offer.node, second[0]) if second is not None else ("", 0.0)
        rejected = sorted(rejected, key=lambda room: room.order)[:MAX_REJECTED]
        return Choice(first[1], first[0], runner_up, tuple(room.lack(task) for room in rejected))
