"""One group of a node's CPU tree: what it wants, what it gets, and the work in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heapify, heappop

from tango.sim.bandwidth import Bucket

# Virtual time is set back beyond this, so that what is left of short work keeps its precision.
REBASE_S = 256.0

# (virtual end, order of start, work id, threads): what `heapq` sorts by comes first.
Piece = tuple[float, int, str, float]


class CpuGroup:
    """A node of the tree. Either subgroups or pieces of work are in it, as on cgroup v2.

    demand: threads that would run; what a throttled subgroup wants does not count above it.
    alloc: cores it gets. full: everything below gets what it wants.
    virtual_s: in a leaf, CPU time that each of its threads has got; all of them get the same, so a
    piece ends at a virtual time that is known when it starts. rate: at which it grows.

    flat: its active subgroups are leaves that all get `rate` cores for each unit of weight, so none
    of them is touched when that changes; virtual_s is then CPU time for a unit of weight, and a
    leaf was settled last where that stood at the leaf's `mark`. See `flatten`.
    """

    __slots__ = (
        "active",
        "alloc",
        "at",
        "bucket",
        "cpu_s",
        "demand",
        "event_at",
        "first",
        "flat",
        "full",
        "heap",
        "hot",
        "idle",
        "mark",
        "most",
        "n_pieces",
        "n_stale",
        "name",
        "parent",
        "rate",
        "shares",
        "subgroups",
        "throttled",
        "virtual_end",
        "virtual_s",
        "weight",
        "weight_below",
        "work_at",
    )

    def __init__(self, name: str, parent: CpuGroup | None, shares: int, now: float) -> None:
        self.name = name
        self.parent = parent
        self.shares = shares
        self.idle = False
        # Against its siblings; of `shares` and `idle`.
        self.weight = shares
        self.subgroups: dict[str, CpuGroup] = {}
        # Subgroups that want CPU now, in the order in which they began to.
        self.active: dict[CpuGroup, None] = {}
        # The subgroup whose demand or values have just changed.
        self.hot: CpuGroup | None = None
        self.demand = 0.0
        self.alloc = 0.0
        self.full = True
        self.cpu_s = 0.0
        self.at = now
        self.bucket: Bucket | None = None
        self.throttled = False
        self.heap: list[Piece] = []
        self.n_pieces = 0
        self.n_stale = 0
        self.virtual_s = 0.0
        self.rate = 0.0
        # When its next piece ends, and the earlier of that and what the bucket does.
        self.work_at = math.inf
        self.event_at = math.inf
        self.mark = 0.0
        self.flat = False
        # Where flat: up to which alloc, the sum of weights, and the leaf whose piece ends first.
        self.most = math.inf
        self.weight_below = 0
        self.first: CpuGroup | None = None
        self.virtual_end = math.inf

    def settle(self, now: float) -> None:
        """Let it have run up to `now` at what it was given."""
        parent = self.parent
        if parent is not None and parent.flat:
            level_s = parent.virtual_s + parent.rate * (now - parent.at)
            if self.demand:
                got_s = (level_s - self.mark) * self.weight
                self.cpu_s += got_s
                self.virtual_s += got_s / self.demand
            self.mark = level_s
        else:
            elapsed_s = now - self.at
            self.cpu_s += self.alloc * elapsed_s
            self.virtual_s += self.rate * elapsed_s
        self.at = now

    def flatten(self, alloc: float, now: float) -> bool:
        """Make it flat, if every active subgroup is a leaf without quota and can use its share."""
        weight = 0
        low, high = math.inf, 0.0
        for leaf in self.active:
            if leaf.subgroups or leaf.bucket is not None:
                return False
            weight += leaf.weight
            ratio = leaf.demand / leaf.weight
            low, high = min(low, ratio), max(high, ratio)
        most = math.inf if low == high else low * weight
        if alloc > most:
            return False
        self.virtual_end = math.inf
        self.first = None
        for leaf in self.active:
            leaf.settle(now)
            # Its own clock stands still; what it is given when that ends is news to it.
            leaf.mark = leaf.alloc = leaf.rate = 0.0
            if leaf.heap:
                end = (leaf.heap[0][0] - leaf.virtual_s) * leaf.demand / leaf.weight
                if end < self.virtual_end:
                    self.first, self.virtual_end = leaf, end
        self.virtual_s = 0.0
        self.weight_below = weight
        self.most = most
        self.full = False
        self.flat = True
        return True

    def unflatten(self, now: float) -> None:
        """Settle every leaf, and let each have its own rate again."""
        for leaf in self.active:
            if not leaf.subgroups:
                leaf.settle(now)
        self.flat = False
        self.rate = 0.0

    def drop_stale(self, works: dict[str, tuple[CpuGroup, Piece]]) -> None:
        """Take pieces that were stopped off the top, and all of them where they are the most."""
        heap = self.heap
        if self.n_stale > 16 and self.n_stale * 2 > len(heap):
            heap[:] = [piece for piece in heap if _lives(piece, works)]
            heapify(heap)
            self.n_stale = 0
        while heap and not _lives(heap[0], works):
            heappop(heap)
            self.n_stale -= 1

    def rebase(self, works: dict[str, tuple[CpuGroup, Piece]]) -> None:
        """Set a leaf's virtual time back to 0; it is settled."""
        old = [piece for piece in self.heap if _lives(piece, works)]
        self.heap = []
        for end, order, work_id, threads in old:
            piece = (end - self.virtual_s, order, work_id, threads)
            works[work_id] = (self, piece)
            self.heap.append(piece)
        # Ends that were apart may now be equal.
        heapify(self.heap)
        self.n_stale = 0
        self.virtual_s = 0.0


def _lives(piece: Piece, works: dict[str, tuple[CpuGroup, Piece]]) -> bool:
    known = works.get(piece[2])
    return known is not None and known[1][1] == piece[1]


def fair_shares(active: Iterable[CpuGroup], alloc: float) -> list[tuple[CpuGroup, float]]:
    """Max-min fair shares by weight of what is less than all want together."""
    children = list(active)
    if len(children) == 1:
        return [(children[0], alloc)]
    shares: list[tuple[CpuGroup, float]] = []
    weight = sum(child.weight for child in children)
    while True:
        level = alloc / weight
        greedy: list[CpuGroup] = []
        for child in children:
            if child.demand <= level * child.weight:
                shares.append((child, child.demand))
                alloc -= child.demand
                weight -= child.weight
            else:
                greedy.append(child)
        if len(greedy) == len(children) or not greedy:
            shares.extend((child, level * child.weight) for child in greedy)
            return shares
        children = greedy
