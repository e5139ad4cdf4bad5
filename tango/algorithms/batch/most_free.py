"""Most free: each task of a gang to the node of which the largest share stays free with it.

The share is min(CPU / all CPU, memory / all memory) of the node itself, once the task is there. The
scarcer resource decides, so a node rich in CPU but short of memory does not count as free; and a
small node counts for what it is, so it does not stay empty beside a large one. CPU that LC uses
beyond what its requests hold is not free. This is the spreading rule that Kubernetes calls
LeastAllocated, with min in place of the mean.

Cost: O(nodes) for the first task of a size in a plan, a few heap operations for each after it.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heapify, heappop, heappush

from tango.algorithms.batch.packing import MAX_REJECTED, Choice, Packing, Room, pack
from tango.model.plan import BatchPlan, BatchSnapshot, BatchTask, TaskShape

_Entry = tuple[float, int, int, Room]


class MostFree:
    """BatchPolicy; deterministic, ignores the snapshot's seed.

    A placement's score is 1 - share with the task, lower is better: 0 to 1, and above where LC uses
    more than there is. Among equals fewer BE tasks, then names. Its runner-up is the node that
    would have been next, of any site; rejected: the first few by name that are too small.
    """

    name = "most-free"

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, _Freest(snapshot))


def held(room: Room, task: BatchTask) -> float:
    """1 - the share of the node that stays free with the task."""
    offer = room.offer
    beyond = max(0, offer.lc_used_millis - offer.lc_held_millis)
    cpu = (room.cpu_millis - beyond - task.cpu_millis) / room.all_cpu_millis
    return 1.0 - min(cpu, (room.memory_bytes - task.memory_bytes) / room.all_memory_bytes)


class _Size:
    """The rooms as tasks of one size see them. seen: how many changes of rooms are counted in.

    heap: those that fit, the freest on top; an entry with another number of tasks than its room is
    of the past. small: the others, by order.
    """

    def __init__(self, task: BatchTask, rooms: list[Room], seen: int) -> None:
        self.heap: list[_Entry] = [_entry(room, task) for room in rooms if room.fits(task)]
        heapify(self.heap)
        self.small = [room.order for room in rooms if not room.fits(task)]
        self.seen = seen

    def look_again(self, task: BatchTask, changed: dict[int, Room]) -> None:
        """These rooms have taken something since."""
        for order, room in changed.items():
            if room.fits(task):
                heappush(self.heap, _entry(room, task))
                continue
            at = bisect_left(self.small, order)
            if at == len(self.small) or self.small[at] != order:
                self.small.insert(at, order)

    def top(self) -> _Entry | None:
        """The freest, taken off; None for none."""
        while self.heap:
            entry = heappop(self.heap)
            if entry[1] == entry[3].tasks:
                return entry
        return None


class _Freest(Packing):
    """One view of the rooms for each size of task; `changes` brings the others up to date."""

    def __init__(self, snapshot: BatchSnapshot) -> None:
        super().__init__(snapshot)
        self._sizes: dict[TaskShape, _Size] = {}
        self._changes: list[Room] = []

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        key = task.shape
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = _Size(task, self.rooms, len(self._changes))
        elif size.seen < len(self._changes):
            size.look_again(task, {room.order: room for room in self._changes[size.seen :]})
            size.seen = len(self._changes)
        first = size.top()
        if first is None:
            return None
        second = size.top()
        for entry in (first, second):
            if entry is not None:
                heappush(size.heap, entry)
        runner_up = (second[3].offer.node, second[0]) if second is not None else ("", 0.0)
        small = (self.rooms[order] for order in size.small[:MAX_REJECTED])
        return Choice(first[3], first[0], runner_up, tuple(room.lack(task) for room in small))

    def changed(self, room: Room) -> None:
        """See Packing."""
        self._changes.append(room)

    def restored(self) -> None:
        """See Packing."""
        self._sizes.clear()
        self._changes.clear()


def _entry(room: Room, task: BatchTask) -> _Entry:
    return held(room, task), room.tasks, room.order, room
