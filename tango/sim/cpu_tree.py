"""The groups of a node's CPU and what each gets: max-min fair by weight, level by level.

A change touches only the groups on its path and those whose share it changes: where there are cores
enough that is the path alone. What happens next in a group (`CpuGroup.event_at`) moves with its
rate; `next_at` is the earliest of all.
"""

from __future__ import annotations

import math
from typing import Final

from tango.adapters.cgroup_values import check_name, shares_of
from tango.model.cgroup import GroupTarget
from tango.sim.bandwidth import write_target
from tango.sim.cpu_group import CpuGroup, fair_shares

# kernel/sched/sched.h WEIGHT_IDLEPRIO, and the shares of a new group.
IDLE_WEIGHT: Final = 3
DEFAULT_SHARES: Final = 1024
# With fewer leaves than this a group is not made flat: they are touched as fast.
_MIN_FLAT: Final = 3


class CpuTree:
    """The tree, and the next event in it. Whoever changes a leaf's demand settles it first."""

    __slots__ = ("_cores", "_groups", "_rescan", "_root", "_soonest", "_timed", "next_at")

    def __init__(self, cores: float, now: float) -> None:
        self._cores = cores
        self._root = CpuGroup("", None, DEFAULT_SHARES, now)
        self._groups = {"": self._root}
        # Groups with an event to come, and the one whose event is the next.
        self._timed: dict[CpuGroup, None] = {}
        self._soonest: CpuGroup | None = None
        self._rescan = False
        self.next_at = math.inf

    def set_group(self, group: str, target: GroupTarget, now: float) -> None:
        """Make the group and its parents if need be, and set its CPU targets.

        As the Cgroups port does it: an unchanged bandwidth is not written, a changed one once for
        each of quota, period and burst, which are files of their own on cgroup v1. Memory and
        cpuset are not ours. ValueError for a name that is none, or below a group with work in it.
        """
        self._check(now)
        node = self._groups.get(group) or self._make(check_name(group), now)
        node.settle(now)
        if target.idle is False and node.idle:
            node.shares = DEFAULT_SHARES
        if target.idle is not None:
            node.idle = target.idle
        if target.weight is not None:
            node.shares = shares_of(target.weight)
        node.weight = IDLE_WEIGHT if node.idle else node.shares
        self._limit(node, target, now)
        below, parent = node, node.parent
        while parent is not None:
            parent.hot = below
            below, parent = parent, parent.parent
        self._share(now)

    def remove_group(self, group: str, now: float) -> None:
        """Remove the group and all below it; its parents keep what it used. Fine if absent.

        ValueError while work is in it.
        """
        self._check(now)
        node = self._groups.get(group)
        if node is None:
            return
        if node.parent is None:
            raise ValueError("the root cannot be removed")
        below = [node]
        for each in below:
            below.extend(each.subgroups.values())
        if busy := [each.name for each in below if each.n_pieces]:
            raise ValueError(f"work is still in {busy[0]!r}")
        del node.parent.subgroups[node.name.rpartition("/")[2]]
        node.parent.hot = None
        for each in below:
            del self._groups[each.name]
            self._timed.pop(each, None)
        self._find_next()

    def _check(self, now: float) -> None:
        if now > self.next_at:
            raise ValueError(f"advance to {self.next_at!r} first: it is {now!r}")

    def _make(self, name: str, now: float) -> CpuGroup:
        above, _, part = name.rpartition("/")
        parent = self._groups.get(above) or self._make(above, now)
        if parent.n_pieces:
            raise ValueError(f"{above!r} has work in it: no groups below")
        group = CpuGroup(name, parent, DEFAULT_SHARES, now)
        parent.subgroups[part] = group
        self._groups[name] = group
        return group

    def _limit(self, group: CpuGroup, target: GroupTarget, now: float) -> None:
        group.bucket, written = write_target(group.bucket, target, now)
        if not written:
            return
        self._note(group, group.work_at)
        if group.throttled:
            self._free(group, now)

    def _free(self, group: CpuGroup, now: float) -> None:
        """What a throttled group wants counts again above it."""
        group.throttled = False
        if group.demand:
            self._climb(group, 0.0, group.demand, now)

    def _turn(self, group: CpuGroup, now: float) -> None:
        """The group's bucket is empty or refilled."""
        bucket = group.bucket
        assert bucket is not None
        changed = bucket.due(now)
        self._note(group, group.work_at)
        if changed and bucket.throttled:
            self._count_queues(group, now)
            group.throttled = True
            self._climb(group, group.demand, 0.0, now)
        elif changed:
            self._free(group, now)
        self._share(now)

    def _count_queues(self, group: CpuGroup, now: float) -> None:
        bucket = group.bucket
        assert bucket is not None
        bucket.settle(now)
        bucket.queues = max(1, math.ceil(min(group.demand, self._cores)))

    def _want(self, leaf: CpuGroup, threads: float, now: float) -> None:
        """So many threads more (or less) run in the leaf."""
        before = leaf.demand
        leaf.demand = before + threads
        if leaf.throttled:
            self._count_queues(leaf, now)
        elif self._climb(leaf, before, leaf.demand, now):
            self._share(now)

    def _climb(self, group: CpuGroup, before: float, after: float, now: float) -> bool:
        """Tell those above that the group wants `after`; False where that ends at a throttled one.

        The path is left as `hot`.
        """
        change = after - before
        parent = group.parent
        while parent is not None:
            if not before:
                parent.active[group] = None
            elif not after:
                del parent.active[group]
            parent.hot = group
            before = parent.demand
            after = parent.demand = before + change
            group = parent
            if group.throttled:
                # Nothing below it runs; no shortcut may hold when it is let run again.
                below: CpuGroup | None = group
                while below is not None:
                    below.full = False
                    below = below.hot
                self._count_queues(group, now)
                return False
            parent = group.parent
        return True

    def _share(self, now: float) -> None:
        """Give the cores out again, after a change along the path of `hot` groups."""
        root = self._root
        wanted = 0.0 if root.throttled else root.demand
        self._give(root, min(wanted, self._cores), now)
        if self._rescan:
            self._find_next()

    def _give(self, group: CpuGroup, alloc: float, now: float) -> None:
        """The group gets `alloc` from now on; only what that changes is touched."""
        while True:
            elapsed_s = now - group.at
            if elapsed_s:
                group.cpu_s += group.alloc * elapsed_s
                group.virtual_s += group.rate * elapsed_s
                group.at = now
            group.alloc = alloc
            demand = group.demand
            if not group.subgroups:
                rate = group.rate = (1.0 if alloc >= demand else alloc / demand) if demand else 0.0
                heap = group.heap
                end = heap[0][0] if heap else math.inf
                break
            if group.flat:
                if group.hot is None and alloc <= group.most:
                    rate = group.rate = alloc / group.weight_below
                    end = group.virtual_end
                    break
                group.unflatten(now)
                self._split(group, alloc, now)
            elif group.full and alloc >= demand:
                hot = group.hot
                group.hot = None
                if group.bucket is not None:
                    self._meter(group, math.inf, now)
                if hot is None:
                    return
                group = hot
                alloc = 0.0 if hot.throttled else hot.demand
                continue
            else:
                self._split(group, alloc, now)
            if group.flat:
                rate = group.rate = alloc / group.weight_below
                end = group.virtual_end
            else:
                rate, end = 0.0, math.inf
            break
        work_at = now + (end - group.virtual_s) / rate if rate else math.inf
        if group.bucket is not None:
            self._meter(group, work_at, now)
        elif work_at != group.event_at:
            self._note(group, work_at)

    def _split(self, group: CpuGroup, alloc: float, now: float) -> None:
        """Divide what the group gets among those below: max-min by weight."""
        hot = group.hot
        group.hot = None
        active = group.active
        if hot is None and len(active) >= _MIN_FLAT and group.flatten(alloc, now):
            for leaf in active:
                if leaf.event_at != math.inf:
                    self._note(leaf, math.inf)
            return
        if alloc >= group.demand:
            group.full = True
            for child in active:
                if child.alloc != child.demand or child is hot:
                    self._give(child, child.demand, now)
        else:
            group.full = False
            if len(active) == 2:
                first, second = active
                one = alloc * first.weight / (first.weight + second.weight)
                other = alloc - one
                if first.demand <= one:
                    one = first.demand
                    other = alloc - one
                elif second.demand <= other:
                    other = second.demand
                    one = alloc - other
                if first.alloc != one or first is hot:
                    self._give(first, one, now)
                if second.alloc != other or second is hot:
                    self._give(second, other, now)
            else:
                for child, share in fair_shares(active, alloc):
                    if child.alloc != share or child is hot:
                        self._give(child, share, now)
        if hot is not None and hot not in active:
            self._give(hot, 0.0, now)

    def _meter(self, group: CpuGroup, work_at: float, now: float) -> None:
        assert group.bucket is not None
        group.bucket.run(group.alloc, now)
        self._note(group, work_at)

    def _note(self, group: CpuGroup, work_at: float) -> None:
        """The group's next piece ends at `work_at`, and its bucket may have changed."""
        group.work_at = event_at = work_at
        bucket = group.bucket
        if bucket is not None and bucket.event_at < event_at:
            event_at = bucket.event_at
        group.event_at = event_at
        if event_at == math.inf:
            self._timed.pop(group, None)
            if group is self._soonest:
                self._rescan = True
            return
        self._timed[group] = None
        if event_at < self.next_at:
            self.next_at = event_at
            self._soonest = group
        elif group is self._soonest:
            self._rescan = True

    def _find_next(self) -> None:
        self._rescan = False
        soonest = None
        next_at = math.inf
        for group in self._timed:
            if group.event_at < next_at:
                soonest, next_at = group, group.event_at
        self._soonest, self.next_at = soonest, next_at
