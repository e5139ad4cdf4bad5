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
from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, BatchTask, TaskShape

# (what is held with the task, BE tasks, edge, node, place in the snapshot)
_Entry = tuple[float, int, str, str, int]
_Place = tuple[str, str, int]


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


def held(left: Room | BatchOffer, offer: BatchOffer, task: BatchTask) -> float:
    """1 - the share of the node that stays free with the task. left: what is free there now."""
    cpu_millis = offer.cpu_millis + offer.lc_held_millis + offer.be_held_millis
    memory_bytes = offer.memory_bytes + offer.lc_memory_bytes + offer.be_memory_bytes
    free_millis = left.cpu_millis - task.cpu_millis
    beyond_millis = offer.lc_used_millis - offer.lc_held_millis
    if beyond_millis > 0:
        free_millis -= beyond_millis
    cpu = free_millis / cpu_millis if cpu_millis > 1 else float(free_millis)
    free_bytes = left.memory_bytes - task.memory_bytes
    memory = free_bytes / memory_bytes if memory_bytes > 1 else float(free_bytes)
    return 1.0 - min(cpu, memory)


class _Size:
    """The nodes as tasks of one size see them. seen: how many changes of rooms are counted in.

    heap: those that fit, the freest on top; an entry with another number of tasks than its node has
    is of the past. small: the others, by edge and node.
    """

    def __init__(self, heap: list[_Entry], small: list[_Place], seen: int) -> None:
        self.heap = heap
        heapify(heap)
        self.small = small
        small.sort()
        self.seen = seen

    def look_again(self, task: BatchTask, changed: dict[int, Room]) -> None:
        """These rooms have taken something since."""
        for at, room in changed.items():
            if room.fits(task):
                heappush(self.heap, _entry(room, task))
                continue
            place = (room.offer.edge, room.offer.node, at)
            before = bisect_left(self.small, place)
            if before == len(self.small) or self.small[before] != place:
                self.small.insert(before, place)

    def top(self, taken: dict[int, Room]) -> _Entry | None:
        """The freest, taken off; None for none. taken: rooms as they are now."""
        while self.heap:
            entry = heappop(self.heap)
            room = taken.get(entry[4])
            if room is None or entry[1] == room.tasks:
                return entry
        return None


class _Freest(Packing):
    """One view of the nodes for each size of task; `changes` brings the others up to date.

    Only nodes that are chosen get a room: to make one of each costs more than all the rest.
    A room's order is its place in the snapshot here.
    """

    def __init__(self, snapshot: BatchSnapshot) -> None:
        super().__init__(snapshot)
        self._taken: dict[int, Room] = {}
        self._sizes: dict[TaskShape, _Size] = {}
        self._changes: list[Room] = []

    def find(self, task: BatchTask) -> Choice | None:
        """See Packing."""
        key = task.shape
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = self._look(task)
        elif size.seen < len(self._changes):
            size.look_again(task, {room.order: room for room in self._changes[size.seen :]})
            size.seen = len(self._changes)
        first = size.top(self._taken)
        if first is None:
            return None
        second = size.top(self._taken)
        for entry in (first, second):
            if entry is not None:
                heappush(size.heap, entry)
        runner_up = (second[3], second[0]) if second is not None else ("", 0.0)
        small = (self._at(at) for _, _, at in size.small[:MAX_REJECTED])
        return Choice(
            self._at(first[4]), first[0], runner_up, tuple(room.lack(task) for room in small)
        )

    def _look(self, task: BatchTask) -> _Size:
        heap: list[_Entry] = []
        small: list[_Place] = []
        taken = self._taken
        # Of most tasks only the size matters.
        asks_more = bool(task.node or task.terms is not None or task.cores or task.ports)
        cpu_millis, memory_bytes = task.cpu_millis, task.memory_bytes
        for at, offer in enumerate(self.offers):
            if asks_more or offer.taints or at in taken:
                room = taken.get(at) or self._room(offer, at)
                if room.fits(task):
                    heap.append(_entry(room, task))
                    continue
            elif cpu_millis <= offer.cpu_millis and memory_bytes <= offer.memory_bytes:
                share = held(offer, offer, task)
                heap.append((share, offer.be_tasks, offer.edge, offer.node, at))
                continue
            small.append((offer.edge, offer.node, at))
        return _Size(heap, small, len(self._changes))

    def _at(self, at: int) -> Room:
        room = self._taken.get(at)
        if room is None:
            room = self._taken[at] = self._room(self.offers[at], at)
        return room

    def most_left(self) -> tuple[int, int]:
        """See Packing."""
        taken = self._taken
        left = [taken.get(at, offer) for at, offer in enumerate(self.offers)]
        cpu_millis = max((one.cpu_millis for one in left), default=0)
        return cpu_millis, max((one.memory_bytes for one in left), default=0)

    def changed(self, room: Room) -> None:
        """See Packing."""
        self._changes.append(room)

    def restored(self) -> None:
        """See Packing."""
        self._sizes.clear()
        self._changes.clear()


def _entry(room: Room, task: BatchTask) -> _Entry:
    offer = room.offer
    return held(room, offer, task), room.tasks, offer.edge, offer.node, room.order
