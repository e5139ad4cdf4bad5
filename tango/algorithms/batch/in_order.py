"""What the batch policies have in common that take the first node of a row that fits."""

from __future__ import annotations

from collections.abc import Iterable

from tango.algorithms.batch.packing import MAX_REJECTED, Choice, Packing, Room
from tango.model.plan import BatchTask


def first_fitting(rooms: Iterable[Room], task: BatchTask, barred: frozenset[int]) -> Choice | None:
    """The first room that takes the task. barred: the order of those that will not do.

    score: its place in the row, from 0; runner_up: the next that fits; rejected: those before it.
    """
    found: tuple[int, Room] | None = None
    rejected: list[tuple[str, str]] = []
    for place, room in enumerate(rooms):
        if room.order not in barred and room.has_room(task):
            if found is not None:
                return Choice(found[1], found[0], (room.offer.node, place), tuple(rejected))
            found = place, room
        elif found is None and len(rejected) < MAX_REJECTED:
            rejected.append(room.lack(task))
    return Choice(found[1], found[0], ("", 0.0), tuple(rejected)) if found is not None else None


class InOrder(Packing):
    """Rooms in the order of their names, from the first one for each task."""

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        return first_fitting(self.rooms, task, self.split(task).orders)
