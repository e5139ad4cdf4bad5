"""A node's CPU: work in a tree of groups that share cores by weight, idle class and quota.

The fluid limit of CFS and EEVDF (Parekh and Gallager 1993: generalised processor sharing): at each
level of the tree siblings that want CPU get max-min fair shares by weight, no thread more than one
core, and no core idles while somebody wants it. Three measured effects are kept: `cpu.idle` counts
as the kernel's weight 3 (1024 is the default), so idle groups get 0.3 % beside a busy sibling and
all that others leave; a quota throttles the whole group until the next period; each write of a
quota refills it (tango.sim.bandwidth).

Left out: which core a thread is on (cpuset, migration, the spread of a group's weight over cores),
slices and ticks. A thread that wakes waits for at most `wake_delay()`, for the caller to add.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Final, NamedTuple

from tango.sim.cpu_group import REBASE_S, CpuGroup, Piece
from tango.sim.cpu_tree import CpuTree

# Threads come in units that add up without rounding.
_THREAD_STEPS: Final = 1 << 20


class CpuUsage(NamedTuple):
    """Counters of one group: its CPU seconds and those below it, and its own quota's throttling."""

    cpu_s: float
    n_throttled: int
    throttled_s: float


class NodeCpu(CpuTree):
    """The state machine. `next_at`: when something happens by itself, inf if nothing does.

    Time only goes forward, and not past `next_at` except by `advance` (ValueError).
    wakeup_s: see `wake_delay`.
    """

    __slots__ = ("_n_started", "_works", "wakeup_s")

    def __init__(self, cores_millis: int, now: float, *, wakeup_s: float = 0.0) -> None:
        super().__init__(cores_millis / 1000, now)
        self._works: dict[str, tuple[CpuGroup, Piece]] = {}
        self._n_started = 0
        self.wakeup_s = wakeup_s

    def start(
        self, work_id: str, group: str, cpu_s: float, now: float, *, threads: float = 1.0
    ) -> None:
        """A piece of work begins: so much CPU time, on at most `threads` cores at once.

        It weighs as many tasks as it has threads; cpu_s inf is a burner. KeyError for an unknown
        group; ValueError for an id in use, and a group with subgroups.
        """
        if now > self.next_at:
            self._check(now)
        leaf = self._groups[group]
        if leaf.subgroups or work_id in self._works or not cpu_s >= 0:
            self._refuse(leaf, work_id, cpu_s)
        if threads != 1.0:
            if not 0 < threads < math.inf:
                raise ValueError(f"{work_id!r}: {threads!r} are no threads")
            threads = max(1, round(threads * _THREAD_STEPS)) / _THREAD_STEPS
        leaf.settle(now)
        if not leaf.n_pieces:
            leaf.virtual_s = 0.0
        elif leaf.virtual_s > REBASE_S:
            leaf.rebase(self._works)
        self._n_started += 1
        piece = (leaf.virtual_s + cpu_s / threads, self._n_started, work_id, threads)
        self._works[work_id] = (leaf, piece)
        leaf.n_pieces += 1
        if cpu_s != math.inf:
            heappush(leaf.heap, piece)
        self._want(leaf, threads, now)

    def stop(self, work_id: str, now: float) -> float:
        """Take a piece of work away; what is left of its CPU time. KeyError if it is unknown."""
        if now > self.next_at:
            self._check(now)
        leaf, piece = self._works.pop(work_id)
        leaf.settle(now)
        left_s = max(0.0, piece[0] - leaf.virtual_s) * piece[3]
        leaf.n_pieces -= 1
        if piece[0] != math.inf:
            leaf.n_stale += 1
            leaf.drop_stale(self._works)
        self._want(leaf, -piece[3], now)
        return left_s

    def advance(self, now: float) -> list[str]:
        """Let time pass; ids of work that ended, in the order of its end.

        Pieces of one group that end together come in the order of their start.
        """
        ended: list[str] = []
        while self.next_at <= now:
            group = self._soonest
            assert group is not None
            if group.work_at <= group.event_at:
                self._end(group, self.next_at, ended)
            else:
                self._turn(group, self.next_at)
        return ended

    def usage(self, group: str, now: float) -> CpuUsage:
        """The group's counters. KeyError if it is unknown."""
        return CpuUsage(*self.counters(group, now))

    def counters(self, group: str, now: float) -> tuple[float, int, float]:
        """The same, for who asks for many: to make a CpuUsage costs more than to count."""
        if now > self.next_at:
            self._check(now)
        node = self._groups[group]
        node.settle(now)
        bucket = node.bucket
        if bucket is None:
            return node.cpu_s, 0, 0.0
        bucket.settle(now)
        return node.cpu_s, bucket.n_throttled, bucket.throttled_s

    def n_periods(self, group: str, now: float) -> int:
        """Periods of its quota in which the group was looked after (nr_periods of cpu.stat)."""
        self._check(now)
        bucket = self._groups[group].bucket
        if bucket is None:
            return 0
        bucket.settle(now)
        return bucket.n_periods

    @property
    def busy_cores(self) -> float:
        """Cores in use now."""
        return self._root.alloc

    def wake_delay(self) -> float:
        """Seconds for which a thread that wakes now waits for somebody's tick: 0 on a free core.

        A figure to calibrate by, `wakeup_s`: the fluid model itself gives every thread its share
        at once. Add it to the time at which work starts.
        """
        return 0.0 if self._root.demand < self._cores else self.wakeup_s

    def _refuse(self, leaf: CpuGroup, work_id: str, cpu_s: float) -> None:
        if leaf.subgroups:
            raise ValueError(f"{leaf.name!r} has subgroups: work goes into one of them")
        if work_id in self._works:
            raise ValueError(f"work {work_id!r} is there already")
        raise ValueError(f"{work_id!r}: {cpu_s!r} is no CPU time")

    def _end(self, group: CpuGroup, now: float, ended: list[str]) -> None:
        """The group's first piece ends, with those of its leaf at the same virtual time."""
        leaf = group
        if group.flat:
            assert group.first is not None
            leaf = group.first
        leaf.settle(now)
        works = self._works
        heap = leaf.heap
        # Exactly: sums of times would be off by their rounding.
        virtual_s = leaf.virtual_s = heap[0][0]
        threads = 0.0
        while heap and heap[0][0] <= virtual_s:
            piece = heappop(heap)
            work_id = piece[2]
            known = works.get(work_id)
            if known is None or known[1][1] != piece[1]:
                leaf.n_stale -= 1
                continue
            del works[work_id]
            threads += piece[3]
            leaf.n_pieces -= 1
            ended.append(work_id)
        if leaf.n_stale:
            leaf.drop_stale(works)
        self._want(leaf, -threads, now)
