"""Round robin: each task to the next node in turn that has room, as Kubernetes goes round.

A re-implementation, as a baseline, of what the Kubernetes scheduler does while its nodes score
alike: the nodes that pass its filters (NodeResourcesFit: requests against what is allocatable) are
taken in turns, and each search goes on where the last one stopped (`nextStartNodeIndex`; before
1.13 also `selectHost`'s round robin over the highest scores). Tango (ICPP 2023) names it
"K8s-native". Not re-implemented: scoring plugins (least requested is `least-loaded`), the search of
only a part of a large cluster (`percentageOfNodesToScore`), affinity and taints.
"""

from __future__ import annotations

from tango.algorithms.batch.in_order import first_fitting
from tango.algorithms.batch.packing import Choice, Packing, Room, pack
from tango.model.plan import BatchPlan, BatchSnapshot, BatchTask, Gang, Placement


class RoundRobin:
    """BatchPolicy; deterministic. The turn goes on behind the snapshot's `last`.

    score: how many nodes the turn passes over, all of them too small for the task.
    """

    name = "round-robin"

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, _Turns(snapshot))


class _Turns(Packing):
    def __init__(self, snapshot: BatchSnapshot) -> None:
        super().__init__(snapshot)
        before = [room for room in self.rooms if _place(room) <= snapshot.last]
        self._next = len(before)

    def place(self, gang: Gang) -> list[Placement] | BatchTask:
        """A gang that does not fit takes no turn."""
        turn = self._next
        placed = super().place(gang)
        if isinstance(placed, BatchTask):
            self._next = turn
        return placed

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        row = self.rooms[self._next :] + self.rooms[: self._next]
        return first_fitting(row, task, self.split(task).orders)

    def changed(self, room: Room) -> None:
        """See Packing."""
        self._next = room.order + 1


def _place(room: Room) -> tuple[str, str]:
    return room.offer.edge, room.offer.node
