"""Most free: each task of a gang to the fitting offer that has the largest share free.

The share of an offer is min(CPU / largest CPU, memory / largest memory), both "largest" taken over
all offers of the snapshot. The scarcer resource decides, so a node rich in CPU but short of memory
does not count as free. This is the spreading rule that Kubernetes calls LeastAllocated, with min in
place of the mean, and shares of the largest offer in place of each node's own size.

Cost: four heap operations a task.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from tango.algorithms.batch.packing import MAX_REJECTED, Choice, Packing, Room, pack
from tango.model.plan import BatchPlan, BatchSnapshot, BatchTask

_Entry = tuple[float, int, int, Room]


class MostFree:
    """BatchPolicy; deterministic, ignores the snapshot's seed.

    A placement's score is 1 - share before the placement, 0..1, lower is better; its runner-up is
    the node that would have been next, of any site; rejected: the first few that are freer, but
    too small for the task.
    """

    name = "most-free"

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, _Freest(snapshot))


class _Freest(Packing):
    """The freest room is on top of a heap; `find` leaves the one it chose out until it changed."""

    def __init__(self, snapshot: BatchSnapshot) -> None:
        super().__init__(snapshot)
        self._heap: list[_Entry] = []
        self.restored()

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        popped: list[_Entry] = []
        fitting: list[_Entry] = []
        while self._heap and len(fitting) < 2:
            entry = heappop(self._heap)
            (fitting if entry[3].fits(task) else popped).append(entry)
        for entry in popped + fitting[1:]:
            heappush(self._heap, entry)
        if not fitting:
            return None
        runner_up = (fitting[1][3].offer.node, fitting[1][0]) if len(fitting) > 1 else ("", 0.0)
        rejected = tuple(entry[3].lack(task) for entry in popped[:MAX_REJECTED])
        return Choice(fitting[0][3], fitting[0][0], runner_up, rejected)

    def changed(self, room: Room) -> None:
        """See Packing."""
        heappush(self._heap, self._entry(room))

    def restored(self) -> None:
        """See Packing."""
        self._heap = [self._entry(room) for room in self.rooms]
        heapify(self._heap)

    def _entry(self, room: Room) -> _Entry:
        """Freest first; among equals the one with fewer BE tasks, then by edge and node name."""
        share = min(
            room.cpu_millis / self.most_cpu_millis, room.memory_bytes / self.most_memory_bytes
        )
        return (1.0 - share, room.tasks, room.order, room)
